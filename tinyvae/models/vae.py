"""The variational autoencoder: loss and gradient, written out branch by branch.

The encoder gives the posterior q(z|x) = N(mu, sigma^2), the decoder gives p(x|z), and the prior is
N(0, I). The loss is the negative ELBO, Kingma and Welling 2014, eq. 3 and 7. It is derived in
docs/book/03_kl_and_elbo.md and, in a second way, in docs/book/04_tightness.md.
"""

import numpy as np

from tinyvae.engine.backend import array_module
from tinyvae.engine.gaussian import (
    kl_to_standard,
    kl_to_standard_grad,
    log_density,
    log_density_of_draw,
    reparameterize,
    reparameterize_backward,
)
from tinyvae.engine.layers import Linear
from tinyvae.engine.module import Module
from tinyvae.models.base import EncoderDecoder
from tinyvae.models.layout import as_vectors, batch_first


class GaussianEncoder(Module):
    """From examples to the parameters of q(z|x): a trunk, and a linear head for each of the two.

    trunk: (..., N) -> h (features, N); mu and logvar: (latent_dim, N).
    """

    def __init__(self, trunk, features, latent_dim, *, rng):
        self.trunk = trunk
        self.mu = Linear(features, latent_dim, rng=rng)
        self.logvar = Linear(features, latent_dim, rng=rng)

    def forward(self, x):
        """x (..., N) -> mu and logvar of q(z|x), each (latent_dim, N)."""
        h = self.trunk.forward(x)  # (features, N)
        return self.mu.forward(h), self.logvar.forward(h)

    def backward(self, dmu, dlogvar):
        """dmu and dlogvar, each (latent_dim, N) -> what the trunk's backward returns."""
        # h feeds both heads, so their gradients add up
        dh = self.mu.backward(dmu) + self.logvar.backward(dlogvar)  # (features, N)
        return self.trunk.backward(dh)


class VAE(EncoderDecoder):
    """encoder: a GaussianEncoder; decoder: (L, N) -> (..., N); a likelihood."""

    term_names = ("reconstruction", "kl")
    objective = "negative ELBO"
    standard_codes = True

    def __init__(self, encoder, decoder, likelihood):
        self.noise_dim = encoder.mu.out_features
        super().__init__(encoder, decoder, likelihood, encoder.mu.out_features)

    @classmethod
    def build(cls, networks, latent_dim, likelihood, **options):
        """The VAE made of `networks`, a ConvNetworks or MLPNetworks."""
        trunk, decoder = networks.trunk(), networks.decoder(latent_dim)
        encoder = GaussianEncoder(trunk, networks.features, latent_dim, rng=networks.rng)
        return cls(encoder, decoder, likelihood, **options)

    def encode(self, x, *labels):
        """Examples x (N, ...) -> mu and logvar of q(z|x), each (N, L)."""
        mu, logvar = self._encode(self._to_engine(x), *labels)
        return batch_first(mu), batch_first(logvar)

    def embed(self, x, *labels):
        """Examples x (N, ...) -> the means mu of q(z|x), (N, L)."""
        return self.encode(x, *labels)[0]

    def _forward(self, x, eps, *labels):
        """x and eps, batch first -> what `terms` and `log_weights` need, batch last."""
        x = self._to_engine(x)
        eps = self._noise(eps, x.shape[-1])  # (L, S, N)
        mu, logvar = self._encode(x, *labels)  # (L, N)
        z = reparameterize(mu[:, None], logvar[:, None], eps)  # (L, S, N)
        output, log_px = self._log_px(x, z, *labels)  # (..., S N), (S, N)
        return x, mu, logvar, eps, z, output, log_px

    def terms(self, x, eps, *labels):
        """The two terms of the negative ELBO, for x (N, ...) and noise eps (S, N, L).

        reconstruction: the mean of -log p(x|z) over the batch and the S samples of z. kl (L,): the
        mean over the batch of the KL of each latent dimension. Both in nats per example. Kingma and
        Welling 2014, eq. 7.
        """
        x, mu, logvar, eps, _, output, log_px = self._forward(x, eps, *labels)
        self._saved = x, mu, logvar, eps, output
        kl = kl_to_standard(mu, logvar)  # (L, N)
        return {
            "reconstruction": -log_px.mean(dtype=np.float64),
            "kl": kl.mean(axis=1, dtype=np.float64),
        }

    def terms_backward(self, dterms):
        x, mu, logvar, eps, output = self._take_saved()
        _, samples, n = eps.shape

        # reconstruction = mean over samples and batch of -log p(x|z)
        dlog_px = -dterms["reconstruction"] / (samples * n)
        doutput = self.likelihood.backward(
            dlog_px, as_vectors(x, 1, n), as_vectors(output, samples, n)
        )  # (D, S, N)
        # output = decoder(z)
        dz = self.decoder.backward(doutput.reshape(output.shape)).reshape(eps.shape)  # (L, S, N)
        # z = mu + std * eps
        dmu, dlogvar = reparameterize_backward(dz, logvar[:, None], eps)  # (L, S, N)
        # kl = mean over the batch of KL_d, for each latent dimension d
        dkl = (dterms["kl"] / n).astype(mu.dtype)[:, None]  # (L, 1)
        dkl_dmu, dkl_dlogvar = kl_to_standard_grad(mu, logvar)  # (L, N)
        # mu and logvar are used by every sample and by the KL: the gradients of all uses add up.
        dmu = _sum_samples(dmu) + dkl * dkl_dmu  # (L, N)
        dlogvar = _sum_samples(dlogvar) + dkl * dkl_dlogvar
        # mu, logvar = encoder(x)
        self.encoder.backward(dmu, dlogvar)

    def log_weights(self, x, eps, *labels):
        """log p(x, z) - log q(z|x) in nats, (S, N), for x (N, ...) and noise eps (S, N, L).

        Each is an unbiased estimate of the ELBO. The log of the mean of their exponentials over S
        estimates the importance-weighted bound: Burda, Grosse and Salakhutdinov 2016, eq. 8.
        """
        return self._log_w(*self._forward(x, eps, *labels))

    def _log_w(self, x, mu, logvar, eps, z, output, log_px):
        """log_weights from what `_forward` returns."""
        zero = array_module(z).zeros_like(z)
        log_pz = log_density(z, zero, zero).sum(axis=0)
        log_qz = log_density_of_draw(eps, logvar[:, None]).sum(axis=0)
        return log_px + log_pz - log_qz


def _sum_samples(gradients):
    """The sum over samples, (L, S, N) -> (L, N); of a single sample without a copy."""
    return gradients[:, 0] if gradients.shape[1] == 1 else gradients.sum(axis=1)
