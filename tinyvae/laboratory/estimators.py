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
from tinyvae.models import iwae
from tinyvae.models.iwae import backward_to_q, bound_and_weights
from tinyvae.models.layout import batch_first

CODES = 100_000  # decoded at a time, to limit the memory
# The factors path_k and score_k, (K, N) or one number, from v (K, N), B (N,) and log w (K, N).
ESTIMATORS = {
    "score function": lambda v, bound, log_w: (0, bound - v),
    "leave-one-out": lambda v, bound, log_w: (0, bound - leave_one_out_bounds(log_w) - v),
    "reparameterized": lambda v, bound, log_w: iwae.ESTIMATORS["standard"](v),
    "sticking the landing": lambda v, bound, log_w: iwae.ESTIMATORS["stl"](v),
    "doubly reparameterized": lambda v, bound, log_w: iwae.ESTIMATORS["dreg"](v),
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
    forward = model._forward(x, eps)
    log_w = model._log_w(*forward)  # (K, N)
    bound, v = bound_and_weights(log_w)
    path, score = ESTIMATORS[estimator](v, bound, log_w)
    # loss = -mean over the batch of B
    return bound, *backward_to_q(model, forward, -1 / len(x), v, path, score)


def leave_one_out_bounds(log_w):
    """B from log_w (K, N) without sample k, for each k: (K, N).

    Raises ValueError for K = 1.
    """
    if len(log_w) < 2:
        raise ValueError("leave-one-out needs K >= 2 samples, got K = 1; draw more samples")
    xp, k = array_module(log_w), len(log_w)
    top, largest = log_w.max(axis=0), xp.arange(k)[:, None] == log_w.argmax(axis=0)
    w = xp.exp(log_w - top)
    # sum - w >= 1, except for the largest w, where the difference would lose its digits
    others = xp.where(largest, 1, w.sum(axis=0) - w)
    rest, _ = bound_and_weights(xp.where(largest, -math.inf, log_w))
    rest = rest + math.log(k)
    return xp.where(largest, rest, top + xp.log(others)) - math.log(k - 1)
