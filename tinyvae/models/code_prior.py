"""A prior over grids of codes: each code given the codes before it, row by row.

log p(codes) = sum over positions i of log p(code_i | code_1, ..., code_{i-1}), by the chain rule of
probability. A VQ-VAE draws samples with it. It is a small PixelCNN: van den Oord, Kalchbrenner and
Kavukcuoglu 2016, section 3. docs/variants/vqvae.md has the derivation.
"""

import math

import numpy as np

from tinyvae.engine.activations import ReLU
from tinyvae.engine.backend import array_module
from tinyvae.engine.categorical import cross_entropy, cross_entropy_grad, log_softmax, one_hot
from tinyvae.engine.layers import Conv2d, Sequential
from tinyvae.engine.masked import MaskedConv2d
from tinyvae.models.base import Model
from tinyvae.rng import require_generator


class CodePrior(Model):
    """network: one-hot codes (K, h, w, N) -> logits (K, h, w, N) that see earlier codes only.

    Its examples are grids (N, h, w) as the rows of a table, x (N, h w): whole numbers from 0 to
    K - 1, held as floats.
    """

    term_names = ("nll",)
    objective = "negative log-likelihood of the codes"

    def __init__(self, network, codes, grid):
        self.network, self.codes, self.grid = network, codes, grid
        self.shape, self.support = (math.prod(grid),), (0, codes - 1)
        super().__init__()

    @classmethod
    def build(cls, codes, grid, rng, width=64, layers=2):
        """A vector for each code, a convolution with mask A, `layers` with mask B, then logits.

        The convolution with mask A sees the two rows above in full. Each one with mask B adds a
        row.
        """
        first, hidden = max(1, width // 4), []
        for _ in range(layers):
            hidden += [MaskedConv2d(width, width, 3, own=True, rng=rng), ReLU(inplace=True)]
        network = Sequential(
            Conv2d(codes, first, 1, rng=rng, needs_input_grad=False),
            MaskedConv2d(first, width, (5, 2 * grid[1] - 1), own=False, rng=rng),
            ReLU(inplace=True),
            *hidden,
            Conv2d(width, codes, 1, rng=rng),
        )
        return cls(network, codes, grid)

    def require_support(self, x):
        """Raise ValueError unless x holds whole numbers from 0 to K - 1.

        On a GPU nothing is checked, because reading x would make the device wait.
        """
        if not isinstance(x, np.ndarray):
            return
        if not ((0 <= x) & (x < self.codes) & (x == np.floor(x))).all():
            raise ValueError(
                f"codes must be whole numbers from 0 to {self.codes - 1}, held as floats, got "
                f"{x.min():g} to {x.max():g}"
            )

    def _logits(self, x):
        """x (N, h w) -> logits (K, h, w, N), and the codes as integers (h, w, N)."""
        if getattr(x, "shape", None) != (len(x), *self.shape) or x.dtype.kind != "f":
            raise ValueError(
                f"codes must be (N, {self.shape[0]}), whole numbers held as floats; of indices "
                "(N, h, w) they are index.reshape(len(index), -1).astype(np.float32)"
            )
        x = self._to_engine(x)  # (h w, N)
        codes = x.astype(np.int64).reshape(*self.grid, -1)
        self._discard_saved()
        return self.network.forward(one_hot(codes, self.codes, x.dtype)), codes

    def terms(self, x):
        """nll: -log p(codes), the mean over x (N, h w), in nats per example."""
        logits, codes = self._logits(x)
        self._saved = logits, codes
        return {"nll": cross_entropy(logits, codes).sum(dtype=np.float64) / len(x)}

    def terms_backward(self, dterms):
        logits, codes = self._take_saved()
        # nll = the sum over positions, the mean over the batch
        dloss = dterms["nll"] / codes.shape[-1]
        self.network.backward(dloss * cross_entropy_grad(logits, codes))

    def metrics(self, x):
        """bits_per_code (N,): -log2 p(codes) / (h w)."""
        nll = cross_entropy(*self._logits(x)).sum(axis=(0, 1))
        return {"bits_per_code": nll / (math.prod(self.grid) * math.log(2))}

    def sample(self, n, rng):
        """n grids of codes from the prior, integers (n, h, w), by the NumPy generator rng."""
        require_generator(rng)
        xp, (height, width) = array_module(self.theta), self.grid
        x = xp.zeros((n, height * width), self.theta.dtype)
        uniform = xp.asarray(rng.random((height * width, n), dtype=np.float32))
        for i in range(height * width):
            logits = self._logits(x)[0].reshape(self.codes, -1, n)[:, i]
            # The code is the number of cumulative probabilities that the uniform number exceeds.
            below = xp.exp(log_softmax(logits))[:-1].cumsum(axis=0) < uniform[i]
            x[:, i] = below.sum(axis=0)
        return x.astype(np.int64).reshape(n, height, width)
