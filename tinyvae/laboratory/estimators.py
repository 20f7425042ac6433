"""Estimators of the encoder's gradient of the importance-weighted bound.

An image has K samples z_k = mu + std eps_k with log w_k = log p(x, z_k) - log q(z_k|x). The bound
is the expectation of B = log(mean of the w_k) (Burda, Grosse and Salakhutdinov 2016, eq. 8). The
weight w_k depends on mu and logvar in two ways: through the sample z_k, which is called the path,
and through the density q(z|x) at a fixed z. The gradient of log q(z|x) at a fixed z is called the
score. Every estimator of dB / d(mu, logvar) is a sum over the samples,

    v_k path_k (d log w_k / d z_k) (d z_k / d(mu, logvar)) + score_k d log q(z_k|x) / d(mu, logvar)

where v_k = w_k / (w_1 + ... + w_K). The estimators differ in the two factors path_k and score_k.
B_-k is B computed without sample k.

                              path_k   score_k
    score function            0        B - v_k            Williams 1992 (REINFORCE)
    leave-one-out             0        B - B_-k - v_k     Mnih and Rezende 2016 (VIMCO)
    reparameterized           1        -v_k               Burda et al. 2016: dB for fixed noise
    sticking the landing      1        0                  Roeder, Wu and Duvenaud 2017
    doubly reparameterized    v_k      0                  Tucker et al. 2019 (DReG)

All are unbiased, except that sticking the landing is unbiased for K = 1 only. The derivations and
a comparison are in docs/experiments/gradient_estimators.md.
"""

import math

import numpy as np

from tinyvae.engine.backend import array_module, to_host
from tinyvae.engine.gaussian import log_density, log_density_grad, reparameterize_backward
from tinyvae.models.layout import as_vectors, batch_first

CODES = 100_000  # decoded at a time, to limit the memory
# The factors path_k and score_k, (K, N) or one number, from v (K, N), B (N,) and log w (K, N).
ESTIMATORS = {
    "score function": lambda v, bound, log_w: (0, bound - v),
    "leave-one-out": lambda v, bound, log_w: (0, bound - leave_one_out_bounds(log_w) - v),
    "reparameterized": lambda v, bound, log_w: (1, -v),
    "sticking the landing": lambda v, bound, log_w: (1, 0),
    "doubly reparameterized": lambda v, bound, log_w: (v, 0),
}


def gradient(model, x, eps, estimator):
    """Set model.grad to the gradient of a loss, the mean of -B over the images; return the loss.

    x: (N, C, H, W) in [0, 1]; eps: (K, N, L) ~ N(0, 1); estimator: a key of ESTIMATORS. The
    encoder's gradient is the estimator's. The decoder's gradient is the derivative of the loss for
    this noise, whatever the estimator.
    Raises ValueError for another estimator, and for "leave-one-out" with K = 1.
    """
    bound, dmu, dlogvar = _backward_to_q(model, x, eps, estimator)
    model.encoder.backward(dmu, dlogvar)
    return -bound.mean(dtype=np.float64)


def gradient_of_q(model, x, eps, estimator):
    """One estimate of dB / dmu and of dB / dlogvar for each image, two arrays (N, L).

    The encoder's gradient follows from them by the chain rule. Arguments as in `gradient`.
    """
    _, dmu, dlogvar = _backward_to_q(model, x, eps, estimator)
    return batch_first(-len(x) * dmu), batch_first(-len(x) * dlogvar)


def estimates(model, x, samples, estimator, draws, rng):
    """Independent estimates of dB / d(mu, logvar) for one image x (1, C, H, W): (draws, 2 L).

    On the host; first dB / dmu, then dB / dlogvar. rng: a NumPy generator.
    """
    size, parts = max(1, CODES // samples), []
    for start in range(0, draws, size):
        n = min(size, draws - start)
        eps = rng.standard_normal((samples, n, model.latent_dim))
        parts.append(gradient_of_q(model, np.repeat(x, n, axis=0), eps, estimator))
    return np.concatenate([np.hstack([to_host(half) for half in part]) for part in parts])


def _backward_to_q(model, x, eps, estimator):
    """B (N,) and the gradients dmu and dlogvar of the loss, (L, N); sets the decoder's gradient."""
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
    # z = mu + std * eps, and log q(z|x) depends on mu and logvar also at a fixed z
    dmu, dlogvar = reparameterize_backward(path * dz, logvar, eps)
    dmu = (dmu - score / n * log_q_dmu).sum(axis=1)
    dlogvar = (dlogvar - score / n * log_q_dlogvar).sum(axis=1)
    return bound, dmu, dlogvar


def log_mean_exp(log_w):
    """log of the mean of exp(log_w) over the first axis, without overflow."""
    xp, top = array_module(log_w), log_w.max(axis=0)
    return top + xp.log(xp.exp(log_w - top).mean(axis=0))


def leave_one_out_bounds(log_w):
    """log_mean_exp of log_w (K, N) without sample k, for each k: (K, N).

    Raises ValueError for K = 1.
    """
    if len(log_w) < 2:
        raise ValueError("leave-one-out needs K >= 2 samples, got K = 1; draw more samples")
    xp, k = array_module(log_w), len(log_w)
    top, largest = log_w.max(axis=0), xp.arange(k)[:, None] == log_w.argmax(axis=0)
    w = xp.exp(log_w - top)
    # sum - w >= 1, except for the largest w, where the difference would lose its digits
    others = xp.where(largest, 1, w.sum(axis=0) - w)
    rest = log_mean_exp(xp.where(largest, -math.inf, log_w)) + math.log(k)
    return xp.where(largest, rest, top + xp.log(others)) - math.log(k - 1)
