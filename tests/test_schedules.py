import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyvae import to_host
from tinyvae.engine.differences import numerical_gradient
from tinyvae.engine.schedules import (
    constant,
    cyclical_annealing,
    free_bits,
    free_bits_grad,
    linear_annealing,
)


@pytest.mark.parametrize(
    "schedule, values",
    [
        (constant(0.5), {0: 0.5, 1: 0.5, 10**6: 0.5}),
        (linear_annealing(4.0, 8), {0: 0, 1: 0.5, 4: 2, 7: 3.5, 8: 4, 9: 4, 10**6: 4}),
        (
            cyclical_annealing(4.0, 8),
            {0: 0, 1: 1, 3: 3, 4: 4, 7: 4, 8: 0, 10: 2, 12: 4, 15: 4, 80: 0},
        ),
        (cyclical_annealing(2.0, 10, ramp=0.8), {0: 0, 2: 0.5, 8: 2, 9: 2, 10: 0, 14: 1}),
        (cyclical_annealing(2.0, 4, ramp=1.0), {0: 0, 1: 0.5, 3: 1.5, 4: 0}),
    ],
    ids=["constant", "linear", "cyclical", "slow", "sawtooth"],
)
def test_values(schedule, values):
    assert {step: schedule(step) for step in values} == pytest.approx(values, abs=1e-12)


KL = st.lists(st.floats(0, 3), min_size=1, max_size=9).map(np.array)


@given(kl=KL, floor=st.floats(0.05, 2))
def test_free_bits(xp, kl, floor):
    """Dimension by dimension: the KL above the floor, else the floor, and then no gradient."""
    kl = kl + 1e-3 * (abs(kl - floor) < 1e-4)  # off the kink
    value, gradient = free_bits(xp.asarray(kl), floor), free_bits_grad(xp.asarray(kl), floor)
    assert float(value) == pytest.approx(sum(max(floor, float(one)) for one in kl), rel=1e-12)
    np.testing.assert_array_equal(to_host(gradient), [1.0 if one > floor else 0.0 for one in kl])
    numerical = numerical_gradient(lambda: free_bits(kl, floor), kl)
    np.testing.assert_allclose(to_host(gradient), numerical, atol=1e-8)


def test_a_kl_that_is_at_the_floor_has_a_gradient(xp):
    """As PyTorch's clamp: there max(floor, kl) has two slopes, and the KL keeps its own."""
    gradient = free_bits_grad(xp.asarray([0.2, 0.5, 0.7]), 0.5)
    np.testing.assert_array_equal(to_host(gradient), [0, 1, 1])


@given(kl=KL)
def test_no_floor_changes_nothing(xp, kl):
    """Also where a KL is exactly zero. The gradient is an array, as it is for every floor."""
    kl = np.concatenate([kl, [0]])
    assert float(free_bits(xp.asarray(kl), 0.0)) == pytest.approx(kl.sum(), rel=1e-12)
    np.testing.assert_array_equal(to_host(free_bits_grad(xp.asarray(kl), 0.0)), np.ones(len(kl)))


def test_free_bits_keep_the_type(xp):
    kl = xp.ones(3, dtype=np.float32)
    assert free_bits(kl, 0.5).dtype == free_bits_grad(kl, 0.5).dtype == np.float32


@pytest.mark.parametrize(
    "make",
    [
        lambda: linear_annealing(1.0, 0),
        lambda: cyclical_annealing(1.0, 0),
        lambda: cyclical_annealing(1.0, 10, ramp=0),
        lambda: cyclical_annealing(1.0, 10, ramp=1.5),
    ],
)
def test_schedules_without_a_length_are_refused(make):
    with pytest.raises(ValueError, match="positive|expected"):
        make()


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -1.0])
def test_a_weight_is_a_finite_number_that_is_not_negative(wrong):
    for make in (
        constant,
        lambda beta: linear_annealing(beta, 3),
        lambda beta: cyclical_annealing(beta, 3),
    ):
        with pytest.raises(ValueError, match="beta must be a number, finite and not negative"):
            make(wrong)
