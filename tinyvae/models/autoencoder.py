"""The autoencoder: an encoder turns each example into a code, a decoder turns the code back.

Nothing in the loss says where codes lie. A code drawn at random may lie far from all codes of the
data, and the decoder was never trained there. The VAE removes this defect.
"""

import numpy as np

from tinyvae.engine.layers import Linear, Sequential
from tinyvae.models.base import EncoderDecoder
from tinyvae.models.layout import as_vectors, batch_first, require_log_prob, require_same_size


class Autoencoder(EncoderDecoder):
    """encoder: (..., N) -> (L, N); decoder: (L, N) -> (..., N); a likelihood."""

    term_names = ("reconstruction",)
    objective = "reconstruction loss"

    @classmethod
    def build(cls, networks, latent_dim, likelihood):
        """The autoencoder made of `networks`, a ConvNetworks or MLPNetworks."""
        trunk, decoder = networks.trunk(), networks.decoder(latent_dim)
        code = Linear(networks.features, latent_dim, rng=networks.rng)
        return cls(Sequential(*trunk.layers, code), decoder, likelihood, latent_dim)

    def encode(self, x):
        """Examples x (N, ...) -> codes (N, L)."""
        return batch_first(self._encode(self._to_engine(x)))

    def embed(self, x):
        """The same as `encode`, by the name that all models share."""
        return self.encode(x)

    def terms(self, x):
        """reconstruction: the mean of -log p(x | z = encoder(x)) over x (N, ...), in nats."""
        x = self._to_engine(x)
        output = self._decode(self._encode(x))
        require_same_size(output, x)
        n, shape = x.shape[-1], output.shape
        x, output = as_vectors(x, n), as_vectors(output, n)  # (D, N)
        self._saved = x, output, shape
        log_px = self.likelihood.log_prob(x, output)
        require_log_prob(log_px, (n,))
        return {"reconstruction": -log_px.mean(dtype=np.float64)}

    def terms_backward(self, dterms):
        x, output, shape = self._take_saved()
        # reconstruction = mean over the batch of -log p(x | decoder(encoder(x)))
        doutput = self.likelihood.backward(-dterms["reconstruction"] / x.shape[-1], x, output)
        self.encoder.backward(self.decoder.backward(doutput.reshape(shape)))
