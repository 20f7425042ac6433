import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from tinyvae.engine.gaussian import kl_to_standard
from tinyvae.laboratory import surgery as module
from tinyvae.laboratory.surgery import surgery


def rng(seed=0):
    return np.random.default_rng(seed)


def gaussians(n, latent_dim, seed=0):
    """mu and logvar of n images, different in every dimension."""
    return rng(seed).standard_normal((n, latent_dim)), rng(seed + 1).uniform(-3, 0, (n, latent_dim))


def test_codes_that_ignore_the_image_hold_no_information():
    """If all q are equal, the KL equals the KL from the aggregate posterior to the prior."""
    mu, logvar = np.tile([[3.0, 0.0, -1.0]], (70, 1)), np.tile([[0.0, 0.0, -2.0]], (70, 1))
    parts = surgery(mu, logvar, rng())
    assert parts["information"] == pytest.approx(0, abs=1e-12)
    assert parts["information_per_dimension"] == pytest.approx(np.zeros(3), abs=1e-12)
    assert parts["kl_per_dimension"] == pytest.approx([4.5, 0, (1 + np.exp(-2) - 1 + 2) / 2])
    assert parts["aggregate_kl"] == pytest.approx(parts["kl"])


def test_codes_far_apart_identify_their_image():
    """log N nats in the first dimension; in the second, two groups of equal codes: log 2 nats."""
    n = 64
    mu = np.stack([50.0 * np.arange(n), 50.0 * (np.arange(n) % 2)], axis=1)
    parts = surgery(mu, np.zeros((n, 2)), rng())
    assert parts["information"] == pytest.approx(np.log(n))
    assert parts["information_per_dimension"] == pytest.approx([np.log(n), np.log(2)])


def test_aggregate_posterior_that_is_the_prior():
    """mu ~ N(0, 1 - v) and variance v: then q(z) is N(0, 1), and all KL is information."""
    v, n = 0.3, 2000
    mu = norm.ppf((np.arange(n) + 0.5) / n)[:, None] * np.sqrt(1 - v)
    parts = surgery(mu, np.full((n, 1), np.log(v)), rng())
    assert parts["information"] == pytest.approx(-np.log(v) / 2, abs=0.03)
    assert parts["aggregate_kl"] == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize("seed", range(3))
def test_aggregate_kl_by_quadrature(seed):
    """One dimension, many draws for each image, against the integral of q log(q / p) on a grid."""
    mu, logvar = gaussians(7, 1, seed)
    grid = np.linspace(-12, 12, 4001)
    q = norm(mu, np.exp(logvar / 2)).pdf(grid).mean(axis=0)
    ratio = np.log(q, where=q > 0, out=np.zeros_like(q)) - norm.logpdf(grid)
    expected = np.trapezoid(q * ratio, grid)
    many = 300  # repeated images have the same q(z), and give more draws
    parts = surgery(np.tile(mu, (many, 1)), np.tile(logvar, (many, 1)), rng(seed))
    assert parts["aggregate_kl"] == pytest.approx(expected, abs=0.07)
    assert parts["information"] + expected == pytest.approx(parts["kl"], abs=0.07)
    assert parts["marginal_kl"] == pytest.approx(parts["aggregate_kl"])  # the only dimension


def test_total_correlation_of_two_dimensions():
    """z_1 and z_2 jointly Gaussian, each N(0, 1): all aggregate KL is -log(1 - r^2) / 2."""
    n, v = 2000, 0.2
    one = np.sqrt(1 - v) * rng(3).standard_normal(n)
    parts = surgery(np.stack([one, -one], axis=1), np.full((n, 2), np.log(v)), rng(4))
    assert parts["marginal_kl"] == pytest.approx(0, abs=0.05)
    assert parts["aggregate_kl"] == pytest.approx(-np.log(1 - (1 - v) ** 2) / 2, abs=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_information_by_naive_densities(seed):
    """The same draws with SciPy's densities, image by image."""
    mu, logvar = gaussians(9, 3, seed)
    variance = np.exp(logvar)
    z = mu + np.sqrt(variance) * rng(seed).standard_normal(mu.shape)
    parts = surgery(mu, logvar, rng(seed))
    whole = np.array([[multivariate_normal(*q).pdf(at) for q in each(mu, variance)] for at in z])
    expected = np.mean(np.log(np.diag(whole) / whole.mean(axis=1)))
    assert parts["information"] == pytest.approx(expected, abs=1e-10)
    for d in range(3):
        single = norm(mu[:, d], np.sqrt(variance[:, d])).pdf(z[:, d : d + 1])
        expected = np.mean(np.log(np.diag(single) / single.mean(axis=1)))
        assert parts["information_per_dimension"][d] == pytest.approx(expected, abs=1e-10)
    assert parts["kl"] == pytest.approx(kl_to_standard(mu, logvar).sum(axis=1).mean())
    assert parts["kl"] == pytest.approx(parts["information"] + parts["aggregate_kl"])


def each(mu, variance):
    return [(m, np.diag(v)) for m, v in zip(mu, variance, strict=True)]


def test_the_size_of_the_chunks_does_not_matter(monkeypatch):
    mu, logvar = gaussians(23, 4)
    whole = surgery(mu, logvar, rng())
    for numbers in (1, 300, 23 * 23 * 4):
        monkeypatch.setattr(module, "CHUNK", numbers)
        for name, value in surgery(mu, logvar, rng()).items():
            assert value == pytest.approx(whole[name], rel=1e-12), name


@pytest.mark.parametrize("shapes", [((3,), (3,)), ((3, 2), (3, 1)), ((0, 2), (0, 2))])
def test_refuses_other_shapes(shapes):
    with pytest.raises(ValueError, match=r"must be \(N, L\), got"):
        surgery(*map(np.zeros, shapes), rng())
