"""Likelihoods: the distribution p(x|z) of the data, whose parameters are the decoder's output.

Each has the log-density of x and, beside it, the gradient with respect to the decoder's output.
"""

import math

import numpy as np

from tinyvae.engine import gaussian
from tinyvae.engine.activations import sigmoid
from tinyvae.engine.backend import array_module, fused
from tinyvae.engine.module import Module, Parameter


class Likelihood(Module):
    """What a model asks of p(x|z). A likelihood of your own derives from this class.

    output, the decoder's output: (D, ...), first the D dimensions of an example, then the batch. x:
    the same, or (D, 1, N) where output is (D, S, N) for S draws of z.
    """

    support = (-math.inf, math.inf)  #: (low, high): the range of the values that x may take

    def log_prob(self, x, output):
        """log p(x|z), summed over D: (...), in nats per example."""
        raise NotImplementedError

    def backward(self, dlog_prob, x, output):
        """doutput, of output's shape; sets the gradients of the likelihood's parameters.

        dlog_prob, which is dLoss/dlog_prob: (...), or one number for all examples.
        """
        raise NotImplementedError

    def mean(self, output):
        """The mean of p(x|z), (D, ...)."""
        raise NotImplementedError

    def sample(self, output, rng):
        """A draw from p(x|z), (D, ...), by the NumPy generator rng."""
        raise NotImplementedError


class Bernoulli(Likelihood):
    """Each pixel is 1 with probability sigmoid(logit); the decoder's output is the logits.

    Stable for every logit. For grey levels x in [0, 1] this is not a log-density but the
    cross-entropy that is customary for MNIST; `--binarize` makes the pixels 0 or 1. Kingma and
    Welling 2014, appendix C.1.
    """

    support = (0, 1)

    def log_prob(self, x, output):
        return _bernoulli_log_prob(x, output).sum(axis=0)

    def backward(self, dlog_prob, x, output):
        return _bernoulli_backward(x, output, dlog_prob)

    def mean(self, output):
        return sigmoid(output)

    def sample(self, output, rng):
        uniform = rng.random(output.shape, dtype=np.float32)
        return (array_module(output).asarray(uniform) < sigmoid(output)).astype(output.dtype)


@fused
def _bernoulli_log_prob(x, logits):
    # log p = x log s(l) + (1 - x) log(1 - s(l)) = x l - log(1 + exp(l))
    xp = array_module(logits)
    softplus = xp.clip(logits, 0, math.inf) + xp.log1p(xp.exp(-xp.abs(logits)))
    return x * logits - softplus


@fused
def _bernoulli_backward(x, logits, dlog_prob):
    # log p = x l - log(1 + exp(l)), and the derivative of log(1 + exp(l)) is s(l)
    return dlog_prob * (x - sigmoid(logits))


class Gaussian(Likelihood):
    """Each dimension is N(mean, sigma^2) with a fixed sigma^2; the decoder's output is the mean.

    Raises ValueError unless sigma2 is positive and finite. Kingma and Welling 2014, appendix C.2.
    """

    def __init__(self, sigma2=1.0):
        if not 0 < sigma2 < math.inf:
            raise ValueError(f"sigma2 must be positive and finite, got {sigma2}")
        self._log_sigma2 = math.log(sigma2)

    def _logvar(self, output):
        return array_module(output).full(1, self._log_sigma2, dtype=output.dtype)

    def log_prob(self, x, output):
        return gaussian.log_density(x, output, self._logvar(output)).sum(axis=0)

    def backward(self, dlog_prob, x, output):
        _, dmean, _ = gaussian.log_density_grad(x, output, self._logvar(output))
        return dlog_prob * dmean

    def mean(self, output):
        return output

    def sample(self, output, rng):
        eps = rng.standard_normal(output.shape, dtype=np.float32)
        eps = array_module(output).asarray(eps, dtype=output.dtype)
        return gaussian.reparameterize(output, self._logvar(output), eps)


class LearnedGaussian(Gaussian):
    """A Gaussian whose sigma^2 is learned: one for all dimensions, or with size=D one for each.

    At the optimum sigma^2 is the mean squared error of the mean (Rybkin, Daniilidis and Levine
    2021). It starts at `sigma2`. The default, 0.1, is about the mean squared error of a black
    image on MNIST. Raises ValueError as Gaussian does and, in use, for a size of neither 1 nor D.
    """

    def __init__(self, sigma2=0.1, size=1):
        super().__init__(sigma2)
        self.logvar = Parameter(np.full(size, self._log_sigma2, dtype=np.float32))

    def _logvar(self, output):
        logvar = self.logvar.value
        if logvar.size not in (1, len(output)):
            raise ValueError(
                f"LearnedGaussian: size must be 1 or the number of dimensions {len(output)}, got "
                f"{logvar.size}"
            )
        return logvar.reshape(-1, *[1] * (output.ndim - 1))

    def backward(self, dlog_prob, x, output):
        _, dmean, dlogvar = gaussian.log_density_grad(x, output, self._logvar(output))
        dlogvar = (dlog_prob * dlogvar).reshape(self.logvar.value.size, -1)
        self.logvar.grad = dlogvar.sum(axis=1)
        return dlog_prob * dmean
