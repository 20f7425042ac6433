"""The quadrature against closed forms, finite differences and sampling, on the linear VAE."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyvae.engine.differences import numerical_gradient
from tinyvae.engine.gaussian import log_density, reparameterize
from tinyvae.laboratory.exact_bound import iw_bound, normal_grid, weighted_mean
from tinyvae.laboratory.linear_gaussian import LinearGaussian, exact_elbo
from tinyvae.rng import generator

SHAPE, D, L = (2, 1, 3), 6, 2


def laboratory(seed):
    """A model with a random W, one image, and a wrong q: its means are too near 0.

    The variance of q is so large that the weights have a finite variance.
    """
    rng = np.random.default_rng(seed)
    exact = LinearGaussian(rng.standard_normal((D, L)), rng.standard_normal(D), 0.7)
    variance = exact.s2 * np.diag(np.linalg.inv(exact.precision))
    model = exact.vae(SHAPE, 0.7 * exact.posterior_map(), rng.uniform(1.1, 2) * variance)
    return exact, model, rng.standard_normal((1, *SHAPE))


def weights(model, x, eps):
    return model.log_weights(x, eps[:, None])[:, 0]


@pytest.mark.parametrize("latent_dim", [1, 2, 3])
def test_the_grid_has_the_moments_of_the_normal_distribution(latent_dim):
    eps, mass = normal_grid(latent_dim, step=0.5)
    assert mass.sum() == pytest.approx(1)
    np.testing.assert_allclose(mass @ eps, 0, atol=1e-13)
    np.testing.assert_allclose((eps.T * mass) @ eps, np.eye(latent_dim), atol=1e-13)
    np.testing.assert_allclose(mass @ eps**4, 3, rtol=1e-12)


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_one_sample_gives_the_elbo_and_many_give_log_p(seed):
    exact, model, x = laboratory(seed)
    eps, mass = normal_grid(L)
    log_w = weights(model, x, eps)
    log_p = exact.log_p(x)
    assert iw_bound(log_w, mass, 1) == pytest.approx(exact_elbo(model, x)[0], abs=1e-9)
    bounds = [iw_bound(log_w, mass, samples) for samples in (1, 2, 3, 10, 100, 10_000)]
    assert (np.diff(bounds) > 0).all() and bounds[-1] < log_p
    # Delta method: log p - bound = Var(w / p) / 2K and smaller terms. Domke and Sheldon 2018
    variance = mass @ np.expm1(log_w - log_p) ** 2
    assert log_p - iw_bound(log_w, mass, 1_000_000) == pytest.approx(variance / 2e6, rel=0.02)


@pytest.mark.parametrize("samples", [2, 5, 30])
def test_the_bound_is_what_sampling_gives(samples):
    _, model, x = laboratory(3)
    eps, mass = normal_grid(L)
    noise = generator(0, "test").standard_normal((samples, 20_000, L))
    log_w = model.log_weights(np.repeat(x, 20_000, axis=0), noise)
    sampled = np.logaddexp.reduce(log_w, axis=0) - np.log(samples)
    error = sampled.std() / np.sqrt(len(sampled))
    assert error < 0.01
    assert abs(sampled.mean() - iw_bound(weights(model, x, eps), mass, samples)) < 4 * error


@pytest.mark.parametrize("samples", [1, 2, 7, 300])
def test_the_weighted_mean_of_a_derivative_is_the_gradient_of_the_bound(samples):
    """In one dimension, with every formula written out, against finite differences."""
    eps, mass = normal_grid(1)
    eps, theta = eps[:, 0], np.array([0.4, -0.3])  # mu and logvar of q

    def log_w():
        z = reparameterize(*theta, eps)
        return log_density(1.3, z, -0.5) + log_density(z, 0, 0) - log_density(z, *theta)

    z, spread = reparameterize(*theta, eps), np.exp(theta[1] / 2) * eps
    slope = (1.3 - z) * np.exp(0.5) - z  # d log p(x, z) / dz; log q(z) does not depend on mu
    f = np.stack([slope, slope * spread / 2 + 0.5], axis=1)
    numerical = numerical_gradient(lambda: iw_bound(log_w(), mass, samples), theta)
    np.testing.assert_allclose(weighted_mean(log_w(), f, mass, samples), numerical, atol=1e-8)
