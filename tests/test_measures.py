import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.spatial.distance import cdist
from scipy.special import ndtri

from tinyvae.laboratory.measures import (
    distance_to_nearest,
    distance_to_prior,
    knn_accuracy,
    roc_auc,
    smoothness,
    standardize,
)

SEEDS = st.integers(0, 999)


@given(seed=SEEDS, k=st.integers(1, 6))
def test_knn_is_a_vote_of_the_nearest(seed, k):
    rng = np.random.default_rng(seed)
    codes, test = rng.standard_normal((23, 3)), rng.standard_normal((11, 3))
    labels, y_test = rng.integers(0, 4, 23), rng.integers(0, 4, 11)
    right = 0
    for code, label in zip(test, y_test, strict=True):
        votes = labels[np.argsort(np.linalg.norm(codes - code, axis=1))[:k]].tolist()
        right += label == max(range(4), key=votes.count)  # the smallest label wins
    assert knn_accuracy(codes, labels, test, y_test, k) == pytest.approx(right / 11)


@given(seed=SEEDS, n=st.integers(1, 5))
def test_distance_to_the_prior_integrates_the_squared_gap_of_quantiles(seed, n):
    codes = np.sort(np.random.default_rng(seed).standard_normal(n) * 2 + 1)
    squared = sum(
        quad(lambda t, code=code: (code - ndtri(t)) ** 2, i / n, (i + 1) / n)[0]
        for i, code in enumerate(codes)
    )
    assert distance_to_prior(codes[:, None]) == pytest.approx(np.sqrt(squared), rel=1e-6)


def test_distance_to_the_prior_of_shifted_and_stretched_draws():
    z = np.random.default_rng(0).standard_normal((20_000, 3))
    assert distance_to_prior(z) < 0.02
    # along u a shift m moves all quantiles by u m, whose square has the mean |m|^2 / L
    shift = np.array([2.0, 0.0, -1.0])
    assert distance_to_prior(z + shift) == pytest.approx(np.sqrt(5 / 3), rel=0.1)
    assert distance_to_prior(4 * z) == pytest.approx(3, rel=0.02)
    ring = z[:, :2] / np.linalg.norm(z[:, :2], axis=1, keepdims=True) * np.sqrt(2)
    assert distance_to_prior(ring) > 0.2  # a ring with the mean and covariance of the prior


@given(seed=SEEDS)
def test_standardized_codes_have_the_priors_mean_and_covariance(seed):
    rng = np.random.default_rng(seed)
    codes = rng.standard_normal((40, 3)) @ rng.standard_normal((3, 3)) + rng.standard_normal(3)
    z = standardize(codes)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-10)
    np.testing.assert_allclose(np.cov(z.T, bias=True), np.eye(3), atol=1e-6)
    back, *_ = np.linalg.lstsq(np.column_stack([z, np.ones(40)]), codes, rcond=None)
    np.testing.assert_allclose(np.column_stack([z, np.ones(40)]) @ back, codes, atol=1e-6)


def test_smoothness_of_a_straight_path_a_jump_and_a_detour():
    a, b = np.zeros((1, 2, 3)), np.full((1, 2, 3), 6.0)
    straight = np.stack([a, b / 3, 2 * b / 3, b])
    jump = np.stack([a, a, b, b])
    detour = np.stack([a, b, a, b])
    assert smoothness(straight[None]) == pytest.approx((1, 1))
    assert smoothness(jump[None]) == pytest.approx((1, 3))
    assert smoothness(detour[None]) == pytest.approx((3, 1))
    assert smoothness(np.stack([jump, detour])) == pytest.approx((2, 2))


@given(seed=SEEDS)
def test_distance_to_the_nearest_is_scipys(seed):
    rng = np.random.default_rng(seed)
    images, real = rng.random((7, 1, 4, 5)), rng.random((13, 1, 4, 5))
    expected = cdist(images.reshape(7, -1), real.reshape(13, -1), "sqeuclidean").min(axis=1) / 20
    np.testing.assert_allclose(distance_to_nearest(images, real), expected, rtol=1e-4)
    np.testing.assert_allclose(distance_to_nearest(real[:3], real), 0, atol=1e-6)


def test_distance_to_the_nearest_in_chunks(monkeypatch):
    rng = np.random.default_rng(0)
    images, real = rng.random((7, 1, 4, 5)), rng.random((13, 1, 4, 5))
    whole = distance_to_nearest(images, real)
    monkeypatch.setattr("tinyvae.laboratory.measures.CHUNK", 3)
    np.testing.assert_allclose(distance_to_nearest(images, real), whole, rtol=1e-5)


@given(
    negatives=st.lists(st.integers(0, 5), min_size=1),
    positives=st.lists(st.integers(0, 5), min_size=1),
)
def test_roc_auc_counts_pairs(negatives, positives):
    pairs = [(p > n) + 0.5 * (p == n) for n in negatives for p in positives]
    assert roc_auc(negatives, positives) == pytest.approx(np.mean(pairs))
