"""A VAE of tinyvae's parts against closed forms: the linear VAE of laboratory/linear_gaussian.py.

Means over exact_noise are exact, as log p(x, z) - log q(z|x) is quadratic in the noise.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp

from tinyvae import Gaussian, to_host
from tinyvae.engine.differences import numerical_gradient, relative_error
from tinyvae.laboratory.linear_gaussian import (
    LinearGaussian,
    exact_elbo,
    exact_noise,
    linear_vae,
    principal_components,
    sorted_kl,
    train,
)
from tinyvae.training import evaluation

SHAPE, D, L = (2, 1, 3), 6, 2
SEEDS = st.integers(0, 10_000)


def random_model(rng):
    return LinearGaussian(rng.standard_normal((D, L)), rng.standard_normal(D), rng.uniform(0.2, 2))


def images(rng, n):
    return rng.standard_normal((n, *SHAPE))


@given(seed=SEEDS)
def test_elbo_and_kl_to_the_posterior_add_up_to_log_p(xp, seed):
    """log p(x) = ELBO + KL(q || p(z|x)), for a random q."""
    rng = np.random.default_rng(seed)
    exact, x = random_model(rng), images(rng, 5)
    v, variance = rng.standard_normal((L, D)), np.exp(rng.standard_normal(L))
    model = exact.vae(SHAPE, v, variance, xp)
    mu = (x.reshape(-1, D) - exact.m) @ v.T
    gap = exact.kl_to_posterior(x, mu, variance)
    assert (gap > 0).all()
    elbo = exact_elbo(model, x)
    np.testing.assert_allclose(elbo + gap, exact.log_p(x), rtol=1e-12, atol=1e-10)
    loss = model.loss(x, exact_noise(len(x), L))
    assert -float(loss.total) == pytest.approx(elbo.mean(), rel=1e-12, abs=1e-10)


@given(seed=SEEDS)
def test_every_weight_is_log_p_where_q_is_the_posterior(xp, seed):
    """Then log p(x, z) - log q(z|x) is the same for all z. W needs orthogonal columns for this."""
    rng = np.random.default_rng(seed)
    orthogonal, _ = np.linalg.qr(rng.standard_normal((D, L)))
    exact = LinearGaussian(orthogonal * rng.uniform(0.5, 2, L), rng.standard_normal(D), 0.7)
    model = exact.vae(SHAPE, xp=xp)
    x, eps = images(rng, 5), 2 * rng.standard_normal((7, 5, L))
    log_w = to_host(model.log_weights(x, eps))
    assert log_w.shape == (7, 5)
    np.testing.assert_allclose(log_w, np.tile(exact.log_p(x), (7, 1)), rtol=1e-12, atol=1e-10)


def test_weights_are_unbiased_for_p(xp):
    """The mean of p(x, z) / q(z|x) over z ~ q is p(x): within 4 standard errors."""
    rng = np.random.default_rng(1)
    exact, x = random_model(rng), images(rng, 3)
    wide = 2 * exact.s2 * np.diag(np.linalg.inv(exact.precision))  # so that the variance is finite
    model = exact.vae(SHAPE, exact.posterior_map(), wide, xp)
    log_w = to_host(model.log_weights(x, rng.standard_normal((20_000, 3, L))))
    ratio = np.exp(log_w - exact.log_p(x))
    error = ratio.std(axis=0) / np.sqrt(len(ratio))
    assert (error < 0.02).all()
    assert (np.abs(ratio.mean(axis=0) - 1) < 4 * error).all()


def test_bounds_rise_from_the_elbo_to_log_p(xp):
    """ELBO = bound of one sample <= bound of K samples <= log p(x), on uint8 images."""
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (400, *SHAPE), dtype=np.uint8)
    x = pixels / 255
    exact = LinearGaussian(rng.standard_normal((D, L)), np.full(D, 0.5), 0.1)
    model = exact.vae(SHAPE, 0.8 * exact.posterior_map(), np.full(L, 0.3), xp)
    elbo, log_p = exact_elbo(model, x), exact.log_p(x)
    assert (elbo < log_p).all()

    bounds = [
        evaluation.importance_weighted_bound(model, pixels, k, seed=k) for k in (1, 3, 10, 400)
    ]
    gaps = log_p - np.array(bounds)
    means, errors = gaps.mean(axis=1), gaps.std(axis=1) / np.sqrt(len(x))
    assert abs(means[0] - (log_p - elbo).mean()) < 4 * errors[0]
    assert (means[:-1] - means[1:] > 3 * np.hypot(errors[:-1], errors[1:])).all()
    assert means[-1] > -3 * errors[-1]
    assert means[-1] < 0.03


def test_bound_of_merged_samples_is_never_lower(xp):
    """Jensen's inequality: the bound of 2 K samples is above the mean bound of its two halves."""
    rng = np.random.default_rng(3)
    exact, x = random_model(rng), images(rng, 4)
    model = exact.vae(SHAPE, exact.posterior_map(), np.full(L, 0.5), xp)
    log_w = to_host(model.log_weights(x, rng.standard_normal((256, 4, L))))
    bounds = []
    for k in (1, 2, 16, 256):
        groups = log_w.reshape(256 // k, k, 4)
        bounds.append((logsumexp(groups, axis=1) - np.log(k)).mean(axis=0))
    assert (np.diff(bounds, axis=0) > 0).all()
    np.testing.assert_allclose(bounds[0], log_w.mean(axis=0))


def closed_form_loss(theta, x, s2):
    """The negative ELBO of a linear VAE from its flat parameters, written out by hand."""
    parts = np.split(theta, np.cumsum([L * D, L, L * D, L, D * L]))
    v, c, a, b, w, m = (
        part.reshape(shape)
        for part, shape in zip(parts, [(L, D), L, (L, D), L, (D, L), D], strict=True)
    )
    x = x.reshape(-1, D)
    mu, logvar = x @ v.T + c, x @ a.T + b
    off = x - mu @ w.T - m
    spread = np.exp(logvar) @ (w * w).sum(axis=0)  # what the noise adds to |x - W z - m|^2
    reconstruction = 0.5 * (((off * off).sum(axis=1) + spread) / s2 + D * np.log(2 * np.pi * s2))
    kl = 0.5 * (mu * mu + np.exp(logvar) - 1 - logvar).sum(axis=1)
    return (reconstruction + kl).mean()


@given(seed=SEEDS)
def test_gradient_is_that_of_the_closed_form(xp, seed):
    """Loss and whole gradient against a formula that shares no code with tinyvae."""
    rng = np.random.default_rng(seed)
    x, s2 = images(rng, 5), rng.uniform(0.2, 2)
    model = linear_vae(SHAPE, L, Gaussian(s2), xp)
    theta = 0.7 * rng.standard_normal(model.theta.shape)
    model.theta[...] = xp.asarray(theta)
    loss = model.loss(x, exact_noise(5, L))
    model.backward()
    assert float(loss.total) == pytest.approx(closed_form_loss(theta, x, s2), rel=1e-12)
    numerical = numerical_gradient(lambda: closed_form_loss(theta, x, s2), theta)
    assert relative_error(numerical, to_host(model.grad)) < 1e-7


def stretched_images(rng, n=40):
    """Images whose covariance has eigenvalues far apart."""
    scales = np.array([3.0, 1.8, 1.0, 0.7, 0.5, 0.3])
    rotation, _ = np.linalg.qr(rng.standard_normal((D, D)))
    x = (rng.standard_normal((n, D)) * scales) @ rotation.T + rng.standard_normal(D)
    return x.reshape(n, *SHAPE)


def likelihood_bound(values, s2):
    """The largest mean log p(x) that any W can reach with this s2."""
    used = np.maximum(values[:L], s2)  # where an eigenvalue is below s2, W has a column of zeros
    log_determinant = np.log(used).sum() + (D - L) * np.log(s2)
    trace = (values[:L] / used).sum() + values[L:].sum() / s2
    return -0.5 * (D * np.log(2 * np.pi) + log_determinant + trace)


def test_optimum_is_probabilistic_pca(xp):
    """At the optimum ELBO = log p(x), KL = log(l_i / s2) / 2 in dimension i, and gradient = 0."""
    x = stretched_images(np.random.default_rng(4))
    _, values, _ = principal_components(x)
    s2 = values[L:].mean()
    exact = LinearGaussian.fit(x, L)
    model = exact.vae(SHAPE, exact.posterior_map(), s2 / values[:L], xp)
    loss = model.loss(x, exact_noise(len(x), L))
    model.backward()
    formula = -0.5 * (np.log(values[:L]).sum() + (D - L) * np.log(s2) + D + D * np.log(2 * np.pi))
    assert -float(loss.total) == pytest.approx(formula, abs=1e-10)
    assert exact.log_p(x).mean() == pytest.approx(formula, abs=1e-10)
    assert likelihood_bound(values, s2) == pytest.approx(formula, abs=1e-10)
    np.testing.assert_allclose(to_host(loss.kl), np.log(values[:L] / s2) / 2, atol=1e-10)
    np.testing.assert_allclose(to_host(model.grad), 0, atol=1e-10)


@pytest.mark.parametrize("collapsed", [0, 1])
def test_training_finds_the_principal_components(collapsed):
    """Adam reaches the closed-form optimum, and with s2 above l_2 exactly one unit collapses."""
    x = stretched_images(np.random.default_rng(5))
    _, values, _ = principal_components(x)
    s2 = values[L:].mean() if collapsed == 0 else (values[0] + values[1]) / 2
    model = train(x, L, Gaussian(s2), steps=2000, lr=0.1)
    assert exact_elbo(model, x).mean() == pytest.approx(likelihood_bound(values, s2), abs=1e-6)
    kl = sorted_kl(model, x)
    np.testing.assert_allclose(kl, np.maximum(0, np.log(values[:L] / s2) / 2), atol=1e-4)
    assert (kl < 0.01).sum() == collapsed
