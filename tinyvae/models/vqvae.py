"""The VQ-VAE: a code is a grid of indices into a codebook. van den Oord et al. 2017.

The encoder gives a vector z at every position of the grid. The nearest vector e of the codebook
takes its place, and the decoder sees e alone. code_prior.py learns a prior over the grids.
"""

import numpy as np

from tinyvae.engine.backend import array_module
from tinyvae.models.base import Loss, Model
from tinyvae.models.codebook import Codebook
from tinyvae.models.layout import as_vectors, batch_first, require_log_prob, require_same_size
from tinyvae.models.options import Option


class VQVAE(Model):
    """encoder: (..., N) -> z (L, h, w, N); decoder: e (L, h, w, N) -> (..., N); grid: (h, w)."""

    objective = "VQ-VAE loss"
    networks = ("conv",)
    options = {
        "codes": Option(128, "vectors in the codebook"),
        "commitment": Option(0.25, "weight of the commitment term", least=0),
        "codebook": Option("gradient", "how the codebook learns", choices=("gradient", "ema")),
    }

    def __init__(self, encoder, codebook, decoder, likelihood, grid, commitment=0.25):
        self.encoder, self.codebook, self.decoder = encoder, codebook, decoder
        self.likelihood, self.support = likelihood, likelihood.support
        self.grid, self.commitment = grid, commitment
        self.term_names = ("reconstruction", *codebook.term_names, "commitment")
        super().__init__()

    @classmethod
    def build(cls, networks, latent_dim, likelihood, codes, commitment, codebook):
        """The VQ-VAE made of `networks`; latent_dim: L, the length of a vector of the codebook."""
        encoder, decoder = networks.grid_trunk(latent_dim), networks.grid_decoder(latent_dim)
        vectors = networks.rng.uniform(-1 / codes, 1 / codes, (codes, latent_dim))
        codebook = Codebook(vectors, ema=codebook == "ema")
        return cls(encoder, codebook, decoder, likelihood, networks.quarter, commitment)

    def require_examples(self, n):
        self.codebook.require_fits(n, self.grid)

    def encode(self, x):
        """Examples x (N, ...) -> indices (N, h, w) from 0 to K - 1."""
        return batch_first(self.codebook.nearest(self._encode(self._to_engine(x))))

    def decode(self, index):
        """Indices (N, h, w) -> the means of p(x|e), (N, ...). Raises ValueError for others."""
        xp = array_module(self.theta)
        index, (h, w) = xp.asarray(index), self.grid
        if index.ndim != 3 or index.shape[1:] != self.grid:
            raise ValueError(f"indices must be (N, {h}, {w}), got {index.shape}")
        choice = self.codebook.one_hot(xp.moveaxis(index, 0, -1))
        self._discard_saved()
        output = self.decoder.forward(self.codebook.lookup(choice))
        return batch_first(self.likelihood.mean(output))

    def reconstruct(self, x):
        """Examples x (N, ...) -> the means of p(x|e), (N, ...)."""
        return self.decode(self.encode(x))

    def metrics(self, x):
        """usage (N, K): the share of each code in the codes of x; squared_error: of the means."""
        index = self.encode(x)
        usage, error = self.codebook.one_hot(index).mean(axis=(2, 3)), self.decode(index) - x
        return {"usage": usage.T, "squared_error": error * error}

    def _encode(self, x):
        self._discard_saved()
        z, expected = self.encoder.forward(x), (self.codebook.vectors.value.shape[1], *self.grid)
        if z.shape[:-1] != expected:
            raise ValueError(f"the encoder must give (L, h, w) = {expected}, got {z.shape[:-1]}")
        return z

    def terms(self, x):
        """The terms of van den Oord et al. 2017, eq. 3, for x (N, ...); sg is the stop-gradient.

        -log p(x|e); |sg(z) - e|^2, not with ema; weight * |z - sg(e)|^2: sums over L and grid.
        """
        x = self._to_engine(x)
        z = self._encode(x)  # (L, h, w, N)
        choice = self.codebook.one_hot(self.codebook.nearest(z))  # (K, h, w, N)
        e = self.codebook.lookup(choice)  # (L, h, w, N)
        output = self.decoder.forward(e)
        self._saved = x, z, choice, e, output
        return self._terms(x, output, z - e, z - e)

    def _terms(self, x, output, z_to_codebook, z_to_commit):
        require_same_size(output, x)
        n = x.shape[-1]
        log_px = self.likelihood.log_prob(as_vectors(x, n), as_vectors(output, n))
        require_log_prob(log_px, (n,))
        terms = {
            "reconstruction": -log_px.mean(dtype=np.float64),
            "codebook": (z_to_codebook * z_to_codebook).sum(dtype=np.float64) / n,
            "commitment": self.commitment * (z_to_commit * z_to_commit).sum(dtype=np.float64) / n,
        }
        return {name: terms[name] for name in self.term_names}

    def terms_backward(self, dterms):
        x, z, choice, e, output = self._take_saved()
        n = x.shape[-1]
        # reconstruction = mean over the batch of -log p(x|e)
        dlog_px = -dterms["reconstruction"] / n
        doutput = self.likelihood.backward(dlog_px, as_vectors(x, n), as_vectors(output, n))
        # output = decoder(e), straight-through: as if e were z + sg(e - z), so dz = de
        dz = self.decoder.backward(doutput.reshape(output.shape))  # (L, h, w, N)
        # commitment = weight * |z - sg(e)|^2, mean over the batch
        dz = dz + dterms["commitment"] * self.commitment * 2 / n * (z - e)
        if self.codebook.ema:
            self.codebook.collect(z, choice)
        else:  # codebook = |sg(z) - e|^2, mean over the batch, and e = lookup(choice)
            self.codebook.lookup_backward(dterms["codebook"] * 2 / n * (e - z), choice)
        # z = encoder(x)
        self.encoder.backward(dz)

    def frozen(self, x):
        self.terms(x)
        x, z0, choice, e0, _ = self._take_saved()  # choice, sg(z), sg(e) and sg(e - z) stay

        def loss():
            z, e = self._encode(x), self.codebook.lookup(choice)
            output = self.decoder.forward(z + (e0 - z0))
            return Loss(self._terms(x, output, z0 - e, z - e0)).total

        return loss

    def after_step(self):
        self.codebook.follow()

    def end_epoch(self, batches, rng):
        """Codes that none of these examples uses start anew, as outputs of the encoder."""
        self.codebook.revive((self._encode(self._to_engine(x)) for x in batches), rng)
