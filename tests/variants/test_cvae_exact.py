"""The linear conditional VAE, in which x|y is a Gaussian, and x a mixture of Gaussians."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax
from scipy.stats import multivariate_normal

from tinyvae import LearnedGaussian
from tinyvae.laboratory.conditional_gaussian import ConditionalGaussian, exact_elbo, train
from tinyvae.laboratory.linear_gaussian import principal_components
from tinyvae.training.evaluation import importance_weighted_bound

D, K, L = 5, 4, 2


def random_gaussian(rng):
    w, means = rng.standard_normal((D, L)), 2 * rng.standard_normal((K, D))
    return ConditionalGaussian(w, means, rng.uniform(0.2, 2))


def examples(rng, n=6):
    return 2 * rng.standard_normal((n, D)), rng.integers(0, K, n)


@given(seed=st.integers(0, 9999))
def test_elbo_and_gap_add_up_to_log_p_of_x_given_y(seed):
    rng = np.random.default_rng(seed)
    exact, (x, labels) = random_gaussian(rng), examples(rng)
    covariance = exact.w @ exact.w.T + exact.s2 * np.eye(D)
    log_p = [
        multivariate_normal(exact.means[k], covariance).logpdf(row)
        for row, k in zip(x, labels, strict=True)
    ]
    np.testing.assert_allclose(exact.log_p(x, labels), log_p, rtol=1e-10)
    gap = log_p - exact_elbo(exact.cvae(), x, labels)
    np.testing.assert_allclose(gap, exact.centred.gap(), atol=1e-9)
    v, variance = rng.standard_normal((L, D)), np.exp(rng.standard_normal(L))
    off = x - exact.means[labels]
    gap = exact.centred.kl_to_posterior(off, off @ v.T, variance)
    assert (gap > 0).all()
    elbo = exact_elbo(exact.cvae(v, variance), x, labels)
    np.testing.assert_allclose(elbo + gap, log_p, rtol=1e-10, atol=1e-8)


def test_every_weight_is_log_p_where_q_is_the_posterior():
    """Also the bound of many samples, which `importance_weighted_bound` takes the labels for."""
    rng = np.random.default_rng(0)
    w = np.linalg.qr(rng.standard_normal((D, L)))[0] * [1.5, 0.7]  # M is diagonal, and q exact
    exact, (x, labels) = ConditionalGaussian(w, random_gaussian(rng).means, 0.5), examples(rng)
    model, eps = exact.cvae(), 2 * rng.standard_normal((3, len(x), L))
    log_p = exact.log_p(x, labels)
    np.testing.assert_allclose(
        model.log_weights(x, eps, labels), np.tile(log_p, (3, 1)), rtol=1e-10
    )
    bound = importance_weighted_bound(model, x.astype(np.float32), 4, labels)
    np.testing.assert_allclose(bound, log_p, rtol=1e-4)
    other = importance_weighted_bound(model, x.astype(np.float32), 4, (labels + 1) % K)
    assert (abs(other - log_p) > 0.01).all()


def test_training_finds_the_means_of_the_classes_and_the_principal_components():
    """Adam reaches the optimum in closed form: log p(x|y), s2, means, and no gap."""
    rng = np.random.default_rng(1)
    truth = ConditionalGaussian(np.linalg.qr(rng.standard_normal((D, L)))[0] * [3, 1.5], None, 0.3)
    labels = rng.integers(0, K, 200)
    means = 2 * rng.standard_normal((K, D))
    noise = rng.standard_normal((200, L)) @ truth.w.T + 0.5 * rng.standard_normal((200, D))
    x = means[labels] + noise
    best = ConditionalGaussian.fit(x, labels, L)
    most = best.log_p(x, labels).mean()
    centred = x - np.array([x[labels == k].mean(axis=0) for k in range(K)])[labels]
    _, values, _ = principal_components(centred)
    used = np.append(values[:L], np.full(D - L, values[L:].mean()))
    formula = -0.5 * (np.log(2 * np.pi * used) + 1).sum()
    assert most == pytest.approx(formula, rel=1e-10)

    model = train(x, labels, L, LearnedGaussian(), steps=2000, lr=0.2)
    found = ConditionalGaussian.from_model(model)
    assert found.log_p(x, labels).mean() == pytest.approx(most, abs=1e-6)
    assert exact_elbo(model, x, labels).mean() == pytest.approx(most, abs=1e-6)
    assert found.s2 == pytest.approx(best.s2, rel=1e-4)
    np.testing.assert_allclose(found.means, best.means, atol=1e-3)
    np.testing.assert_allclose(found.w @ found.w.T, best.w @ best.w.T, atol=1e-3)


def test_knowing_the_class_saves_the_mutual_information():
    """In the true model log p(x|y) - log p(x) is I(x; y) on average, and at most log K."""
    rng, prior = np.random.default_rng(2), np.full(K, 1 / K)
    for scale, least, most in ((0.3, 0.0, 0.3), (9.0, 0.98 * np.log(K), np.log(K))):
        exact = ConditionalGaussian(rng.standard_normal((D, L)), scale * np.eye(K, D), 0.5)
        labels = rng.integers(0, K, 4000)
        x = exact.means[labels] + rng.standard_normal((4000, L)) @ exact.w.T
        x += np.sqrt(exact.s2) * rng.standard_normal((4000, D))
        log_p_x = exact.log_p_mixture(x, prior)
        saved = exact.log_p(x, labels) - log_p_x
        assert (saved <= np.log(K) + 1e-9).all() and least < saved.mean() < most + 1e-9
        log_p = np.stack([exact.log_p(x, np.full(4000, k)) for k in range(K)])
        p_y = log_softmax(log_p, axis=0)[labels, np.arange(4000)]  # Bayes' rule
        np.testing.assert_allclose(saved, np.log(K) + p_y, atol=1e-9)
