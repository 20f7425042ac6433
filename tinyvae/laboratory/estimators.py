"""Estimators of the gradient of the importance-weighted bound in the encoder's parameters.

With K samples z_k = mu + std eps_k of an image and log w_k = log p(x, z_k) - log q(z_k|x), the
bound is the mean of B = log of the mean of the w_k (Burda, Grosse and Salakhutdinov 2016, eq. 8).
mu and logvar act on log w_k in two ways: by the path through z_k, and by the density q(z|x) at a
fixed z, whose derivative is the score. Every estimator of dB is a sum over the samples of

    v_k path_k (d log w_k / d z_k) (d z_k / d(mu, logvar)) + score_k d log q(z_k|x) / d(mu, logvar)

where v_k is w_k divided by the sum of all; they differ in two factors. B_-k is the B of the others.

                              path_k   score_k
    score function            0        B - v_k            Williams 1992 (REINFORCE)
    leave-one-out             0        B - B_-k - v_k     Mnih and Rezende 2016 (VIMCO)
    reparameterized           1        -v_k               Burda et al. 2016: dB for fixed noise
    sticking the landing      1        0                  Roeder, Wu and Duvenaud 2017
    doubly reparameterized    v_k      0                  Tucker et al. 2019 (DReG)

All have the mean d E[B], but sticking the landing has it for K = 1 only. The derivations, and how
they compare: docs/experiments/gradient_estimators.md.
"""

import math

import numpy as np

from tinyvae.engine.backend import array_module, to_host
from tinyvae.engine.gaussian import log_density, log_density_grad, reparameterize_backward
from tinyvae.models.base import as_vectors, batch_first

CODES = 100_000  # decoded at a time: bounds the memory
# path and score of each sample, (K, N) or one number, from v (K, N), B (N,) and log w (K, N)
ESTIMATORS = {
    "score function": lambda v, bound, log_w: (0, bound - v),
    "leave-one-out": lambda v, bound, log_w: (0, bound - bounds_of_others(log_w) - v),
    "reparameterized": lambda v, bound, log_w: (1, -v),
    "sticking the landing": lambda v, bound, log_w: (1, 0),
    "doubly reparameterized": lambda v, bound, log_w: (v, 0),
}


def gradient(model, x, eps, estimator):
    """Set model.grad to the gradient of a loss, the mean of -B over the images; return the loss.

    x: (N, C, H, W) in [0, 1]; eps: (K, N, L) ~ N(0, 1). The encoder's part is what the estimator,
    a key of ESTIMATORS, makes of it; the decoder's is the derivative for this noise.
    Raises ValueError for another estimator, and for "leave-one-out" with K = 1.
    """
    bound, dmu, dlogvar = _backward_to_q(model, x, eps, estimator)
    model.encoder.backward(dmu, dlogvar)
    return -bound.mean(dtype=np.float64)


def gradient_of_q(model, x, eps, estimator):
    """What the encoder's gradient is made of: estimates of each image's dB / d(mu, logvar).

    Two arrays (N, L). Arguments as in `gradient`.
    """
    _, dmu, dlogvar = _backward_to_q(model, x, eps, estimator)
    return batch_first(-len(x) * dmu), batch_first(-len(x) * dlogvar)


def estimates(model, x, samples, estimator, draws, rng):
    """Many independent estimates for one image x (1, C, H, W), on the host: (draws, 2 L).

    mu first, then logvar; rng: a NumPy generator.
    """
    size, parts = max(1, CODES // samples), []
    for start in range(0, draws, size):
        n = min(size, draws - start)
        eps = rng.standard_normal((samples, n, model.latent_dim))
        parts.append(gradient_of_q(model, np.repeat(x, n, axis=0), eps, estimator))
    return np.concatenate([np.hstack([to_host(half) for half in part]) for part in parts])


def _backward_to_q(model, x, eps, estimator):
    """B (N,), and the loss's gradient in mu and logvar, (L, N) each; sets the decoder's."""
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator must be one of {', '.join(ESTIMATORS)}, got {estimator!r}")
    x, mu, logvar, eps, z, output, log_px = model._forward(x, eps)  # z, eps (L, K, N)
    n, mu, logvar = x.shape[-1], mu[:, None], logvar[:, None]  # (L, 1, N)
    zero = array_module(z).zeros_like(z)
    log_w = log_px + (log_density(z, zero, zero) - log_density(z, mu, logvar)).sum(axis=0)
    bound = log_mean_exp(log_w)
    v = array_module(z).exp(log_w - bound) / len(log_w)  # (K, N)
    path, score = ESTIMATORS[estimator](v, bound, log_w)

    # loss = -mean over the batch of log mean exp(log w)
    dlog_w = -v / n
    # log w = log p(x|z) + log p(z) - log q(z); output = decoder(z)
    doutput = model.likelihood.backward(dlog_w, as_vectors(x, 1, n), as_vectors(output, *v.shape))
    dz = model.decoder.backward(doutput.reshape(output.shape)).reshape(z.shape)
    log_q_dz, log_q_dmu, log_q_dlogvar = log_density_grad(z, mu, logvar)
    dz += dlog_w * (log_density_grad(z, zero, zero)[0] - log_q_dz)
    # z = mu + std * eps, and log q has mu and logvar of its own
    dmu, dlogvar = reparameterize_backward(path * dz, logvar, eps)
    dmu = (dmu - score / n * log_q_dmu).sum(axis=1)
    dlogvar = (dlogvar - score / n * log_q_dlogvar).sum(axis=1)
    return bound, dmu, dlogvar


def log_mean_exp(log_w):
    """log of the mean of exp(log_w) over the first axis, without overflow."""
    xp, top = array_module(log_w), log_w.max(axis=0)
    return top + xp.log(xp.exp(log_w - top).mean(axis=0))


def bounds_of_others(log_w):
    """For each of K samples the log_mean_exp of the K - 1 others: (K, N) from (K, N).

    Raises ValueError for K = 1.
    """
    if len(log_w) < 2:
        raise ValueError("leave-one-out leaves none of K = 1 samples; it needs at least 2")
    xp, k = array_module(log_w), len(log_w)
    top, largest = log_w.max(axis=0), xp.arange(k)[:, None] == log_w.argmax(axis=0)
    w = xp.exp(log_w - top)
    others = xp.where(largest, 1, w.sum(axis=0) - w)  # >= 1; for the largest it would cancel
    rest = log_mean_exp(xp.where(largest, -math.inf, log_w)) + math.log(k)
    return xp.where(largest, rest, top + xp.log(others)) - math.log(k - 1)
