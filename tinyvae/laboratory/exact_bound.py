"""The importance-weighted bound of K samples and its gradient by quadrature, exact for every K.

The expectation over K samples is an integral over K codes. It reduces to two simple integrals: one
over a single code, computed on a grid of points with probabilities under q, and one over t. By
Frullani's integral

    log s = int_0^inf (exp(-t) - exp(-t s)) dt / t,    1 / s = int_0^inf exp(-t s) dt

Let s be the sum of K independent weights w_k, and phi(t) the mean of exp(-t w) over q. Then

    E log s = int (exp(-t) - phi(t)^K) dt / t
    E sum_k w_k f(z_k) / s = K int E[w f exp(-t w)] phi(t)^(K - 1) dt

The integrands are smooth in log t, so the trapezoidal rule in log t is exact up to rounding.
"""

import numpy as np

from tinyvae.engine.backend import to_host
from tinyvae.laboratory.estimators import gradient_of_q

STEP = 0.25  # in log t


def normal_grid(latent_dim, reach=8.0, step=0.2):
    """Noise eps (P, latent_dim) on a regular grid, and its probabilities (P,) under N(0, I)."""
    line = np.arange(-reach, reach + step / 2, step)
    eps = np.stack(np.meshgrid(*[line] * latent_dim, indexing="ij"), axis=-1)
    eps = eps.reshape(-1, latent_dim)
    mass = np.exp(-0.5 * (eps**2).sum(axis=1))
    return eps, mass / mass.sum()


def iw_bound(log_w, mass, samples):
    """E log((w_1 + ... + w_K) / K), K = samples, from log w (P,) at points with masses (P,).

    The mass of a point is its probability under q. Burda, Grosse and Salakhutdinov 2016, eq. 8.
    """
    log_p, w, ts = _scaled(log_w, mass)
    log_phi = [_log_phi(t, w, mass) for t in ts]
    difference = np.exp(-ts) - np.exp(samples * np.array(log_phi))
    return log_p - np.log(samples) + STEP * difference.sum()


def weighted_mean(log_w, f, mass, samples):
    """E sum_k v_k f(z_k), v_k = w_k / (w_1 + ... + w_K), for f (P, n) at the points: (n,).

    With f = d log w / d theta this is the gradient of the bound with respect to theta.
    """
    _, w, ts = _scaled(log_w, mass)
    total = np.zeros(f.shape[1])
    for t in ts:
        phi = np.exp((samples - 1) * _log_phi(t, w, mass)) if samples > 1 else 1.0
        total += t * phi * ((mass * w * np.exp(-t * w)) @ f)
    return samples * STEP * total


def mean_estimate(model, x, samples, estimator="reparameterized"):
    """The exact mean of estimators.estimates for one image x (1, C, H, W), (2 L,).

    The default estimator is unbiased, so its mean is the gradient of the bound. weighted_mean
    applies to estimators of the form sum_k v_k f(z_k), where f is the estimate from one sample.
    Besides the default only "sticking the landing" has this form.
    Raises ValueError for the other estimators.
    """
    if estimator not in ("reparameterized", "sticking the landing"):
        raise ValueError(
            f"expected an estimator of the form sum_k v_k f(z_k), got {estimator!r}; it is "
            'unbiased, so take the mean of "reparameterized"'
        )
    eps, mass = normal_grid(model.latent_dim)
    log_w = to_host(model.log_weights(x, eps[:, None]))[:, 0]
    parts = gradient_of_q(model, np.repeat(x, len(eps), axis=0), eps[None], estimator)
    return weighted_mean(log_w, np.hstack([to_host(part) for part in parts]), mass, samples)


def _log_phi(t, w, mass):
    """log of the mean of exp(-t w), accurate also near 0, because it is multiplied by K."""
    with np.errstate(divide="ignore"):  # if t is large, the mean is 0
        return np.log1p(max(-1.0, mass @ np.expm1(-t * w)))


def _scaled(log_w, mass):
    """log of the mean weight, the weights divided by the mean, and the points t to sum over."""
    top = log_w.max()
    log_p = top + np.log(mass @ np.exp(log_w - top))
    log_w = log_w - log_p
    return log_p, np.exp(log_w), np.exp(np.arange(-40, 5 - log_w.min(), STEP))
