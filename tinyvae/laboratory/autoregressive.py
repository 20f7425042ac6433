"""A likelihood that needs no code: each pixel may look at those before it, in reading order.

It makes a decoder as strong as one likes; examples/posterior_collapse.py shows what comes of it.
"""

from tinyvae.engine.activations import ReLU
from tinyvae.engine.backend import array_module
from tinyvae.engine.layers import Conv2d, Linear, Sequential
from tinyvae.engine.likelihoods import Bernoulli
from tinyvae.engine.module import Module


class AutoregressiveBernoulli(Module):
    """log p(x|z) = sum over pixels d of log p(x_d | z and the `reach` pixels before d).

    Pixel d is 1 with probability sigmoid(logit_d + context_d). The logits are the decoder's; the
    context is a line of pixels x_{d-reach}, ..., x_{d-1} through `width` filters and ReLU, added
    up, with the same weights for all d, and zeros before the first pixel. By the chain rule of
    probability p(x|z) sums to 1 over all binary images. It is the smallest case of the
    decoder of Gulrajani et al. 2017, PixelVAE. Shapes as in engine.likelihoods, x (D, 1, N).
    """

    def __init__(self, reach, width, *, rng):
        self.reach, self.width = reach, width
        self.filters = Sequential(
            Conv2d(1, width, (1, reach), rng=rng, needs_input_grad=False), ReLU(inplace=True)
        )
        self.sum = Linear(width, 1, rng=rng)
        self._bernoulli = Bernoulli()

    def log_prob(self, x, logits):
        xp = array_module(x)
        # The line moved on by one pixel, so that none sees itself.
        before = xp.concatenate([xp.zeros((self.reach, *x.shape[1:]), x.dtype), x[:-1]])
        h = self.filters.forward(before.reshape(1, 1, -1, x.shape[-1]))  # (width, 1, D, N)
        context = self.sum.forward(h.reshape(self.width, -1)).reshape(x.shape)
        self._logits = logits + context  # (D, S, N)
        return self._bernoulli.log_prob(x, self._logits)

    def backward(self, dlog_prob, x, logits):
        """dlogits from the gradient dlog_prob of the loss with respect to the last log_prob."""
        dlogits = self._bernoulli.backward(dlog_prob, x, self._logits)
        # logits + context: all samples of an image share its context, so they add up
        dh = self.sum.backward(dlogits.sum(axis=1).reshape(1, -1))
        self.filters.backward(dh.reshape(self.width, 1, *x.shape[::2]))
        return dlogits

    def mean(self, logits):
        raise NotImplementedError("AutoregressiveBernoulli: its mean image has no closed form")
