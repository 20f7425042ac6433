"""A drawing is prepared as MNIST's digits were."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyvae.data.digits import load_digits

pytest.importorskip("py_mini_racer", reason="needs mini-racer, in the extra test")
from test_agreement import call, engine


@pytest.fixture(scope="module")
def drawing():
    return engine("drawing")


def prepared(drawing, grey, w=28, h=28):
    height, width = grey.shape
    function = "(a) => { const x = prepare(...a); return x && [...x]; }"
    found = call(drawing, function, [grey.ravel().tolist(), width, height, w, h])
    return found and np.reshape(found, (h, w))


@given(
    seed=st.integers(0, 99),
    factor=st.integers(2, 6),
    right=st.integers(0, 40),
    down=st.integers(0, 40),
)
def test_a_digit_anywhere_fills_the_box_and_is_centred(drawing, seed, factor, right, down):
    digit = load_digits(1, seed)[0][0, 0] / 255
    grey = np.zeros((220, 220))
    large = digit.repeat(factor, axis=0).repeat(factor, axis=1)
    grey[down : down + len(large), right : right + len(large)] = large
    x = prepared(drawing, grey)
    rows, columns = (np.flatnonzero(x.any(axis=axis)) for axis in (1, 0))
    # 20 pixels, which need not begin at the border of a pixel
    assert 20 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 21
    middles = np.arange(28) + 0.5
    centre = (x.sum(axis=1) @ middles / x.sum(), x.sum(axis=0) @ middles / x.sum())
    assert centre == pytest.approx((14, 14), abs=0.05)  # a little ink may lie outside of 28x28
    assert 0 <= x.min() and x.max() <= 1


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 5))
def test_other_sizes_are_means_of_areas(drawing, h, w, factor):
    grey = np.random.default_rng(h + 20 * w).random((h * factor, w * factor))
    means = grey.reshape(h, factor, w, factor).mean(axis=(1, 3))
    assert prepared(drawing, grey, w, h) == pytest.approx(means)


def test_a_size_that_does_not_divide_keeps_the_ink(drawing):
    grey = np.random.default_rng(0).random((50, 70))
    x = prepared(drawing, grey, 9, 11)
    assert x.mean() == pytest.approx(grey.mean())


def test_without_ink_there_is_no_example(drawing):
    assert prepared(drawing, np.zeros((30, 30))) is None


def test_the_noise_is_standard_normal(drawing):
    noise = np.array(json.loads(drawing.eval("JSON.stringify([...standard_normal(20000)])")))
    assert abs(noise.mean()) < 0.05 and abs(noise.std() - 1) < 0.05
    assert abs((abs(noise) < 1).mean() - 0.6827) < 0.02
