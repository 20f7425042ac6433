"""The importance-weighted autoencoder: a VAE trained on a tighter bound on log p(x).

For each example K codes z_k are drawn from q(z|x). With the weights w_k = p(x, z_k) / q(z_k|x) the
bound is the expectation of B = log(mean of the w_k): Burda, Grosse and Salakhutdinov 2016, eq. 8.
For K = 1 it is the ELBO, it does not fall as K rises, and it tends to log p(x).
docs/variants/iwae.md derives the bound and the estimators of its gradient.
"""

import math

import numpy as np

from tinyvae.engine.backend import array_module
from tinyvae.engine.gaussian import log_density_grad, reparameterize_backward
from tinyvae.models.layout import as_vectors, require_noise
from tinyvae.models.options import Option
from tinyvae.models.vae import VAE

# (path, score) in the encoder's gradient, see `backward_to_q`, from the normalised weights v.
ESTIMATORS = {
    "standard": lambda v: (1, -v),  # the derivative of B for fixed noise: Burda et al. 2016, eq. 14
    "stl": lambda v: (1, 0),  # sticking the landing: Roeder, Wu and Duvenaud 2017
    "dreg": lambda v: (v, 0),  # doubly reparameterized: Tucker et al. 2019, eq. 8
}


class IWAE(VAE):
    """A VAE with the bound of k samples as its loss; encoder, decoder and likelihood are a VAE's.

    eps (S, N, k L) is the noise of S estimates of the bound, each from k samples of z. The loss is
    the mean over the S estimates. `estimator`: how the gradient of the encoder is estimated.
    Raises UserError for k < 1 or another estimator.
    """

    term_names = ("bound",)
    objective = "negative importance-weighted bound"
    options = {
        "k": Option(5, "samples of z in the importance-weighted bound"),
        "estimator": Option(
            "standard",
            "how the encoder's gradient is estimated: standard, stl (sticking the landing), or "
            "dreg (doubly reparameterized)",
            choices=tuple(ESTIMATORS),
        ),
    }

    def __init__(self, encoder, decoder, likelihood, k, estimator="standard"):
        self.k = self.options["k"].checked("k", k)
        self.estimator = self.options["estimator"].checked("estimator", estimator)
        super().__init__(encoder, decoder, likelihood)
        self.noise_dim, self.weights_per_draw = self.k * self.latent_dim, self.k

    @property
    def _is_vae(self):
        """Whether one sample is all there is: then the KL has a closed form, as in the VAE."""
        return self.k == 1 and self.estimator == "standard"

    def _weighed(self, x, eps):
        """x and eps (S, N, k L) -> what `_forward` returns, and log w (k S, N): k = 1 first."""
        require_noise(eps, len(x), self.noise_dim)
        samples, n, _ = eps.shape
        eps = array_module(eps).moveaxis(eps.reshape(samples, n, self.k, self.latent_dim), 2, 0)
        forward = self._forward(x, eps.reshape(self.k * samples, n, self.latent_dim))
        return forward, self._log_w(*forward)

    def terms(self, x, eps):
        """bound: the mean of -B over the batch and the S estimates, for x (N, ...).

        With k = 1 and the standard estimator it is the VAE's loss, whose KL has a closed form.
        """
        if self._is_vae:
            terms = super().terms(x, eps)
            return {"bound": terms["reconstruction"] + terms["kl"].sum()}
        forward, log_w = self._weighed(x, eps)
        bound, v = bound_and_weights(log_w.reshape(self.k, -1))  # (S N,), (k, S N)
        self._saved = forward, v.reshape(log_w.shape)
        return {"bound": -bound.mean(dtype=np.float64)}

    def terms_backward(self, dterms):
        if self._is_vae:
            ones = array_module(self.theta).ones(self.latent_dim)
            both = {"reconstruction": dterms["bound"], "kl": dterms["bound"] * ones}
            return super().terms_backward(both)
        forward, v = self._take_saved()  # (k S, N)
        # bound = mean over the S estimates and the batch of -B
        dbound = -dterms["bound"] / (v.size // self.k)
        path, score = ESTIMATORS[self.estimator](v)
        self.encoder.backward(*backward_to_q(self, forward, dbound, v, path, score))

    def log_weights(self, x, eps):
        """log p(x, z) - log q(z|x) in nats, (k S, N), for x (N, ...) and eps (S, N, k L)."""
        return self._weighed(x, eps)[1]


def bound_and_weights(log_w):
    """From log w (K, ...): B = log(mean of w), (...), and v = w / (sum of w), (K, ...)."""
    xp, top = array_module(log_w), log_w.max(axis=0)
    w = xp.exp(log_w - top)  # the largest is 1: the sum neither overflows nor vanishes
    total = w.sum(axis=0)
    return top + xp.log(total) - math.log(len(log_w)), w / total


def backward_to_q(vae, forward, dbound, v, path, score):
    """(dmu, dlogvar), both (L, N); sets the gradients of decoder and likelihood.

    dbound: dLoss/dB, a number. M samples of z for each example have the normalised weights v and
    the factors path and score, each (M, N) or one number. The path is the derivative of log w by mu
    and logvar through z. The score is the derivative of log q(z|x) by them at a fixed z:

        dmu = sum over the samples of dbound (v path dlog w/dz dz/dmu + score dlog q/dmu)

    and likewise dlogvar. Decoder and likelihood get the derivative of B, whatever the factors are.
    """
    x, mu, logvar, eps, z, output, _ = forward  # z, eps (L, M, N)
    n, mu, logvar = x.shape[-1], mu[:, None], logvar[:, None]  # (L, 1, N)
    # B = log mean exp(log w), so dB/dlog w = v
    dlog_w = dbound * v  # (M, N)
    # log w = log p(x|z) + log p(z) - log q(z|x)
    doutput = vae.likelihood.backward(dlog_w, as_vectors(x, 1, n), as_vectors(output, *v.shape))
    # output = decoder(z)
    dz = vae.decoder.backward(doutput.reshape(output.shape)).reshape(z.shape)
    log_q_dz, log_q_dmu, log_q_dlogvar = log_density_grad(z, mu, logvar)
    dz = dz + dlog_w * (-z - log_q_dz)  # log p(z) has the derivative -z
    # z = mu + std * eps; log q(z|x) depends on mu and logvar also at a fixed z
    dmu, dlogvar = reparameterize_backward(path * dz, logvar, eps)
    dmu = dmu + dbound * score * log_q_dmu
    dlogvar = dlogvar + dbound * score * log_q_dlogvar
    return dmu.sum(axis=1), dlogvar.sum(axis=1)
