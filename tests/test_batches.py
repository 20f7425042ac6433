import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from tinyvae.data.batches import binarize, entropy_floor, minibatches, to_float
from tinyvae.errors import UserError

EVERY_GREY = np.arange(256, dtype=np.uint8)


def test_threshold():
    binary = binarize(EVERY_GREY, "threshold")
    assert binary.dtype == np.uint8
    np.testing.assert_array_equal(binary, [0] * 128 + [255] * 128)


def test_none_changes_nothing():
    np.testing.assert_array_equal(binarize(EVERY_GREY, "none"), EVERY_GREY)


def test_dynamic_is_white_with_the_probability_of_the_grey_level():
    """Counts of white against the binomial distribution; the ends are certain."""
    n = 20_000
    images = np.tile(EVERY_GREY, (n, 1))
    binary = binarize(images, "dynamic", np.random.default_rng(0))
    assert binary.dtype == np.uint8 and binary.shape == images.shape
    assert set(np.unique(binary)) == {0, 255}
    white = (binary == 255).sum(axis=0)
    assert white[0] == 0 and white[255] == n
    p_values = [scipy.stats.binomtest(int(white[g]), n, g / 255).pvalue for g in range(1, 255)]
    assert min(p_values) > 1e-5
    assert scipy.stats.kstest(p_values, "uniform").pvalue > 1e-3


def test_dynamic_probability_is_exact():
    """Every value the generator can draw, once: each grey level g is white for g of the 255."""

    class EveryValueOnce:
        def integers(self, low, high, size, dtype):
            assert size == (high - low, 256)
            return np.repeat(np.arange(low, high, dtype=dtype)[:, None], 256, axis=1)

    binary = binarize(np.tile(EVERY_GREY, (255, 1)), "dynamic", EveryValueOnce())
    np.testing.assert_array_equal((binary == 255).sum(axis=0), np.arange(256))


def test_dynamic_draws_from_the_generator_alone():
    images = np.full((5, 1, 28, 28), 100, np.uint8)
    rng = np.random.default_rng(3)
    first, second = binarize(images, "dynamic", rng), binarize(images, "dynamic", rng)
    assert (first != second).any()
    np.testing.assert_array_equal(binarize(images, "dynamic", np.random.default_rng(3)), first)


def test_binarize_refuses():
    with pytest.raises(UserError, match="none, threshold, dynamic, got 'otsu'"):
        binarize(EVERY_GREY, "otsu")
    for function in (lambda x: binarize(x, "threshold"), to_float, entropy_floor):
        with pytest.raises(TypeError, match="uint8 or floats, got int32"):
            function(EVERY_GREY.astype(np.int32))


def test_threshold_of_floats():
    x = np.array([[0, 0.25, np.nextafter(np.float32(0.5), np.float32(0))], [0.5, 0.75, 1]], "f4")
    binary = binarize(x, "threshold")
    assert binary.dtype == np.uint8
    np.testing.assert_array_equal(binary, [[0, 0, 0], [255, 255, 255]])
    assert binarize(x, "none") is x


def test_dynamic_floats_are_white_with_their_value_as_probability():
    n, p = 20_000, np.array([0, 1e-3, 0.1, 0.5, 0.77, 0.999, 1], np.float32)
    binary = binarize(np.tile(p, (n, 1)), "dynamic", np.random.default_rng(0))
    assert binary.dtype == np.uint8 and set(np.unique(binary)) == {0, 255}
    white = (binary == 255).sum(axis=0)
    assert white[0] == 0 and white[-1] == n
    for count, probability in zip(white[1:-1], p[1:-1], strict=True):
        assert scipy.stats.binomtest(int(count), n, probability).pvalue > 1e-3


@pytest.mark.parametrize("wrong", [-0.1, 1.5, np.nan, np.inf])
def test_floats_beyond_grey_levels_are_refused(wrong):
    x = np.array([[0.5, wrong]], np.float32)
    for function in (
        lambda: binarize(x, "threshold"),
        lambda: binarize(x, "dynamic", np.random.default_rng(0)),
        lambda: entropy_floor(x),
    ):
        with pytest.raises(UserError, match="from 0 to 1, found"):
            function()


@given(n=st.integers(1, 300), batch_size=st.integers(1, 330), epoch=st.integers(0, 99))
def test_minibatches_visit_every_example_once(n, batch_size, epoch):
    batches = list(minibatches(n, batch_size, seed=0, epoch=epoch))
    assert sorted(np.concatenate(batches)) == list(range(n))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert len(batches[-1]) == n - batch_size * (len(batches) - 1) > 0


def test_minibatches_shuffle_examples():
    """Neighbours are parted: a shuffle of whole batches would leave them together."""
    order = np.concatenate(list(minibatches(1000, 100, seed=0, epoch=0)))
    assert (np.abs(np.diff(order)) == 1).sum() < 20


def test_minibatches_depend_on_seed_and_epoch_alone():
    def order(**arguments):
        return np.concatenate(list(minibatches(50, 8, **arguments)))

    np.testing.assert_array_equal(order(seed=1, epoch=2), order(seed=1, epoch=2))
    assert (order(seed=1, epoch=2) != order(seed=1, epoch=3)).any()
    assert (order(seed=1, epoch=2) != order(seed=2, epoch=2)).any()
    other_size = np.concatenate(list(minibatches(50, 11, seed=1, epoch=2)))
    np.testing.assert_array_equal(order(seed=1, epoch=2), other_size)


@pytest.mark.parametrize("batch_size", [0, -3])
def test_minibatches_refuse_an_empty_batch(batch_size):
    with pytest.raises(UserError, match=f"at least 1, got {batch_size}"):
        next(minibatches(10, batch_size, seed=0, epoch=0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_to_float(dtype):
    x = to_float(EVERY_GREY, dtype)
    assert x.dtype == dtype
    np.testing.assert_array_equal(x, (np.arange(256) / 255).astype(dtype))
    assert x[0] == 0 and x[255] == 1 and EVERY_GREY[255] == 255
    assert to_float(EVERY_GREY).dtype == np.float32


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 2, 6)])
def test_to_float_of_floats_keeps_values_and_puts_the_batch_last_in_memory(shape):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    for array in (x, np.asfortranarray(x)):
        back = to_float(array)
        assert back.dtype == np.float32 and back.shape == shape
        assert np.moveaxis(back, 0, -1).flags.c_contiguous
        np.testing.assert_array_equal(back, x)
        back[...] = 0
        assert array.any()  # a copy
    assert to_float(x, np.float64).dtype == np.float64
    whole = to_float(np.zeros(shape, np.uint8))
    assert np.moveaxis(whole, 0, -1).flags.c_contiguous


def test_entropy_floor_of_floats_is_that_of_the_same_bytes():
    images = np.random.default_rng(0).integers(0, 256, (2100, 6), dtype=np.uint8)
    floor = entropy_floor(images)
    assert entropy_floor(images / 255) == pytest.approx(floor, rel=1e-12)
    assert entropy_floor((images / 255).astype(np.float32)) == pytest.approx(floor, rel=1e-5)


def test_entropy_floor_is_scipys_entropy():
    images = np.random.default_rng(0).integers(0, 256, (2100, 1, 3, 2), dtype=np.uint8)
    p = images / 255
    expected = scipy.stats.entropy(np.stack([p, 1 - p])).sum(axis=(1, 2, 3)).mean()
    assert entropy_floor(images) == pytest.approx(expected, rel=1e-12)


def test_entropy_floor_is_the_least_loss():
    """The loss at p = pixel is the floor, and any other p is worse."""
    images = np.random.default_rng(1).integers(1, 255, (4, 1, 2, 3), dtype=np.uint8)
    x = images / 255

    def loss(p):
        return -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=(1, 2, 3)).mean()

    assert entropy_floor(images) == pytest.approx(loss(x), rel=1e-12)
    assert entropy_floor(images) < min(loss(x + 1e-3), loss(x - 1e-3))


def test_entropy_floor_of_black_and_white_is_zero():
    images = np.random.default_rng(2).integers(0, 256, (3, 1, 28, 28), dtype=np.uint8)
    assert entropy_floor(binarize(images, "threshold")) == 0
