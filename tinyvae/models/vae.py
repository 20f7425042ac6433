"""The variational autoencoder: loss and gradient, written out branch by branch.

The encoder gives q(z|x) = N(mu, sigma^2), the decoder p(x|z), the prior is N(0, I). Minimised is
the negative ELBO, Kingma and Welling 2014, eq. 3 and 7; docs/elbo.md derives it in two ways.
"""

import numpy as np

from tinyvae.engine.backend import array_module
from tinyvae.engine.gaussian import (
    kl_to_standard,
    kl_to_standard_grad,
    log_density,
    reparameterize,
    reparameterize_backward,
)
from tinyvae.engine.layers import Linear
from tinyvae.engine.module import Module
from tinyvae.models.base import Loss, Model, as_vectors, batch_first


class GaussianEncoder(Module):
    """Images to the parameters of q(z|x): a trunk of layers, and a head each for mu and logvar.

    trunk: (C, H, W, N) -> h (features, N); mu and logvar: (latent_dim, N).
    """

    def __init__(self, trunk, features, latent_dim, *, rng):
        self.trunk = trunk
        self.mu = Linear(features, latent_dim, rng=rng)
        self.logvar = Linear(features, latent_dim, rng=rng)

    def forward(self, x):
        h = self.trunk.forward(x)  # (features, N)
        return self.mu.forward(h), self.logvar.forward(h)

    def backward(self, dmu, dlogvar):
        # h feeds both heads, so their gradients add up
        dh = self.mu.backward(dmu) + self.logvar.backward(dlogvar)  # (features, N)
        return self.trunk.backward(dh)


class VAE(Model):
    """encoder: a GaussianEncoder; decoder: (L, N) -> (C, H, W, N); a likelihood."""

    def __init__(self, encoder, decoder, likelihood):
        self.latent_dim = encoder.mu.out_features
        super().__init__(encoder, decoder, likelihood)

    def encode(self, x):
        """Images (N, C, H, W) in [0, 1] -> mu, logvar of q(z|x), each (N, L)."""
        mu, logvar = self._encode(self._inward(x, "N", "C", "H", "W"))
        return batch_first(mu), batch_first(logvar)

    def embed(self, x):
        """Images (N, C, H, W) -> the means mu of q(z|x), (N, L)."""
        return self.encode(x)[0]

    def _forward(self, x, eps):
        """From images and noise, batch first, to what both loss and gradient need, batch last."""
        if eps.ndim != 3 or len(eps) < 1 or eps.shape[1:] != (len(x), self.latent_dim):
            raise ValueError(
                f"eps must be (samples >= 1, {len(x)}, {self.latent_dim}), got {eps.shape}"
            )
        samples, n, latent_dim = eps.shape
        x, xp = self._inward(x, "N", "C", "H", "W"), array_module(self.theta)
        eps = xp.moveaxis(xp.asarray(eps, dtype=self.theta.dtype), -1, 0)  # (L, S, N)

        mu, logvar = self._encode(x)  # (L, N)
        z = reparameterize(mu[:, None], logvar[:, None], eps)  # (L, S, N)
        output = self._decode(z.reshape(latent_dim, samples * n))  # (C, H, W, S N)
        self._require_size(output, x)
        log_px = self.likelihood.log_prob(as_vectors(x, 1, n), as_vectors(output, samples, n))
        return x, mu, logvar, eps, z, output, log_px  # log_px (S, N)

    def loss(self, x, eps, beta=1.0, free_bits=0.0):
        """Loss of images x (N, C, H, W) in [0, 1] with noise eps (S, N, L) ~ N(0, 1), S draws of z.

        total = reconstruction + beta * sum over d of max(free_bits, kl_d); with beta = 1 and no
        free bits it is an unbiased estimate of the negative ELBO. The pixels' range is not checked,
        as that would make a GPU wait.
        """
        loss = Loss(*self.terms(x, eps), beta, free_bits)
        self._dkl = loss.dkl
        return loss

    def terms(self, x, eps):
        x, mu, logvar, eps, _, output, log_px = self._forward(x, eps)
        self._pending = x, mu, logvar, eps, output
        kl = kl_to_standard(mu, logvar)  # (L, N)
        return -log_px.mean(dtype=np.float64), kl.mean(axis=1, dtype=np.float64)

    def terms_backward(self, dreconstruction, dkl):
        x, mu, logvar, eps, output = self._pop_pending()
        _, samples, n = eps.shape

        # reconstruction = mean over samples and batch of -log p(x|z)
        doutput = self.likelihood.backward(
            -dreconstruction / (samples * n), as_vectors(x, 1, n), as_vectors(output, samples, n)
        )  # (D, S, N)
        # output = decoder(z)
        dz = self.decoder.backward(doutput.reshape(output.shape)).reshape(eps.shape)  # (L, S, N)
        # z = mu + std * eps; all samples of an image share mu and logvar, so they add up
        dmu, dlogvar = reparameterize_backward(dz, logvar[:, None], eps)
        dmu, dlogvar = _add_up(dmu), _add_up(dlogvar)  # (L, N)
        # kl = mean over the batch of KL_d, for each latent dimension d
        dkl = dkl / n
        if getattr(dkl, "ndim", 0):  # (L,), and not one number for all
            dkl = dkl.astype(mu.dtype)[:, None]  # (L, 1)
        dkl_dmu, dkl_dlogvar = kl_to_standard_grad(mu, logvar)
        dmu += dkl * dkl_dmu
        dlogvar += dkl * dkl_dlogvar
        # mu, logvar = encoder(x)
        self.encoder.backward(dmu, dlogvar)

    def log_weights(self, x, eps):
        """log p(x, z) - log q(z|x), (S, N), for x (N, C, H, W) and the noise eps (S, N, L).

        Each is an unbiased estimate of the ELBO; the log of the mean of their exponentials over S
        is one of the importance-weighted bound. Burda, Grosse and Salakhutdinov 2016, eq. 8.
        """
        _, mu, logvar, _, z, _, log_px = self._forward(x, eps)
        zero = array_module(z).zeros_like(z)
        log_pz = log_density(z, zero, zero).sum(axis=0)
        log_qz = log_density(z, mu[:, None], logvar[:, None]).sum(axis=0)
        return log_px + log_pz - log_qz


def _add_up(gradients):
    """The sum over samples, (L, S, N) -> (L, N); of a single one without a copy."""
    return gradients[:, 0] if gradients.shape[1] == 1 else gradients.sum(axis=1)
