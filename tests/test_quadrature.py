import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_toy import LinearToy, gaussian_kl
from scipy.integrate import dblquad, quad
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

from tinyvae import (
    VAE,
    Bernoulli,
    Flatten,
    Gaussian,
    GaussianEncoder,
    Linear,
    ReLU,
    Reshape,
    Sequential,
    Tanh,
    to_host,
)
from tinyvae.laboratory import quadrature
from tinyvae.laboratory.quadrature import (
    SIDE,
    TOLERANCE,
    elbo,
    integrate,
    log_joint,
    true_posteriors,
)

PRIOR = np.stack(np.meshgrid(*2 * [np.arange(-5.95, 6, 0.1)]), axis=-1).reshape(-1, 2)
ANGLES = st.floats(0, np.pi)


def covariance(s1, s2, angle):
    axes = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return axes @ np.diag([s1**2, s2**2]) @ axes.T


def arguments_for(*densities):
    """log_f and start, the arguments of integrate, for SciPy's densities."""

    def log_f(z):
        return np.stack([density.logpdf(z).reshape(len(z)) for density in densities])

    values = log_f(PRIOR)
    return log_f, PRIOR[(values > values.max(axis=1, keepdims=True) - 15).any(axis=0)]


@settings(max_examples=10)
@given(seed=st.integers(0, 9999), thin=st.floats(0.01, 0.3), angle=ANGLES)
def test_two_gaussians_integrate_to_one_and_have_the_kl_of_the_closed_form(seed, thin, angle):
    """Gaussians of any width and direction, at the same place or side by side."""
    rng = np.random.default_rng(seed)
    mean, shape = rng.uniform(-2, 2, 2), (thin, rng.uniform(0.5, 2) * thin)
    first = multivariate_normal(mean, covariance(*shape, angle))
    mean = mean + thin * rng.standard_normal(2)
    second = multivariate_normal(mean, covariance(2 * thin, thin, -angle))
    found = integrate(*arguments_for(second, first), SIDE, TOLERANCE)
    np.testing.assert_allclose(found.log_integrals, 0, atol=TOLERANCE)
    expected = gaussian_kl(first.mean, first.cov, second.mean, second.cov)
    assert found.kl(1) == pytest.approx(expected, abs=TOLERANCE)
    assert found.change < TOLERANCE


@pytest.mark.parametrize("angle", [0, 0.6, 1.2])
def test_follows_a_ridge_that_is_a_hundred_times_as_long_as_thin(angle):
    ridge = multivariate_normal([0.3, 0.4], covariance(0.5, 0.005, angle))
    assert integrate(*arguments_for(ridge), SIDE, TOLERANCE).log_integrals == pytest.approx(
        [0], abs=TOLERANCE
    )


@pytest.mark.parametrize("mean", [(9, -11), (7.03, 0), (-6.001, -6.001)])
def test_finds_a_narrow_mode_outside_the_coarse_grid(mean):
    far = multivariate_normal(mean, covariance(0.03, 0.1, 0.4))
    assert integrate(*arguments_for(far), SIDE, TOLERANCE).log_integrals == pytest.approx(
        [0], abs=TOLERANCE
    )


def test_finds_all_modes():
    modes = [
        multivariate_normal(mean, covariance(0.05, 0.08, 0.2))
        for mean in ((-2, 1), (3.04, -0.55), (0, 0))
    ]
    weights = np.log([[0.7], [0.2], [0.1]])

    def log_f(z):
        return logsumexp(weights + [mode.logpdf(z) for mode in modes], axis=0)[None]

    start = PRIOR[log_f(PRIOR)[0] > log_f(PRIOR).max() - 15]
    assert integrate(log_f, start, SIDE, TOLERANCE).log_integrals == pytest.approx(
        [0], abs=TOLERANCE
    )


@pytest.mark.parametrize("peak", [(0, 0), (0.013, 0.02), (0.0625, 0)])
def test_functions_with_kinks_are_integrated_to_the_tolerance(peak):
    """The integral of exp(-|z0| / a - |z1| / b) is 4 a b; the error falls like step^2."""
    a, b = 0.1, 0.07

    def log_f(z):
        return (-np.abs(z - peak) @ [1 / a, 1 / b])[None]

    for tolerance in (0.1, 0.003):
        found = integrate(log_f, [[0, 0]], SIDE, tolerance)
        off = abs(found.log_integrals[0] - np.log(4 * a * b))
        assert found.change < tolerance and off < tolerance


def test_levels_bound_the_smallest_region():
    """For a Gaussian a circle of radius r; the probability outside is exp(-r^2 / 2)."""
    found = integrate(
        *arguments_for(multivariate_normal([0.3, 0.1], 0.04 * np.eye(2))), 0.05, TOLERANCE
    )
    for share in (0.1, 0.5, 0.95):
        expected = -np.log(2 * np.pi * 0.04) + np.log(1 - share)
        assert found.level(0, share) == pytest.approx(expected, abs=0.03)


def test_refuses_what_does_not_converge(monkeypatch):
    monkeypatch.setattr(quadrature, "MAX_NODES", 5000)
    with pytest.raises(ValueError, match="does not converge with 5000 nodes"):
        integrate(lambda z: np.zeros((1, len(z))), [[0, 0]], SIDE, TOLERANCE)


# The integrals of a VAE.


def small_vae(decoder, likelihood, xp=np):
    encoder = GaussianEncoder(Flatten(), 3, 2, rng=np.random.default_rng(1))
    return VAE(encoder, decoder, likelihood).to(xp, np.float64)


def tanh_vae(xp=np):
    rng = np.random.default_rng(0)
    first, second = Linear(2, 4, rng=rng), Linear(4, 3, rng=rng)
    first.weight.value *= 3
    second.weight.value *= 5
    return small_vae(Sequential(first, Tanh(), second, Reshape(1, 3, 1)), Bernoulli(), xp)


def test_joint_is_prior_times_likelihood_of_every_pair(xp, monkeypatch):
    """Also if the last chunk of codes or images is smaller than the others."""
    monkeypatch.setattr(quadrature, "CODES", 4)
    monkeypatch.setattr(quadrature, "IMAGES", 2)
    rng = np.random.default_rng(2)
    model, x, z = tanh_vae(xp), rng.random((5, 1, 3, 1)), 2 * rng.standard_normal((7, 2))
    p = to_host(model.decode(z)).reshape(7, 3)
    flat = x.reshape(5, 1, 3)
    log_px = (flat * np.log(p) + (1 - flat) * np.log1p(-p)).sum(axis=2)
    expected = log_px + norm.logpdf(z).sum(axis=1)
    np.testing.assert_allclose(log_joint(model, x, z), expected, rtol=1e-12)


def gaussians(model, x):
    return tuple(to_host(part)[None] for part in model.encode(x))


def test_log_p_agrees_with_scipys_quadrature():
    model, x = tanh_vae(), np.random.default_rng(3).random((1, 1, 3, 1))
    (found,) = true_posteriors(model, x, *gaussians(model, x))

    def density(b, a):
        return np.exp(log_joint(model, x, np.array([[a, b]]))[0, 0])

    expected, _ = dblquad(density, -5, 5, -5, 5, epsabs=1e-6, epsrel=1e-5)
    np.testing.assert_allclose(found.log_integrals, [np.log(expected), 0], atol=TOLERANCE)


@given(seed=st.integers(0, 9999), s2=st.floats(0.001, 0.5), far=st.floats(0, 9))
@settings(max_examples=2)
def test_log_p_is_elbo_plus_kl_where_all_three_are_known(xp, seed, s2, far):
    """With posteriors that are narrow, correlated and far from the prior, and a wrong encoder."""
    rng = np.random.default_rng(seed)
    toy = LinearToy(rng.standard_normal((5, 2)), rng.standard_normal(5), s2, (s2, s2 / 2), xp)
    z = np.array([rng.standard_normal(2), [far, -0.3]])
    x = (z @ toy.w.T + toy.m).reshape(2, 1, 5, 1)
    mu, logvar = gaussians(toy.model, x)
    found = list(true_posteriors(toy.model, x, mu, logvar))
    means, shared = toy.posterior(x)
    kl = [gaussian_kl(mu[0, n], np.diag(np.exp(logvar[0, n])), means[n], shared) for n in range(2)]
    log_p = toy.log_p(x)
    np.testing.assert_allclose([f.log_integrals[0] for f in found], log_p, atol=TOLERANCE)
    np.testing.assert_allclose([f.kl(1) for f in found], kl, rtol=1e-6, atol=TOLERANCE)
    np.testing.assert_allclose(elbo(toy.model, x, step=0.5), log_p - kl, rtol=1e-6, atol=TOLERANCE)


def test_both_modes_count_although_q_has_one():
    """x depends on |z0| only, by two ReLUs, so z0 and -z0 explain x equally well."""
    rng = np.random.default_rng(0)
    fold, add = Linear(2, 2, rng=rng), Linear(2, 3, rng=rng)
    fold.weight.value[...], fold.bias.value[...] = [[1, 0], [-1, 0]], 0
    add.weight.value[...], add.bias.value[...] = 1, 0
    decoder = Sequential(fold, ReLU(), add, Reshape(1, 3, 1))
    model, x = small_vae(decoder, Gaussian(0.01)), np.full((1, 1, 3, 1), 1.5)
    q = np.array([[[1.5, 0.0]]]), np.log([[[0.003, 1.0]]])
    (found,) = true_posteriors(model, x, *q)
    one_side, _ = quad(lambda z: norm.pdf(z) * norm.pdf(1.5, abs(z), 0.1) ** 3, 0, 3, points=[1.5])
    assert found.log_integrals[0] == pytest.approx(np.log(2 * one_side), abs=1e-4)
    assert found.kl(1) == pytest.approx(np.log(2), abs=0.03)


def test_needs_two_dimensions_and_float64():
    rng, x = np.random.default_rng(0), np.zeros((2, 1, 3, 1))
    decoder = Sequential(Linear(3, 3, rng=rng), Reshape(1, 3, 1))
    three = VAE(GaussianEncoder(Flatten(), 3, 3, rng=rng), decoder, Gaussian(1.0))
    for model in (three.to(np, np.float64), tanh_vae().to(dtype=np.float32)):
        for function in (elbo, lambda *given: list(true_posteriors(*given, None, None))):
            with pytest.raises(ValueError, match="2 latent dimensions in float64, got"):
                function(model, x)
