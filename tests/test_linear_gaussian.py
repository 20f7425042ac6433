"""The linear VAE: its closed forms agree with each other, and no other parameters are better."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyvae import LearnedGaussian
from tinyvae.engine.gaussian import kl_to_standard
from tinyvae.laboratory.linear_gaussian import (
    LinearGaussian,
    downsample,
    exact_elbo,
    exact_noise,
    principal_components,
    sorted_kl,
    train,
)


@st.composite
def models(draw):
    """A generator, the number of pixels, and a LinearGaussian of random size with a random W."""
    size, rng = draw(st.integers(2, 9)), np.random.default_rng(draw(st.integers(0, 10_000)))
    w = draw(st.floats(0.1, 3)) * rng.standard_normal((size, draw(st.integers(1, size - 1))))
    return rng, size, LinearGaussian(w, rng.standard_normal(size), draw(st.floats(0.05, 3)))


@given(models())
def test_gap_of_the_best_diagonal_q(drawn):
    """log p - ELBO equals the formula for every x, to 1e-10, and every other q has a lower ELBO."""
    rng, size, exact = drawn
    x = rng.standard_normal((5, 1, size, 1))
    v, variance = exact.posterior_map(), exact.best_variance()

    def elbo(v, variance):
        return exact_elbo(exact.vae((1, size, 1), v, variance), x)

    best = elbo(v, variance)
    np.testing.assert_allclose(exact.log_p(x) - best, exact.gap(), rtol=0, atol=1e-10)
    assert exact.gap_error(x) == np.abs(exact.log_p(x) - best - exact.gap()).max()
    mean = (x.reshape(5, size) - exact.m) @ v.T
    np.testing.assert_allclose(exact.kl_to_posterior(x, mean, variance), exact.gap(), atol=1e-10)
    assert (elbo(v, 1.1 * variance) < best).all()
    assert (elbo(v + 0.1 * rng.standard_normal(v.shape), variance) < best).all()


@given(models())
def test_the_gap_is_zero_only_if_the_columns_are_orthogonal(drawn):
    rng, size, exact = drawn
    turned = LinearGaussian(np.linalg.svd(exact.w)[0][:, : exact.w.shape[1]], exact.m, exact.s2)
    assert turned.gap() == pytest.approx(0, abs=1e-12)
    if exact.w.shape[1] > 1:
        assert exact.gap() > 0


@given(models(), st.booleans())
def test_no_model_is_more_likely_than_the_fit(drawn, given_s2):
    """Neither W nor m nor a free s2 near the fit is better; with a given s2 columns can be zero."""
    rng, size, truth = drawn
    latent_dim = truth.w.shape[1]
    x = rng.standard_normal((30, latent_dim)) @ truth.w.T + rng.standard_normal((30, size))
    s2 = truth.s2 if given_s2 else None
    fit = LinearGaussian.fit(x, latent_dim, s2)
    _, values, _ = principal_components(x)
    most = fit.log_p(x).mean()
    used = np.append(np.maximum(values[:latent_dim], fit.s2), np.full(size - latent_dim, fit.s2))
    formula = -0.5 * (np.log(2 * np.pi * used) + values / used).sum()
    assert most == pytest.approx(formula, rel=1e-10)
    if given_s2:
        assert fit.s2 == s2
        np.testing.assert_array_equal(fit.w.any(axis=0), values[:latent_dim] > s2)
    for scale in (1e-3, 1e-1):
        w = fit.w + scale * rng.standard_normal(fit.w.shape)
        m = fit.m + scale * rng.standard_normal(fit.m.shape)
        assert LinearGaussian(w, fit.m, fit.s2).log_p(x).mean() <= most + 1e-12
        assert LinearGaussian(fit.w, m, fit.s2).log_p(x).mean() < most
        for factor in (1 - scale, 1 + scale):
            other = LinearGaussian.fit(x, latent_dim, factor * fit.s2)
            assert given_s2 or other.log_p(x).mean() < most


@pytest.mark.parametrize("latent_dim", [0, 4, 5])
def test_a_fit_needs_fewer_latent_dimensions_than_pixels(latent_dim):
    with pytest.raises(ValueError, match=f"from 1 to 3.* 4 dimensions .* got {latent_dim}"):
        LinearGaussian.fit(np.zeros((7, 1, 2, 2)), latent_dim)


def test_principal_components():
    x = np.random.default_rng(0).standard_normal((11, 1, 2, 3))
    mean, values, vectors = principal_components(x)
    off = x.reshape(11, 6) - mean
    np.testing.assert_allclose(off.mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(vectors * values @ vectors.T, off.T @ off / 11, atol=1e-14)
    assert (np.diff(values) < 0).all()


@pytest.mark.parametrize("latent_dim", range(1, 10))
def test_exact_noise_has_the_moments_of_the_normal_distribution(latent_dim):
    noise = exact_noise(3, latent_dim)
    assert noise.shape[1:] == (3, latent_dim) and len(noise) <= 2 * latent_dim
    for eps in noise.transpose(1, 0, 2):
        np.testing.assert_array_equal(eps.mean(axis=0), 0)
        np.testing.assert_array_equal(eps.T @ eps / len(eps), np.eye(latent_dim))


def test_exact_elbo_does_not_depend_on_chunks(monkeypatch, xp):
    rng = np.random.default_rng(1)
    exact = LinearGaussian(rng.standard_normal((6, 3)), rng.standard_normal(6), 0.5)
    model, x = exact.vae((1, 2, 3), exact.posterior_map(), np.ones(3), xp), rng.random((7, 1, 2, 3))
    whole = exact_elbo(model, x)
    monkeypatch.setattr("tinyvae.laboratory.linear_gaussian.CHUNK", 3)
    np.testing.assert_allclose(exact_elbo(model, x), whole, rtol=1e-13)
    assert whole.shape == (7,)


def test_training_on_device_and_host_agrees(xp):
    x, seen = np.random.default_rng(3).random((30, 1, 2, 3)), []
    model = train(x, 2, LearnedGaussian(), 50, 0.1, xp, lambda step, model: seen.append(step))
    assert seen == list(range(2, 51, 2))
    kl = sorted_kl(model, x)
    host = train(x, 2, LearnedGaussian(), 50, 0.1)
    np.testing.assert_allclose(kl, sorted_kl(host, x), rtol=1e-9)
    mu, logvar = host.encode(x)
    np.testing.assert_allclose(np.sort(kl), np.sort(kl_to_standard(mu, logvar).mean(axis=0)))
    assert kl[0] > kl[1]
    exact = LinearGaussian.from_model(model)
    gap = exact.kl_to_posterior(x, mu, np.exp(logvar[0]))  # all images have this variance
    assert exact.log_p(x)[0] - exact_elbo(model, x)[0] == pytest.approx(gap[0], rel=1e-6)


def test_downsample_takes_means_over_blocks():
    images = np.random.default_rng(2).integers(0, 256, (5, 1, 6, 9), dtype=np.uint8)
    small = downsample(images, 3)
    assert small.shape == (5, 1, 3, 3)
    assert small[4, 0, 2, 1] == pytest.approx(images[4, 0, 4:6, 3:6].mean() / 255)
    assert small[1, 0, 0, 2] == pytest.approx(images[1, 0, 0:2, 6:9].mean() / 255)
    with pytest.raises(ValueError, match="6x9 pixels do not fall into 4x4 equal blocks"):
        downsample(images, 4)
