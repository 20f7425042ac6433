"""The autoencoder: a code for each image, and the image back from the code.

Nothing says where codes lie, so a code drawn at random is nobody's: that is what the VAE mends.
"""

import numpy as np

from tinyvae.engine.backend import array_module
from tinyvae.models.base import Loss, Model, as_vectors, batch_first


class Autoencoder(Model):
    """encoder: (C, H, W, N) -> (L, N); decoder: (L, N) -> (C, H, W, N); a likelihood."""

    def __init__(self, encoder, decoder, likelihood, latent_dim):
        self.latent_dim = latent_dim
        super().__init__(encoder, decoder, likelihood)

    def encode(self, x):
        """Images (N, C, H, W) in [0, 1] -> codes (N, L)."""
        return batch_first(self._encode(self._inward(x, "N", "C", "H", "W")))

    def embed(self, x):
        """The same, by the name that all models share."""
        return self.encode(x)

    def loss(self, x):
        """Loss of images x (N, C, H, W) in [0, 1]: the mean of -log p(x | z = encoder(x))."""
        loss = Loss(*self.terms(x))
        self._dkl = loss.dkl
        return loss

    def terms(self, x):
        x = self._inward(x, "N", "C", "H", "W")
        output = self._decode(self._encode(x))
        self._require_size(output, x)
        n, shape = x.shape[-1], output.shape
        x, output = as_vectors(x, n), as_vectors(output, n)  # (D, N)
        self._pending = x, output, shape
        reconstruction = -self.likelihood.log_prob(x, output).mean(dtype=np.float64)
        return reconstruction, array_module(output).zeros(0)

    def terms_backward(self, dreconstruction, dkl):
        x, output, shape = self._pop_pending()
        # reconstruction = mean over the batch of -log p(x | decoder(encoder(x)))
        doutput = self.likelihood.backward(-dreconstruction / x.shape[-1], x, output)
        self.encoder.backward(self.decoder.backward(doutput.reshape(shape)))
