"""A codebook: K vectors of L numbers. A vector z is replaced by the nearest vector of the codebook.

The codebook learns by its gradient, or it follows moving averages of the z that it replaces.
van den Oord, Vinyals and Kavukcuoglu 2017, section 3 and appendix A.1.
"""

import math

import numpy as np

from tinyvae.engine.backend import array_module, fused, matmul, to_host
from tinyvae.engine.categorical import one_hot
from tinyvae.engine.layers import as_matrix
from tinyvae.engine.module import Module, Parameter
from tinyvae.errors import UserError

DECAY = 0.99  # of the moving averages, the paper's gamma
LEAST = 1e-12  # of a moving average, so that no number is divided by 0


class Codebook(Module):
    """vectors: the first ones, (K, L); ema: they follow moving averages and have no gradient.

    z (L, ...) has vectors along its first axis. `choice` (K, ...) is one-hot along its first axis.
    """

    def __init__(self, vectors, ema=False):
        self.ema, self.term_names = ema, () if ema else ("codebook",)
        self.vectors = Parameter(np.asarray(vectors, np.float32), trained=not ema)  # (K, L)
        if ema:  # of each code: how many z of a batch it replaces, a moving average
            self.counts = Parameter(np.zeros(len(vectors), np.float32), trained=False)

    def require_fits(self, n, grid):
        """Raise UserError if n examples with a grid (h, w) have fewer z than the codebook has e."""
        codes, (h, w) = len(self.vectors.value), grid
        if codes > n * h * w:
            raise UserError(
                f"the codebook is larger than the data: it has {codes} vectors, but {n} training "
                f"examples with {h} x {w} vectors each have {n * h * w}; lower --codes"
            )

    def nearest(self, z):
        """The index of the vector nearest to each z: (L, ...) -> (...)."""
        return self._distances(as_matrix(z)).argmin(axis=0).reshape(z.shape[1:])

    def _distances(self, z):
        """|e - z|^2 - |z|^2 for all e and z, (K, M); |z|^2 does not change which e is nearest."""
        # |e - z|^2 = |e|^2 - 2 e z + |z|^2
        e = self.vectors.value  # (K, L)
        return (e * e).sum(axis=1)[:, None] - 2 * matmul(e, z)

    def one_hot(self, index):
        """Indices (...) from 0 to K - 1 -> a choice (K, ...)."""
        vectors = self.vectors.value
        return one_hot(index, len(vectors), vectors.dtype, "indices")

    def lookup(self, choice):
        """A choice (K, ...) -> the chosen vectors, (L, ...)."""
        return matmul(self.vectors.value.T, as_matrix(choice)).reshape(-1, *choice.shape[1:])

    def lookup_backward(self, de, choice):
        """Set the gradient of the vectors from de (L, ...). A vector chosen twice gets a sum."""
        # e = vectors.T @ choice
        matmul(as_matrix(choice), as_matrix(de).T, out=self.vectors.grad)  # choice @ de.T

    def collect(self, z, choice):
        """Keep, for `follow`, the sum of the z (L, ...) of each code, and their number."""
        matmul(as_matrix(choice), as_matrix(z).T, out=self.vectors.grad)  # (K, L)
        self.counts.grad = as_matrix(choice).sum(axis=1)

    def follow(self):
        """With ema: move each vector towards the mean of its z, the paper's eq. 6 to 8.

        There N' = decay N + (1 - decay) n, m' = decay m + (1 - decay) s and e' = m' / N', with the
        number n of these z and their sum s. m = N e, so e' = e + (1 - decay) (s - n e) / N'.
        """
        if not self.ema:
            return
        n, s = self.counts.grad, self.vectors.grad
        count = DECAY * self.counts.value + (1 - DECAY) * n
        self.vectors.value = _followed(self.vectors.value, s, n[:, None], count[:, None])
        self.counts.value = count

    def revive(self, batches, rng):
        """A code that is nearest to no z of the batches (L, ...) becomes one of these z.

        It is drawn with a probability proportional to its squared distance to the codebook, as in
        k-means++ (Arthur and Vassilvitskii 2007): most z may be alike, those of an empty ground. No
        two codes become equal. The distances are those before the first draw.
        """
        used, seen, far = 0, [], []
        for z in map(as_matrix, batches):
            distances = self._distances(z)
            used = used + to_host(self.one_hot(distances.argmin(axis=0)).sum(axis=1))
            seen.append(to_host(z).T)
            far.append(to_host(distances.min(axis=0) + (z * z).sum(axis=0)))
        dead = np.flatnonzero(used == 0)
        if not len(dead):
            return
        seen, which = np.unique(np.concatenate(seen), axis=0, return_inverse=True)  # no z twice
        far = np.bincount(which.ravel(), np.concatenate(far).clip(0).astype(np.float64))
        dead = dead[: np.count_nonzero(far)]
        if len(dead):
            drawn = rng.choice(len(seen), len(dead), replace=False, p=far / far.sum())
            _write(self.vectors, dead, seen[drawn])
            if self.ema:  # so that the next z that the code replaces count alone
                _write(self.counts, dead, 0)


@fused
def _followed(e, s, n, count):
    return e + (1 - DECAY) * (s - n * e) / array_module(e).clip(count, LEAST, math.inf)


def _write(parameter, index, values):
    array = to_host(parameter.value).copy()
    array[index] = values
    parameter.value = array
