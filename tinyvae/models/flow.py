"""The VAE whose posterior is made by a normalizing flow, and so need not be Gaussian.

The encoder gives q0(z0|x) = N(mu, sigma^2), as in a VAE, and features h. A flow turns z0 into z:
log q(z|x) = log q0(z0|x) - log_det. Rezende and Mohamed 2015, section 4; the inference network
gives the flow's parameters too. The loss is the negative ELBO. docs/variants/flow.md derives it.
"""

import numpy as np

from tinyvae.engine import gaussian
from tinyvae.engine.backend import array_module
from tinyvae.engine.flows import STEPS, Flow
from tinyvae.models.layout import as_vectors, batch_first
from tinyvae.models.options import Option
from tinyvae.models.vae import VAE, GaussianEncoder


class ContextEncoder(GaussianEncoder):
    """A GaussianEncoder that also gives the trunk's features h (features, N), for the flow."""

    def forward(self, x):
        h = self.trunk.forward(x)  # (features, N)
        return self.mu.forward(h), self.logvar.forward(h), h

    def backward(self, dmu, dlogvar, dh):
        # h feeds both heads and the flow, so their gradients add up
        dh = self.mu.backward(dmu) + self.logvar.backward(dlogvar) + dh  # (features, N)
        return self.trunk.backward(dh)


class FlowVAE(VAE):
    """encoder: a ContextEncoder; decoder: (L, N) -> (..., N); a likelihood; a Flow.

    "kl" is (1,): the KL of a flow has no value for each dimension. So free bits hold for the whole
    KL, as for one of the groups of dimensions in Kingma et al. 2016, eq. 15.
    """

    options = {
        "flow": Option("coupling", "the kind of the flow's steps", choices=(*STEPS,)),
        "flow_steps": Option(4, "steps of the flow; with 0 the model is a VAE", least=0),
    }

    def __init__(self, encoder, decoder, likelihood, flow):
        self.flow = flow
        super().__init__(encoder, decoder, likelihood)

    @classmethod
    def build(cls, networks, latent_dim, likelihood, flow, flow_steps):
        """The FlowVAE made of `networks`; the weights of a VAE are drawn first."""
        trunk, decoder, rng = networks.trunk(), networks.decoder(latent_dim), networks.rng
        encoder = ContextEncoder(trunk, networks.features, latent_dim, rng=rng)
        flow = Flow(flow, flow_steps, latent_dim, networks.features, rng=rng)
        return cls(encoder, decoder, likelihood, flow)

    def encode(self, x):
        """Examples x (N, ...) -> mu and logvar of q0(z0|x), each (N, L)."""
        mu, logvar, _ = self._encode(self._to_engine(x))
        return batch_first(mu), batch_first(logvar)

    def embed(self, x):
        """Examples x (N, ...) -> the codes that the flow makes of the means of q0, (N, L)."""
        mu, _, h = self._encode(self._to_engine(x))
        return batch_first(self.flow.forward(mu[:, None], h)[0][:, 0])

    def _forward(self, x, eps):
        """x and eps, batch first -> what `terms` and `log_weights` need, batch last."""
        x = self._to_engine(x)
        eps = self._noise(eps, x.shape[-1])  # (L, S, N)
        mu, logvar, h = self._encode(x)
        z0 = gaussian.reparameterize(mu[:, None], logvar[:, None], eps)  # (L, S, N)
        z, log_det = self.flow.forward(z0, h)  # (L, S, N), (S, N)
        output, log_px = self._log_px(x, z)  # (..., S N), (S, N)
        return x, mu, logvar, eps, z, log_det, output, log_px

    def terms(self, x, eps):
        """The two terms of the negative ELBO, for x (N, ...) and noise eps (S, N, L).

        kl (1,): in the mean of log q0(z0|x) - log_det - log p(z) the first part is exact.
        """
        x, mu, logvar, eps, z, log_det, output, log_px = self._forward(x, eps)
        self._saved = x, mu, logvar, eps, z, output
        if self.flow.steps:  # log(2 pi) / 2 of each dimension cancels
            exact = -0.5 * (1 + logvar)  # (L, N), log q0
            sampled = (0.5 * z * z).sum(axis=0) - log_det  # (S, N), -log p - log_det
        else:
            exact, sampled = gaussian.kl_to_standard(mu, logvar), log_det  # log_det is 0
        kl = exact.mean(axis=1, dtype=np.float64).sum() + sampled.mean(dtype=np.float64)
        return {"reconstruction": -log_px.mean(dtype=np.float64), "kl": kl.reshape(1)}

    def terms_backward(self, dterms):
        x, mu, logvar, eps, z, output = self._take_saved()
        _, samples, n = eps.shape
        # reconstruction = mean over samples and batch of -log p(x|z)
        dlog_px = -dterms["reconstruction"] / (samples * n)
        vectors = as_vectors(x, 1, n), as_vectors(output, samples, n)
        doutput = self.likelihood.backward(dlog_px, *vectors)  # (D, S, N)
        # output = decoder(z)
        dz = self.decoder.backward(doutput.reshape(output.shape)).reshape(eps.shape)  # (L, S, N)
        dkl = (dterms["kl"] / n).astype(z.dtype)[:, None]  # (1, 1)
        if self.flow.steps:
            # kl = ... + mean over samples and batch of sum of z^2 / 2 - log_det
            dsampled = dkl / samples * array_module(z).ones_like(z[0])  # (S, N)
            # z, log_det = flow(z0, h)
            dz, dh = self.flow.backward(dz + dsampled * z, -dsampled)
            # kl = mean over the batch of sum of -(1 + logvar) / 2 + ...
            dkl_dmu, dkl_dlogvar = 0.0, -0.5
        else:  # kl = mean over the batch of KL(q0 || p)
            dh, (dkl_dmu, dkl_dlogvar) = 0.0, gaussian.kl_to_standard_grad(mu, logvar)  # (L, N)
        # z0 = mu + std * eps
        dmu, dlogvar = gaussian.reparameterize_backward(dz, logvar[:, None], eps)
        # mu and logvar are used by every sample and by the KL: the gradients of all uses add up.
        dmu = dmu.sum(axis=1) + dkl * dkl_dmu  # (L, N)
        dlogvar = dlogvar.sum(axis=1) + dkl * dkl_dlogvar
        # mu, logvar, h = encoder(x)
        self.encoder.backward(dmu, dlogvar, dh)

    def log_weights(self, x, eps):
        """log p(x, z) - log q(z|x), (S, N), for x (N, ...) and noise eps (S, N, L); see VAE."""
        x, mu, logvar, eps, z, log_det, output, log_px = self._forward(x, eps)
        # log q(z|x) = log q0(z0|x) - log_det
        return self._log_w(x, mu, logvar, eps, z, output, log_px) + log_det
