import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.integrate import quad

from tinyvae import to_host
from tinyvae.engine import gaussian

MU, LOGVAR = st.floats(-4, 4), st.floats(-5, 3)
SHAPES = st.permutations((1, 2, 3, 5)).map(lambda sizes: tuple(sizes[:3]))
SEEDS = st.integers(0, 2**32 - 1)


def std(logvar):
    return math.exp(logvar / 2)


def integrate(f, mu, logvar):
    """Over the line, for an f that vanishes with N(mu, exp(logvar)): nats to about 1e-9."""
    reach = 14 * std(logvar)
    value, _ = quad(f, mu - reach, mu + reach, points=[mu], epsabs=1e-11, epsrel=1e-11, limit=200)
    return value


def kl_by_quadrature(mu_q, logvar_q, mu_p, logvar_p):
    q, p = scipy.stats.norm(mu_q, std(logvar_q)), scipy.stats.norm(mu_p, std(logvar_p))

    def f(z):
        return q.pdf(z) * (q.logpdf(z) - p.logpdf(z))

    return integrate(f, mu_q, logvar_q)


def value(xp, function, *numbers):
    """A formula at Python floats, as a float: computed in float64 on xp."""
    return float(function(*(xp.asarray([number]) for number in numbers))[0])


# Drawing


@pytest.mark.parametrize("mu, logvar", [(0.0, 0.0), (3.0, -2.0), (-1.0, 1.5), (0.5, -6.0)])
def test_reparameterize_has_the_mean_and_the_variance(xp, mu, logvar):
    """A standard deviation of exp(logvar) passes every gradient check and fails here."""
    n = 100_000
    eps = xp.asarray(np.random.default_rng(0).standard_normal((3, n)))
    ones = xp.ones((3, 1))
    z = to_host(gaussian.reparameterize(mu * ones, logvar * ones, eps))
    assert z.shape == (3, n)
    variance = math.exp(logvar)
    assert np.abs(z.mean(axis=1) - mu).max() < 5 * math.sqrt(variance / n)
    assert np.abs(z.var(axis=1) / variance - 1).max() < 5 * math.sqrt(2 / n)


def test_samples_of_one_image_share_its_mu_and_logvar(xp):
    """(L, 1, N) and (L, S, N) broadcast, forward and backward."""
    mu, logvar, eps, dz = (
        xp.asarray(np.random.default_rng(i).standard_normal((2, s, 5)))
        for i, s in enumerate([1, 1, 3, 3])
    )
    z = gaussian.reparameterize(mu, logvar, eps)
    dmu, dlogvar = gaussian.reparameterize_backward(dz, logvar, eps)
    assert z.shape == dmu.shape == dlogvar.shape == (2, 3, 5)
    for s in range(3):
        one = gaussian.reparameterize(mu[:, 0], logvar[:, 0], eps[:, s])
        np.testing.assert_array_equal(to_host(z[:, s]), to_host(one))


# KL


@given(mu_q=MU, logvar_q=LOGVAR, mu_p=MU, logvar_p=LOGVAR)
def test_kl_against_quadrature(xp, mu_q, logvar_q, mu_p, logvar_p):
    numerical = kl_by_quadrature(mu_q, logvar_q, mu_p, logvar_p)
    kl = value(xp, gaussian.kl_divergence, mu_q, logvar_q, mu_p, logvar_p)
    assert kl == pytest.approx(numerical, rel=1e-7, abs=1e-8)
    standard = value(xp, gaussian.kl_to_standard, mu_q, logvar_q)
    assert standard == pytest.approx(kl_by_quadrature(mu_q, logvar_q, 0, 0), rel=1e-7, abs=1e-8)


@pytest.mark.parametrize("logvar", [-2.0, 0.0, 1.0])
def test_kl_against_monte_carlo(xp, logvar):
    """KL = E_q[log q(z) - log p(z)], with reparameterize to draw and log_density to weigh."""
    n, mu_p, logvar_p = 200_000, -0.5, 0.7
    eps = xp.asarray(np.random.default_rng(0).standard_normal(n))
    q, p, prior = (
        (mu * xp.ones(1), v * xp.ones(1)) for mu, v in ((1.2, logvar), (mu_p, logvar_p), (0.0, 0.0))
    )
    z = gaussian.reparameterize(*q, eps)
    log_q = gaussian.log_density(z, *q)
    for other, kl in (
        (p, gaussian.kl_divergence(*q, *p)),
        (prior, gaussian.kl_to_standard(*q)),
    ):
        draws = to_host(log_q - gaussian.log_density(z, *other))
        assert abs(draws.mean() - float(kl[0])) < 5 * draws.std() / math.sqrt(n)


@given(mu_q=MU, logvar_q=LOGVAR, mu_p=MU, logvar_p=LOGVAR)
def test_kl_is_positive_but_where_both_agree(xp, mu_q, logvar_q, mu_p, logvar_p):
    assert value(xp, gaussian.kl_to_standard, 0.0, 0.0) == 0
    assert value(xp, gaussian.kl_divergence, mu_p, logvar_p, mu_p, logvar_p) == 0
    assert value(xp, gaussian.kl_to_standard, mu_q, logvar_q) >= -1e-15  # rounding
    assert value(xp, gaussian.kl_divergence, mu_q, logvar_q, mu_p, logvar_p) >= -1e-15
    assume(max(abs(mu_q), abs(logvar_q)) > 1e-4)
    assert value(xp, gaussian.kl_to_standard, mu_q, logvar_q) > 0
    assume(max(abs(mu_q - mu_p), abs(logvar_q - logvar_p)) > 1e-4)
    assert value(xp, gaussian.kl_divergence, mu_q, logvar_q, mu_p, logvar_p) > 0


@given(shape=SHAPES, seed=SEEDS)
def test_kl_to_standard_is_the_general_one_at_the_prior(xp, shape, seed):
    mu, logvar = xp.asarray(np.random.default_rng(seed).standard_normal((2, *shape)))
    zero = xp.zeros(shape)
    np.testing.assert_allclose(
        to_host(gaussian.kl_to_standard(mu, logvar)),
        to_host(gaussian.kl_divergence(mu, logvar, zero, zero)),
        rtol=1e-13,
        atol=1e-15,
    )
    general = gaussian.kl_divergence_grad(mu, logvar, zero, zero)
    for one, other in zip(gaussian.kl_to_standard_grad(mu, logvar), general[:2], strict=True):
        np.testing.assert_allclose(to_host(one), to_host(other), rtol=1e-13, atol=1e-15)


# Density


@given(mu=MU, logvar=LOGVAR, x=st.floats(-9, 9))
def test_log_density_against_scipy_and_its_integral(xp, mu, logvar, x):
    expected = scipy.stats.norm.logpdf(x, mu, std(logvar))
    assert value(xp, gaussian.log_density, x, mu, logvar) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("mu, logvar", [(0.0, 0.0), (2.0, -3.0), (-1.0, 2.0)])
def test_the_density_integrates_to_one(xp, mu, logvar):
    def f(x):
        return math.exp(value(xp, gaussian.log_density, x, mu, logvar))

    assert integrate(f, mu, logvar) == pytest.approx(1, abs=1e-10)


@given(shape=SHAPES, seed=SEEDS)
def test_the_density_of_a_draw_is_the_density_at_that_draw(xp, shape, seed):
    mu, logvar, eps = xp.asarray(np.random.default_rng(seed).standard_normal((3, *shape)))
    z = gaussian.reparameterize(mu, logvar, eps)
    found, expected = gaussian.log_density_of_draw(eps, logvar), gaussian.log_density(z, mu, logvar)
    np.testing.assert_allclose(to_host(found), to_host(expected), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("logvar", [-30, -90, -200, -1000])
def test_the_density_of_a_draw_is_exact_for_any_variance(xp, logvar):
    """In float32, where std is so small that z - mu is lost, or is 0."""
    eps = xp.asarray(np.linspace(-3, 3, 7), dtype=np.float32)
    found = gaussian.log_density_of_draw(eps, xp.full(7, logvar, dtype=np.float32))
    expected = scipy.stats.norm.logpdf(np.linspace(-3, 3, 7)) - logvar / 2  # of eps, divided by std
    np.testing.assert_allclose(to_host(found), expected, rtol=1e-6)


# Gradients: every function is elementwise, so one central difference serves all elements.


def sample(mu, logvar, eps=0.7):
    return gaussian.reparameterize(mu, logvar, eps)


def sample_grad(mu, logvar, eps=0.7):
    dz = mu * 0 + 1
    return gaussian.reparameterize_backward(dz, logvar, eps)


FORMULAS = {
    "reparameterize": (sample, sample_grad, 2),
    "kl_to_standard": (gaussian.kl_to_standard, gaussian.kl_to_standard_grad, 2),
    "kl_divergence": (gaussian.kl_divergence, gaussian.kl_divergence_grad, 4),
    "log_density": (gaussian.log_density, gaussian.log_density_grad, 3),
}
every_formula = pytest.mark.parametrize(
    "function, gradient, arguments", FORMULAS.values(), ids=FORMULAS
)


@every_formula
@given(shape=SHAPES, seed=SEEDS)
def test_gradients_by_finite_differences(xp, function, gradient, arguments, shape, seed):
    arrays = xp.asarray(np.random.default_rng(seed).standard_normal((arguments, *shape)))
    step = 1e-5
    gradients = gradient(*arrays)
    assert len(gradients) == arguments
    for i, one in enumerate(gradients):
        above, below = arrays.copy(), arrays.copy()
        above[i] += step
        below[i] -= step
        numerical = (function(*above) - function(*below)) / (2 * step)
        np.testing.assert_allclose(to_host(one), to_host(numerical), rtol=1e-7, atol=1e-8)


@given(shape=SHAPES, seed=SEEDS)
def test_reparameterize_backward_carries_the_upstream_gradient(xp, shape, seed):
    dz, logvar, eps = xp.asarray(np.random.default_rng(seed).standard_normal((3, *shape)))
    one = gaussian.reparameterize_backward(xp.ones(shape), logvar, eps)
    for scaled, plain in zip(gaussian.reparameterize_backward(dz, logvar, eps), one, strict=True):
        np.testing.assert_allclose(to_host(scaled), to_host(dz * plain), rtol=1e-12)


@every_formula
def test_float32_stays_float32(xp, function, gradient, arguments):
    arrays = xp.ones((arguments, 2, 3), dtype=np.float32)
    results = (function(*arrays), *gradient(*arrays))
    assert {result.dtype for result in results} == {np.dtype(np.float32)}


def test_kl_is_not_negative_near_the_prior_in_float32(xp):
    """Where collapsed dimensions live, exp(logvar) - 1 - logvar would be rounding alone."""
    rng = np.random.default_rng(0)
    mu, logvar = 1e-3 * rng.standard_normal((2, 1000))
    exact = gaussian.kl_to_standard(mu, logvar)
    f32 = [xp.asarray(value, dtype=np.float32) for value in (mu, logvar)]
    found = to_host(gaussian.kl_to_standard(*f32))
    assert found.dtype == np.float32 and (found >= 0).all()
    np.testing.assert_allclose(found, exact, rtol=1e-2, atol=1e-12)
    zero = xp.zeros_like(f32[0])
    np.testing.assert_array_equal(to_host(gaussian.kl_divergence(*f32, zero, zero)), found)
