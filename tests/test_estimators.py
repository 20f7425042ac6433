"""Estimators of the gradient of the bound, against the exact gradient of the linear VAE."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import LATENT_DIM, each_likelihood, loss_and_gradient, tiny_batch, tiny_vae

from tinyvae import to_host
from tinyvae.engine.differences import numerical_gradient, relative_error
from tinyvae.engine.gaussian import kl_divergence_grad
from tinyvae.laboratory.estimators import (
    ESTIMATORS,
    estimates,
    gradient,
    gradient_of_q,
    leave_one_out_bounds,
)
from tinyvae.laboratory.exact_bound import iw_bound, mean_estimate, normal_grid
from tinyvae.laboratory.linear_gaussian import LinearGaussian, exact_noise
from tinyvae.models.iwae import bound_and_weights

SHAPE, D, L = (2, 1, 3), 6, 2
UNBIASED = [name for name in ESTIMATORS if name != "sticking the landing"]


def least_samples(estimator):
    return 2 if estimator == "leave-one-out" else 1


def bound(model, x, eps):
    """The mean of the bound over the images, by its definition."""
    log_w = to_host(model.log_weights(x, eps))
    return np.log(np.exp(log_w).mean(axis=0)).mean()


@pytest.fixture(scope="module")
def laboratory():
    """A linear VAE with a wrong q, whose means are too near 0 and variances too large; an image."""
    rng = np.random.default_rng(0)
    exact = LinearGaussian(rng.standard_normal((D, L)), rng.standard_normal(D), 0.7)
    x = rng.standard_normal((1, *SHAPE))
    return exact.vae(SHAPE, 0.7 * exact.posterior_map(), 1.5 * exact.best_variance()), x, exact


@each_likelihood
@pytest.mark.parametrize("samples", [1, 4])
def test_reparameterized_is_the_derivative_of_the_bound_for_fixed_noise(likelihood, samples, xp):
    """The gradient of the whole model, against finite differences."""
    model = tiny_vae(likelihood, xp)
    x, eps = tiny_batch(5, samples)
    loss = gradient(model, x, eps, "reparameterized")
    assert float(loss) == pytest.approx(-bound(model, x, eps), rel=1e-12)
    got = to_host(model.grad).copy()
    host = tiny_vae(likelihood)
    numerical = numerical_gradient(lambda: -bound(host, x, eps), host.theta)
    assert relative_error(got, numerical) < 1e-7


@each_likelihood
@given(st.integers(0, 1000))
@settings(max_examples=10)
def test_one_sample_reparameterized_is_the_vaes_backward(likelihood, seed):
    """Averaged over exact noise, because VAE.loss has the KL in closed form."""
    model, n = tiny_vae(likelihood, seed=seed), 5
    x, eps = tiny_batch(n, seed=seed)[0], exact_noise(n, LATENT_DIM)
    _, expected = loss_and_gradient(model, x, eps)
    parts = []
    for one in eps:
        gradient(model, x, one[None], "reparameterized")
        parts.append(model.grad.copy())
    assert relative_error(np.mean(parts, axis=0), expected) < 1e-12


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_encoders_gradient_follows_from_the_gradient_of_q(estimator):
    """The decoder's gradient is the derivative of the bound, whatever the estimator."""
    model, (x, eps) = tiny_vae("learned gaussian"), tiny_batch(5, 4)
    gradient(model, x, eps, "reparameterized")
    whole, names = model.grad.copy(), dict(model.named_parameters())
    loss = gradient(model, x, eps, estimator)
    assert float(loss) == pytest.approx(-bound(model, x, eps), rel=1e-12)
    mine = model.grad.copy()
    encoder = sum(p.value.size for name, p in names.items() if name.startswith("encoder"))
    np.testing.assert_array_equal(mine[encoder:], whole[encoder:])
    dmu, dlogvar = gradient_of_q(model, x, eps, estimator)
    np.testing.assert_allclose(names["encoder.mu.bias"].grad, -dmu.mean(axis=0))
    model.encode(x)
    model.encoder.backward(-dmu.T / 5, -dlogvar.T / 5)
    np.testing.assert_allclose(model.grad, mine, rtol=1e-12)


def test_the_exact_gradient_is_that_of_the_exact_bound(laboratory):
    """mean_estimate against finite differences, which use no estimator."""
    _, x, exact = laboratory
    eps, mass = normal_grid(L)
    v, variance = 0.7 * exact.posterior_map(), 1.5 * exact.best_variance()
    logvar, shift = np.log(variance), np.zeros(L)
    mean = v @ (x.ravel() - exact.m)

    def value():
        z = mean + shift + np.exp(logvar / 2) * eps
        off = x.ravel() - z @ exact.w.T - exact.m
        log_p = -0.5 * ((off**2).sum(1) / exact.s2 + D * np.log(2 * np.pi * exact.s2))
        log_p -= 0.5 * (z**2).sum(1)
        return iw_bound(log_p + 0.5 * (eps**2).sum(1) + 0.5 * logvar.sum(), mass, 3)

    numerical = np.append(numerical_gradient(value, shift), numerical_gradient(value, logvar))
    np.testing.assert_allclose(mean_estimate(laboratory[0], x, 3), numerical, atol=1e-8)


@pytest.mark.parametrize(
    "estimator, samples",
    [(name, k) for name in ESTIMATORS for k in (1, 2, 3) if k >= least_samples(name)],
)
def test_bias(estimator, samples):
    """Only sticking the landing is biased, and only for K > 1.

    With one latent dimension K samples are a point in K dimensions: the mean over a grid is exact.
    """
    rng = np.random.default_rng(4)
    exact = LinearGaussian(rng.standard_normal((D, 1)), rng.standard_normal(D), 0.7)
    model = exact.vae(SHAPE, 0.7 * exact.posterior_map(), 1.5 * exact.best_variance())
    x = rng.standard_normal((1, *SHAPE))
    eps, mass = normal_grid(samples, step=0.4)
    repeated = np.repeat(x, len(eps), axis=0)
    mean = mass @ np.hstack(gradient_of_q(model, repeated, eps.T[:, :, None], estimator))
    bias = np.abs(mean - mean_estimate(model, x, samples)).max()
    if estimator in UNBIASED or samples == 1:
        assert bias < 1e-7
    else:
        assert bias > 0.1
        np.testing.assert_allclose(mean, mean_estimate(model, x, samples, estimator), atol=1e-7)


def test_estimates_are_independent_also_between_chunks(laboratory, monkeypatch):
    model, x, _ = laboratory
    monkeypatch.setattr("tinyvae.laboratory.estimators.CODES", 7)
    few = estimates(model, x, 3, "reparameterized", 5, np.random.default_rng(5))
    assert few.shape == (5, 2 * L) and len(np.unique(few)) == few.size
    eps = np.random.default_rng(5).standard_normal((3, 2, L))
    first = gradient_of_q(model, np.repeat(x, 2, axis=0), eps, "reparameterized")
    np.testing.assert_allclose(few[:2], np.hstack(first))
    monkeypatch.setattr(
        "tinyvae.laboratory.estimators.CODES", 2
    )  # fewer codes than one estimate needs
    assert (
        estimates(model, x, 3, "reparameterized", 5, rng=np.random.default_rng(5)).shape
        == few.shape
    )


def test_sticking_the_landing_ends_at_the_kl_of_the_posterior_to_q(laboratory):
    """With many samples its mean is minus the gradient of KL(p(z|x) || q). The true one is 0."""
    model, x, exact = laboratory
    mu, logvar = (part[0] for part in model.encode(x))
    mean = exact.posterior_map() @ (x.ravel() - exact.m)
    variance = exact.s2 * np.diag(np.linalg.inv(exact.precision))
    # for a diagonal q, the gradient of the KL depends only on the marginals of p(z|x)
    _, _, dmu, dlogvar = kl_divergence_grad(mean, np.log(variance), mu, logvar)
    limit = -np.append(dmu, dlogvar)
    np.testing.assert_allclose(
        mean_estimate(model, x, 100_000, "sticking the landing"), limit, atol=1e-4
    )
    assert np.abs(mean_estimate(model, x, 100_000)).max() < 1e-4 < np.abs(limit).max()


@pytest.mark.parametrize("samples", [1, 3])
def test_only_the_path_has_no_variance_where_q_is_exact(samples):
    rng = np.random.default_rng(1)
    orthogonal, _ = np.linalg.qr(rng.standard_normal((D, L)))
    exact = LinearGaussian(1.3 * orthogonal, rng.standard_normal(D), 0.7)
    model, x = exact.vae(SHAPE), rng.standard_normal((1, *SHAPE))
    for estimator in ESTIMATORS:
        if samples >= least_samples(estimator):
            largest = np.abs(estimates(model, x, samples, estimator, 50, rng)).max()
            quiet = estimator in ("sticking the landing", "doubly reparameterized")
            assert (largest < 1e-12) if quiet else (largest > 0.1)


def test_the_order_of_the_spreads(laboratory):
    """With 32 samples: the better the estimator, the smaller its standard deviation."""
    model, x, _ = laboratory
    rng = np.random.default_rng(2)
    spread = {e: estimates(model, x, 32, e, 2000, rng).std(axis=0).max() for e in ESTIMATORS}
    assert spread["doubly reparameterized"] < 0.2 * spread["sticking the landing"]
    assert spread["sticking the landing"] < spread["reparameterized"]
    assert 50 * spread["leave-one-out"] < spread["score function"]
    assert 50 * spread["reparameterized"] < spread["score function"]


@given(st.integers(2, 9), st.integers(1, 4), st.integers(0, 1000), st.sampled_from([1, 30, 500]))
def test_bounds_without_overflow_or_cancellation(k, n, seed, scale):
    log_w = scale * np.random.default_rng(seed).standard_normal((k, n))
    log_w[:, 0] = log_w[0, 0]  # all equal, as if q were exact
    with np.errstate(all="raise", under="ignore"):
        mean, others = bound_and_weights(log_w)[0], leave_one_out_bounds(log_w)
    np.testing.assert_allclose(
        mean, np.logaddexp.reduce(log_w, axis=0) - np.log(k), rtol=1e-12, atol=1e-12
    )
    expected = [np.logaddexp.reduce(np.delete(log_w, i, axis=0), axis=0) for i in range(k)]
    expected = np.array(expected) - np.log(k - 1)
    np.testing.assert_allclose(others, expected, rtol=1e-12, atol=1e-12)


def test_many_estimates_and_their_mean_on_a_device(laboratory, xp):
    model, x, exact = laboratory
    other = exact.vae(SHAPE, 0.7 * exact.posterior_map(), 1.5 * exact.best_variance(), xp)
    drawn = [
        estimates(m, x, 3, "leave-one-out", 4, np.random.default_rng(6)) for m in (model, other)
    ]
    np.testing.assert_allclose(*drawn, rtol=1e-10)
    means = [mean_estimate(m, x, 3) for m in (model, other)]
    np.testing.assert_allclose(*means, rtol=1e-10)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_device_and_host_agree(estimator, xp):
    (x, eps), model = tiny_batch(5, 4), tiny_vae(xp=xp)
    on_device = [to_host(part) for part in gradient_of_q(model, x, eps, estimator)]
    for part, expected in zip(on_device, gradient_of_q(tiny_vae(), x, eps, estimator), strict=True):
        assert part.shape == (5, LATENT_DIM)
        np.testing.assert_allclose(part, expected, rtol=1e-12)


def test_mistakes():
    x, eps = tiny_batch(2, 1)
    with pytest.raises(ValueError, match="needs K >= 2 samples, got K = 1"):
        gradient(tiny_vae(), x, eps, "leave-one-out")
    with pytest.raises(ValueError, match="must be one of score function, .* got 'REINFORCE'"):
        gradient(tiny_vae(), x, eps, "REINFORCE")
    with pytest.raises(ValueError, match="of the form sum_k v_k f.z_k., got 'leave-one-out'"):
        mean_estimate(tiny_vae(), x, 2, "leave-one-out")
