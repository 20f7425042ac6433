"""The codebook of a VQ-VAE against loops and the equations of the paper."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyvae import to_host as host
from tinyvae.models.codebook import Codebook


@given(
    sizes=st.permutations((1, 2, 3, 5)),
    codes=st.integers(1, 6),
    seed=st.integers(0, 2**32 - 1),
)
def test_nearest_lookup_and_its_gradient_against_loops(xp, sizes, codes, seed):
    rng = np.random.default_rng(seed)
    vectors, z, de = rng.standard_normal((codes, sizes[0])), *rng.standard_normal((2, *sizes))
    book = Codebook(vectors).to(xp, np.float64)
    book.vectors.value = xp.asarray(vectors)  # not rounded to float32
    index = book.nearest(xp.asarray(z))
    choice = book.one_hot(index)
    e = book.lookup(choice)
    book.lookup_backward(xp.asarray(de), choice)
    expected = np.zeros_like(vectors)
    for place in np.ndindex(*sizes[1:]):
        at = (slice(None), *place)
        distances = [sum((z[at] - vector) ** 2) for vector in vectors]
        assert host(index)[place] == np.argmin(distances)
        np.testing.assert_allclose(host(e)[at], vectors[np.argmin(distances)], rtol=1e-14)
        expected[np.argmin(distances)] += de[at]
    np.testing.assert_allclose(host(book.vectors.grad), expected, rtol=1e-12, atol=1e-14)


def test_moving_averages_are_those_of_the_paper(xp):
    """van den Oord et al. 2017, eq. 6 to 8, with its N and m, over several batches."""
    rng = np.random.default_rng(0)
    vectors, decay = rng.standard_normal((5, 2)).astype(np.float32).astype(float), 0.99
    book = Codebook(vectors, ema=True).to(xp, np.float64)
    book.counts.value = xp.full(5, 3.0)
    count, e = np.full(5, 3.0), vectors
    m = count[:, None] * e
    for _ in range(4):
        z = rng.standard_normal((2, 6))
        z[:, 0] += 9  # far out: a code or two are never used
        index = host(book.nearest(xp.asarray(z)))
        book.collect(xp.asarray(z), book.one_hot(xp.asarray(index)))
        book.follow()
        n = np.bincount(index, minlength=5)
        sums = np.stack([z[:, index == i].sum(axis=1) for i in range(5)])
        count, m = decay * count + (1 - decay) * n, decay * m + (1 - decay) * sums
        e = m / count[:, None]
        np.testing.assert_allclose(host(book.vectors.value), e, rtol=1e-12)
        np.testing.assert_allclose(host(book.counts.value), count, rtol=1e-12)


def test_a_code_without_a_past_becomes_the_mean_and_one_without_vectors_stays(xp):
    book = Codebook(np.array([[0.0], [9.0]]), ema=True).to(xp, np.float64)
    z = xp.asarray([[1.0, 2.0, 0.0]])
    for _ in range(2):
        book.collect(z, book.one_hot(book.nearest(z)))
        book.follow()
    np.testing.assert_allclose(host(book.vectors.value), [[1.0], [9.0]], rtol=1e-15)


@pytest.mark.parametrize("ema", [False, True])
def test_dead_codes_are_revived_and_others_left_alone(xp, ema):
    vectors = np.array([[0.0, 0.0], [50.0, 0.0], [5.0, 5.0], [-60.0, 1.0]])
    book = Codebook(vectors, ema).to(xp, np.float64)
    if ema:
        book.counts.value = book.counts.value + 4
    rng = np.random.default_rng(0)
    batches = [rng.standard_normal((2, 3, 2)), 5 + rng.standard_normal((2, 4, 1))]
    theta = book.theta
    book.revive(map(xp.asarray, batches), np.random.default_rng(3))
    now, z = host(book.vectors.value), np.concatenate([b.reshape(2, -1) for b in batches], axis=1)
    np.testing.assert_array_equal(now[[0, 2]], vectors[[0, 2]])
    for i in (1, 3):
        assert (now[i] == z.T).all(axis=1).any()
    assert (now[1] != now[3]).any() and book.theta is theta  # in place, for a recorded step
    if ema:
        np.testing.assert_array_equal(host(book.counts.value), [4, 0, 4, 0])


def test_a_dead_code_is_drawn_by_its_squared_distance():
    """Distances 1, 2 and 3 to the codebook: the probabilities are 1/14, 4/14 and 9/14."""
    drawn, rng = [], np.random.default_rng(0)
    for _ in range(1000):
        book = Codebook(np.array([[0.0], [99.0]])).to(np, np.float64)
        book.revive([np.array([[1.0, -2.0]]), np.array([[3.0, 0.0]])], rng)
        drawn.append(book.vectors.value[1, 0])
    shares = [drawn.count(z) / 1000 for z in (1, -2, 3, 0)]
    np.testing.assert_allclose(shares, [1 / 14, 4 / 14, 9 / 14, 0], atol=0.06)


def test_two_dead_codes_become_two_different_vectors():
    for seed in range(20):
        book = Codebook(np.array([[0.0], [98.0], [99.0]])).to(np, np.float64)
        book.revive([np.array([[3.0, 0.0, -3.0]])], np.random.default_rng(seed))
        assert sorted(book.vectors.value[:, 0]) == [-3, 0, 3]


def test_codes_are_revived_as_different_vectors_where_many_z_are_equal():
    """As on black and white images, where all z of an empty ground are one vector."""
    z = np.repeat([[1.0, 5.0, 2.0, 0.0], [0.0, 0.0, 3.0, 0.0]], [900, 1, 1, 50], axis=1)
    for seed in range(20):
        book = Codebook(np.array([[0.0, 0.0], *[[99.0, 99.0]] * 4])).to(np, np.float64)
        book.revive([z[:, :500], z[:, 500:]], np.random.default_rng(seed))
        vectors = book.vectors.value.tolist()
        assert sorted(vectors) == [[0, 0], [1, 0], [2, 3], [5, 0], [99, 99]]  # no z was left


def test_nothing_is_revived_where_all_codes_are_used_or_no_vector_is_left():
    book = Codebook(np.array([[0.0], [1.0]])).to(np, np.float64)
    book.revive([np.array([[0.2, 0.9]])], None)  # no random number is drawn
    np.testing.assert_array_equal(book.vectors.value, [[0], [1]])
    book.revive([np.zeros((1, 4))], None)  # code 1 is dead, but all z are the vector 0 already
    np.testing.assert_array_equal(book.vectors.value, [[0], [1]])
