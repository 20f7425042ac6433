import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri

from tinyvae.training.latent import holes, interpolate, quantile_grid


@given(
    seed=st.integers(0, 999),
    length=st.integers(1, 9),
    steps=st.integers(2, 12),
    spherical=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_both_ends_are_exact_and_the_type_is_kept(seed, length, steps, spherical, dtype):
    z0, z1 = np.random.default_rng(seed).standard_normal((2, length)).astype(dtype)
    path = interpolate(z0, z1, steps, spherical)
    assert path.shape == (steps, length)
    assert path.dtype == dtype
    np.testing.assert_array_equal(path[0], z0)
    np.testing.assert_array_equal(path[-1], z1)


def test_linear_path_has_equal_steps():
    path = interpolate([0.0, 4.0], [2.0, 0.0], 5)
    np.testing.assert_allclose(path, [[0, 4], [0.5, 3], [1, 2], [1.5, 1], [2, 0]])


def test_spherical_path_is_the_arc_of_a_circle():
    angles = np.linspace(0.3, 2.1, 7)
    circle = 3 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    np.testing.assert_allclose(interpolate(circle[0], circle[-1], 7, spherical=True), circle)


def test_spherical_path_uses_the_angle_also_where_the_norms_differ():
    halfway = interpolate([2.0, 0.0], [0.0, 6.0], 3, spherical=True)[1]
    np.testing.assert_allclose(halfway, np.array([2.0, 6.0]) * np.sin(np.pi / 4))


@pytest.mark.parametrize(
    "z0, z1",
    [
        ([1.0, 2.0], [2.0, 4.0]),
        ([1.0, 2.0], [1.0, 2.0 + 1e-9]),
        ([1.0, 2.0], [-1.0, -2.0]),
        ([0.0, 0.0], [1.0, 2.0]),
        ([1.0, 2.0], [0.0, 0.0]),
    ],
    ids=["parallel", "nearly parallel", "opposite", "from zero", "to zero"],
)
def test_spherical_path_is_linear_if_the_codes_are_parallel_or_zero(z0, z1):
    np.testing.assert_array_equal(interpolate(z0, z1, 6, spherical=True), interpolate(z0, z1, 6))


def test_spherical_path_of_almost_parallel_codes_is_almost_linear():
    z0, z1 = np.array([1.0, 0.0]), np.array([1.0, 2e-6])
    np.testing.assert_allclose(
        interpolate(z0, z1, 5, spherical=True), interpolate(z0, z1, 5), rtol=1e-9
    )


def test_interpolate_refuses_different_shapes_and_too_few_steps():
    with pytest.raises(ValueError, match=r"the same shape \(L,\), got \(2,\) and \(3,\)"):
        interpolate(np.zeros(2), np.zeros(3), 4)
    with pytest.raises(ValueError, match=r"got \(1, 2\)"):
        interpolate(np.zeros((1, 2)), np.zeros((1, 2)), 4)
    with pytest.raises(ValueError, match="at least 2, got 1"):
        interpolate(np.zeros(2), np.zeros(2), 1)


@given(size=st.integers(1, 40))
def test_grid_values_are_the_normal_quantiles(size):
    values, _ = quantile_grid(size)
    np.testing.assert_allclose(values, ndtri((np.arange(size) + 0.5) / size), atol=1e-12)


def test_grid_runs_from_the_top_left_row_by_row():
    values, codes = quantile_grid(5)
    picture = codes.reshape(5, 5, 2)
    for row in range(5):
        for column in range(5):
            np.testing.assert_array_equal(picture[row, column], [values[column], values[4 - row]])
    assert picture[0, 0, 1] == codes[:, 1].max()


def test_grid_refuses_an_empty_size():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        quantile_grid(0)


def test_holes_are_between_codes_and_far_from_all():
    rng = np.random.default_rng(0)
    side = rng.choice([-5.0, 5.0], 60)
    codes = np.stack([side, np.zeros(60)], axis=1) + 0.1 * rng.standard_normal((60, 2))
    found = holes(codes, 40, rng)
    assert found.shape == (40, 2)
    np.testing.assert_allclose(found, 0, atol=0.5)  # half-way from one cluster to the other


def test_holes_of_a_single_code_are_that_code():
    code = np.array([[1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(holes(code, 2, np.random.default_rng(0)), code[[0, 0]])
