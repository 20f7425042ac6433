"""The hierarchical variational autoencoder: latent layers z_1, ..., z_T, one above the other.

The model draws from the top: z_T ~ N(0, I), then z_i ~ p(z_i | z_{i+1}) = N(mu, sigma^2), with mu
and sigma from a network, and at last x ~ p(x | z_1). Rezende, Mohamed and Wierstra 2014, section 2.
q(z|x) is in bottom_up.py and ladder.py. docs/variants/hvae.md has the derivation.
"""

from itertools import accumulate, pairwise

import numpy as np

from tinyvae.engine.backend import array_module, to_host
from tinyvae.engine.gaussian import log_density, reparameterize
from tinyvae.models.base import EncoderDecoder
from tinyvae.models.bottom_up import BottomUp
from tinyvae.models.ladder import Ladder
from tinyvae.models.latent_layer import GaussianLayer, log_q
from tinyvae.models.layout import as_vectors, batch_first, batch_last
from tinyvae.models.options import Option

INFERENCES = {"bottom-up": BottomUp, "ladder": Ladder}


class HVAE(EncoderDecoder):
    """encoder: a BottomUp or a Ladder of T layers; priors: p(z_i | z_{i+1}), T - 1 GaussianLayers.

    A code is z_1, ..., z_T in one vector, (L,). The decoder takes z_1 alone.
    """

    term_names = ("reconstruction", "kl")
    objective = "negative ELBO"
    options = {
        "upper": Option((10,), "widths of the latent layers above the first, such as 10,5"),
        "inference": Option("bottom-up", "how q(z|x) is built", choices=(*INFERENCES,)),
    }

    def __init__(self, encoder, priors, decoder, likelihood):
        self.priors = priors
        self.latent_layers = tuple(layer.mu.out_features for layer in encoder.layers)
        self.noise_dim = sum(self.latent_layers)
        super().__init__(encoder, decoder, likelihood, self.noise_dim)

    @classmethod
    def build(cls, networks, latent_dim, likelihood, upper, inference):
        """The HVAE made of `networks`; latent_dim: the width of z_1; upper: those above it."""
        sizes = (latent_dim, *upper)
        encoder = INFERENCES[inference].build(networks, sizes)
        pairs = pairwise(sizes)
        priors = [GaussianLayer.build(networks, above, below) for below, above in pairs]
        return cls(encoder, priors, networks.decoder(latent_dim), likelihood)

    def _infer(self, x, eps):
        """x and eps (S, N, L), batch first -> x, batch last, and the Inferred layers."""
        x = self._to_engine(x)
        eps = self._noise(eps, x.shape[-1])  # (L, S, N)
        return x, self._encode(x, self._by_layer(eps), self.priors)

    def _forward(self, x, eps):
        x, layers = self._infer(x, eps)
        output, log_px = self._log_px(x, layers[0].z)  # (..., S N), (S, N)
        return x, layers, output, log_px

    def terms(self, x, eps):
        """For x (N, ...) and eps (S, N, L), in nats; kl (L,): each dimension's part, z_1 first."""
        x, layers, output, log_px = self._forward(x, eps)
        self._saved = x, layers, output
        kl = [part.mean(axis=(1, 2), dtype=np.float64) for part in self.encoder.kl(layers)]
        kl = array_module(x).concatenate(kl)
        return {"reconstruction": -log_px.mean(dtype=np.float64), "kl": kl}

    def terms_backward(self, dterms):
        x, layers, output = self._take_saved()
        _, samples, n = layers[0].z.shape
        # reconstruction = mean over samples and batch of -log p(x|z_1)
        dlog_px = -dterms["reconstruction"] / (samples * n)
        doutput = self.likelihood.backward(
            dlog_px, as_vectors(x, 1, n), as_vectors(output, samples, n)
        )  # (D, S, N)
        # output = decoder(z_1)
        dz = self.decoder.backward(doutput.reshape(output.shape)).reshape(layers[0].z.shape)
        # kl = mean over samples and batch of the parts
        dkl = (dterms["kl"] / (samples * n)).astype(dz.dtype)[:, None, None]  # (L, 1, 1)
        self.encoder.backward(dz, self._by_layer(dkl), layers, self.priors)

    def log_weights(self, x, eps):
        """log p(x, z) - log q(z|x) in nats, (S, N), for x (N, ...) and eps (S, N, L); see VAE."""
        _, layers, _, log_w = self._forward(x, eps)
        for one in layers:
            log_w = log_w + (log_density(one.z, *one.p) - log_q(one)).sum(axis=0)
        return log_w

    def embed(self, x):
        """Examples x (N, ...) -> codes (N, L): each z_i is the mean of q given the means before."""
        _, layers = self._infer(x, np.zeros((1, len(x), self.noise_dim), np.float32))
        return _code([one.z for one in layers])

    def codes_from(self, noise):
        """Noise (N, L) -> codes (N, L), drawn from the top down by this noise, z_1's first.

        A layer depends on its own noise and on the noise above it. N(0, I) gives the prior.
        """
        self._require_codes(noise)
        self._discard_saved()
        *lower, top = self._by_layer(batch_last(noise, self.theta)[:, None])  # each (L_i, 1, N)
        z = [top]
        for prior, eps in zip(self.priors[::-1], lower[::-1], strict=True):
            z.insert(0, reparameterize(*prior.forward(z[0]), eps))
        return _code(z)

    def draw_codes(self, n, rng):
        return to_host(self.codes_from(super().draw_codes(n, rng)))

    def _decode(self, z):
        return super()._decode(z[: self.latent_layers[0]])  # x depends on z_1 alone

    def _by_layer(self, array):
        """(L, ...) -> the rows of each layer, bottom first."""
        return array_module(array).split(array, [*accumulate(self.latent_layers)][:-1])


def _code(z):
    """All layers (L_i, 1, N) in one code for each example, (N, L)."""
    return batch_first(array_module(z[0]).concatenate(z)[:, 0])
