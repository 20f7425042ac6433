"""What every model shares: the door between people and engine, decoding, reconstruction.

People put the batch first, as data and plots do: images (N, C, H, W), codes (N, L). The engine puts
it last. A model turns its input once, on the way in, and its output once, on the way out.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyvae.engine import schedules
from tinyvae.engine.backend import array_module
from tinyvae.engine.module import Module


@dataclass(frozen=True, eq=False)
class Loss:
    """Nats per example, means over the batch; in float64, on the device of the model."""

    reconstruction: Any  # -log p(x|z), a scalar
    kl: Any  # (L,): each latent dimension's KL, unweighted; empty for an autoencoder
    beta: float = 1.0
    free_bits: float = 0.0

    @property
    def total(self):
        """What is minimised, a scalar; computed when asked for, as a step does without it."""
        return self.reconstruction + self.beta * schedules.free_bits(self.kl, self.free_bits)

    @property
    def dkl(self):
        """The gradient of total with respect to kl: (L,), or a number for all dimensions."""
        return self.beta * schedules.free_bits_grad(self.kl, self.free_bits)


class Model(Module):
    """An encoder, a decoder and the likelihood that the decoder's output parametrizes."""

    def __init__(self, encoder, decoder, likelihood):
        self.encoder, self.decoder, self.likelihood = encoder, decoder, likelihood
        self._pending = None  # what terms keeps for terms_backward
        self._dkl = None  # what loss keeps for backward
        self.to()

    def terms(self, *inputs):
        """What a loss is made of: reconstruction and kl (L,), means over the batch."""
        raise NotImplementedError

    def terms_backward(self, dreconstruction, dkl):
        """Set `grad`, the gradient of dreconstruction * reconstruction + dkl @ kl."""
        raise NotImplementedError

    def backward(self):
        """Set `grad`, the gradient of the last loss with respect to all parameters."""
        if self._dkl is None:
            self._pending = None  # terms alone are not a loss
        self.terms_backward(1.0, self._dkl)

    def decode(self, z):
        """Codes z (N, L) -> the mean images of p(x|z), (N, C, H, W)."""
        return batch_first(self.likelihood.mean(self._decode(self._inward(z, "N", "L"))))

    def embed(self, x):
        """Images (N, C, H, W) -> one code for each, (N, L)."""
        raise NotImplementedError

    def reconstruct(self, x):
        """Images (N, C, H, W) -> the mean images of p(x | z = codes(x)), (N, C, H, W)."""
        return self.decode(self.embed(x))

    def sample(self, n, rng):
        """n mean images of codes drawn from N(0, I) by the NumPy generator rng."""
        return self.decode(rng.standard_normal((n, self.latent_dim), dtype=np.float32))

    def _encode(self, x):
        self._forget()
        return self.encoder.forward(x)

    def _decode(self, z):
        self._forget()
        return self.decoder.forward(z)

    def _forget(self):
        """The layers are about to remember other images than those of the last loss."""
        self._pending = self._dkl = None

    def _inward(self, x, *axes):
        """x as the engine wants it: batch last, contiguous, on the model's device, its dtype."""
        if x.ndim != len(axes) or x.dtype.kind != "f":
            raise ValueError(
                f"expected floats of shape ({', '.join(axes)}), got {x.dtype} of shape {x.shape}"
            )
        return batch_last(x, self.theta)

    def _require_size(self, output, x):
        """Refuse a decoder whose output is not an image like x: it might broadcast."""
        if output.shape[:-1] != x.shape[:-1]:
            raise ValueError(
                f"the decoder gives {output.shape[:-1]} for images of {x.shape[:-1]}: "
                "both must be (C, H, W)"
            )

    def _pop_pending(self):
        """What `terms` left for its backward, once."""
        pending, self._pending = self._pending, None
        if pending is None:
            raise RuntimeError(
                f"{type(self).__name__}.backward: call loss first, once for every backward"
            )
        return pending


def as_vectors(x, *batch):
    """(C, H, W, N) -> (C H W, *batch), the likelihood's layout."""
    return x.reshape(math.prod(x.shape[:-1]), *batch)


def batch_last(x, like):
    """(N, ...) -> (..., N), contiguous, on the device of the array `like`, and of its dtype."""
    xp = array_module(like)
    return xp.ascontiguousarray(xp.moveaxis(xp.asarray(x, dtype=like.dtype), 0, -1))


def batch_first(x):
    """(..., N) -> (N, ...)"""
    return array_module(x).moveaxis(x, -1, 0)
