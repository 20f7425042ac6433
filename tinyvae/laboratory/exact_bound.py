"""The importance-weighted bound of K samples and its gradient by quadrature: exact for every K.

A mean over K samples is an integral over K codes, yet two simple integrals do: one over a single
code, on a grid whose points have masses under q, and one over t. By Frullani's integral

    log s = int_0^inf (exp(-t) - exp(-t s)) dt / t,    1 / s = int_0^inf exp(-t s) dt

With s the sum of K independent weights w_k, and phi(t) the mean of exp(-t w) over q,

    E log s = int (exp(-t) - phi(t)^K) dt / t
    E sum_k w_k f(z_k) / s = K int E[w f exp(-t w)] phi(t)^(K - 1) dt

Integrands are smooth in log t, and the trapezoidal rule is then exact to rounding.
"""

import numpy as np

from tinyvae.engine.backend import to_host
from tinyvae.laboratory.estimators import gradient_of_q

STEP = 0.25  # in log t


def normal_grid(latent_dim, reach=8.0, step=0.2):
    """Noises eps (P, latent_dim) on a regular grid, and their masses (P,) under N(0, I)."""
    line = np.arange(-reach, reach + step / 2, step)
    eps = np.stack(np.meshgrid(*[line] * latent_dim, indexing="ij"), axis=-1)
    eps = eps.reshape(-1, latent_dim)
    mass = np.exp(-0.5 * (eps**2).sum(axis=1))
    return eps, mass / mass.sum()


def iw_bound(log_w, mass, samples):
    """E log((w_1 + ... + w_K) / K), K = samples, from log w (P,) at points of these masses (P,).

    It is the bound of Burda, Grosse and Salakhutdinov 2016, eq. 8.
    """
    log_p, w, ts = _scaled(log_w, mass)
    log_phi = [_log_phi(t, w, mass) for t in ts]
    difference = np.exp(-ts) - np.exp(samples * np.array(log_phi))
    return log_p - np.log(samples) + STEP * difference.sum()


def weighted_mean(log_w, f, mass, samples):
    """E sum_k v_k f(z_k), v_k = w_k / (w_1 + ... + w_K), for f (P, n) at the points: (n,).

    With f = d log w / d theta it is the gradient of the bound in theta.
    """
    _, w, ts = _scaled(log_w, mass)
    total = np.zeros(f.shape[1])
    for t in ts:
        phi = np.exp((samples - 1) * _log_phi(t, w, mass)) if samples > 1 else 1.0
        total += t * phi * ((mass * w * np.exp(-t * w)) @ f)
    return samples * STEP * total


def mean_estimate(model, x, samples, estimator="reparameterized"):
    """The mean of estimators.estimates for one image x (1, C, H, W): (2 L,), mu then logvar.

    Its default is the gradient of the bound. Only "sticking the landing", too, is a sum over the
    samples of v_k and a function of z_k, which is the estimate from one sample.
    Raises ValueError for any other.
    """
    if estimator not in ("reparameterized", "sticking the landing"):
        raise ValueError(f"no sum of v_k f(z_k): {estimator}; all but one have the default's mean")
    eps, mass = normal_grid(model.latent_dim)
    log_w = to_host(model.log_weights(x, eps[:, None]))[:, 0]
    parts = gradient_of_q(model, np.repeat(x, len(eps), axis=0), eps[None], estimator)
    return weighted_mean(log_w, np.hstack([to_host(part) for part in parts]), mass, samples)


def _log_phi(t, w, mass):
    """log of the mean of exp(-t w); exact also where it is near 0, as K will multiply it."""
    with np.errstate(divide="ignore"):  # where t is large, the mean is 0
        return np.log1p(max(-1.0, mass @ np.expm1(-t * w)))


def _scaled(log_w, mass):
    """log of the mean weight, the weights divided by it, and the t of the quadrature."""
    top = log_w.max()
    log_p = top + np.log(mass @ np.exp(log_w - top))
    log_w = log_w - log_p
    return log_p, np.exp(log_w), np.exp(np.arange(-40, 5 - log_w.min(), STEP))
