"""What the decoder's output means: a distribution p(x|z) over images, Bernoulli or Gaussian.

Each has the log-density of x given the decoder's output and, beside it, the gradient. Dimensions
are the first axis: x and output (D, ...), log-density (...), in nats per example, summed over D.
"""

import math

import numpy as np

from tinyvae.engine import gaussian
from tinyvae.engine.activations import SIGMOID, sigmoid
from tinyvae.engine.backend import array_module, fused
from tinyvae.engine.module import Module, Parameter


class Bernoulli(Module):
    """Each pixel is 1 with probability sigmoid(logit); the decoder's output is the logits.

    Stable for every logit. For grey levels x in [0, 1] this is not a density but the cross-entropy
    customary for MNIST; tinyvae.data.binarize makes the pixels 0 or 1.
    """

    def log_prob(self, x, logits):
        return _bernoulli_log_prob(x, logits).sum(axis=0)

    def backward(self, dlog_prob, x, logits):
        """dlogits from the gradient dlog_prob of the loss with respect to log_prob."""
        return _bernoulli_backward(x, logits, dlog_prob)

    def mean(self, logits):
        return sigmoid(logits)

    def sample(self, logits, rng):
        uniform = rng.random(logits.shape, dtype=np.float32)
        return (array_module(logits).asarray(uniform) < sigmoid(logits)).astype(logits.dtype)


@fused(
    "T x, T l",
    "T log_prob",
    "log_prob = x * l - (max(l, T(0)) + log1p(exp(-abs(l))))",
)
def _bernoulli_log_prob(x, logits):
    # log p = x log s(l) + (1 - x) log(1 - s(l)) = x l - log(1 + exp(l))
    softplus = np.clip(logits, 0, math.inf) + np.log1p(np.exp(-np.abs(logits)))
    return x * logits - softplus


@fused(  # x is the logit here
    "T pixel, T x, T dlog_prob",
    "T dlogits",
    f"dlogits = dlog_prob * (pixel - {SIGMOID})",
)
def _bernoulli_backward(x, logits, dlog_prob):
    # log p = x l - log(1 + exp(l)), and the softplus has the derivative s(l)
    return dlog_prob * (x - sigmoid(logits))


class Gaussian(Module):
    """Each pixel is N(mean, sigma^2) with a fixed sigma^2; the decoder's output is the mean."""

    def __init__(self, sigma2=1.0):
        if not sigma2 > 0:
            raise ValueError(f"Gaussian: sigma2 must be positive, got {sigma2}")
        self._log_sigma2 = math.log(sigma2)

    def _logvar(self, mean):
        return array_module(mean).full(1, self._log_sigma2, dtype=mean.dtype)

    def log_prob(self, x, mean):
        return gaussian.log_density(x, mean, self._logvar(mean)).sum(axis=0)

    def backward(self, dlog_prob, x, mean):
        """dmean from the gradient dlog_prob of the loss with respect to log_prob."""
        _, dmean, _ = gaussian.log_density_grad(x, mean, self._logvar(mean))
        return dlog_prob * dmean

    def mean(self, mean):
        return mean

    def sample(self, mean, rng):
        eps = rng.standard_normal(mean.shape, dtype=np.float32)
        eps = array_module(mean).asarray(eps, dtype=mean.dtype)
        return gaussian.reparameterize(mean, self._logvar(mean), eps)


class LearnedGaussian(Gaussian):
    """The same with one sigma^2 for all pixels, learned with the weights.

    At the optimum it is the mean squared error of a pixel: Rybkin, Daniilidis and Levine 2021. It
    starts at 0.1, about the squared error per pixel of a black picture in place of MNIST's.
    """

    def __init__(self, sigma2=0.1):
        super().__init__(sigma2)
        self.logvar = Parameter(np.full(1, self._log_sigma2, dtype=np.float32))

    def _logvar(self, mean):
        return self.logvar.value

    def backward(self, dlog_prob, x, mean):
        """dmean as above; sets the gradient of logvar."""
        _, dmean, dlogvar = gaussian.log_density_grad(x, mean, self._logvar(mean))
        self.logvar.grad[...] = (dlog_prob * dlogvar).sum()
        return dlog_prob * dmean
