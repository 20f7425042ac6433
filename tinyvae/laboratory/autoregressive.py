"""A likelihood in which each pixel depends on the pixels before it, as well as on the code.

Such a decoder can explain an image without its code. examples/posterior_collapse.py shows that the
codes then collapse.
"""

from tinyvae.engine.activations import ReLU
from tinyvae.engine.backend import array_module
from tinyvae.engine.layers import Conv2d, Linear, Sequential
from tinyvae.engine.likelihoods import Bernoulli, Likelihood
from tinyvae.models.vae import VAE


class AutoregressiveBernoulli(Likelihood):
    """log p(x|z) = sum over pixels d of log p(x_d | z and the `reach` pixels before d).

    Pixel d is 1 with probability sigmoid(logit_d + context_d). The decoder gives the logits. The
    context is computed from the pixels x_{d-reach}, ..., x_{d-1}, row by row, with zeros before the
    first pixel: `width` filters, a ReLU, and a weighted sum, the same weights for all d. By the
    chain rule of probability p(x|z) sums to 1 over all binary images. It is the smallest case of
    the decoder of Gulrajani et al. 2017, PixelVAE. Shapes as in engine.likelihoods, x (D, 1, N).
    """

    support = (0, 1)

    def __init__(self, reach, width, *, rng):
        self.reach, self.width = reach, width
        self.filters = Sequential(
            Conv2d(1, width, (1, reach), rng=rng, needs_input_grad=False), ReLU(inplace=True)
        )
        self.sum = Linear(width, 1, rng=rng)
        self._bernoulli = Bernoulli()

    def log_prob(self, x, output):
        xp = array_module(x)
        # x moved on by one pixel, so that no pixel sees itself
        before = xp.concatenate([xp.zeros((self.reach, *x.shape[1:]), x.dtype), x[:-1]])
        h = self.filters.forward(before.reshape(1, 1, -1, x.shape[-1]))  # (width, 1, D, N)
        context = self.sum.forward(h.reshape(self.width, -1)).reshape(x.shape)
        self._logits = output + context  # (D, S, N)
        return self._bernoulli.log_prob(x, self._logits)

    def backward(self, dlog_prob, x, output):
        """As in engine.likelihoods, for the last log_prob."""
        dlogits = self._bernoulli.backward(dlog_prob, x, self._logits)
        # logits = output + context: all samples of an image share its context, so they add up
        dh = self.sum.backward(dlogits.sum(axis=1).reshape(1, -1))
        self.filters.backward(dh.reshape(self.width, 1, *x.shape[::2]))
        return dlogits

    def mean(self, output):
        raise NotImplementedError("AutoregressiveBernoulli: its mean image has no closed form")


class VAEWithoutMean(VAE):
    """A VAE whose evaluation needs no mean of p(x|z), and so reports no squared error."""

    def metrics(self, x):
        return {"code": self.embed(x)}
