"""MaskedConv2d: a convolution in which no pixel sees a later one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyvae import SGD, Adam, Conv2d, MaskedConv2d, MaskedLinear, to_host
from tinyvae.engine.differences import check_layer

RNG = np.random.default_rng(0)
each_mask = pytest.mark.parametrize("own", [False, True])


def make(own, xp=np, dtype=np.float64, size=3, c=2, out=3):
    layer = MaskedConv2d(c, out, size, own, rng=np.random.default_rng(0)).to(xp, dtype)
    weight = np.random.default_rng(1).standard_normal(layer.weight.value.shape)
    layer.weight.value = xp.asarray(weight)
    return layer


def seen_by_hand(own, size):
    """1 above the middle row and left in it; in the middle itself with `own`."""
    height, width = size if isinstance(size, tuple) else (size, size)
    mask, row, column = np.zeros((height, width)), height // 2, width // 2
    mask[:row], mask[row, :column] = 1, 1
    mask[row, column] = own
    return mask


@each_mask
@pytest.mark.parametrize("size", [1, 3, (5, 3), (1, 7)])
def test_it_is_a_convolution_with_some_weights_zero(xp, own, size):
    """Also if the other weights hold numbers."""
    padding = tuple(n // 2 for n in seen_by_hand(own, size).shape)
    layer, plain = make(own, xp, size=size), Conv2d(2, 3, size, padding=padding, rng=RNG)
    plain.to(xp, np.float64)
    plain.weight.value = layer.weight.value * xp.asarray(seen_by_hand(own, size))
    plain.bias.value = layer.bias.value
    rng = np.random.default_rng(2)
    x, dy = (xp.asarray(rng.standard_normal((c, 5, 4, 2))) for c in (2, 3))
    np.testing.assert_allclose(to_host(layer.forward(x)), to_host(plain.forward(x)), rtol=1e-12)
    dx, expected = layer.backward(dy), plain.backward(dy)
    np.testing.assert_allclose(to_host(dx), to_host(expected), rtol=1e-12, atol=1e-14)
    mask = seen_by_hand(own, size)
    dw = to_host(plain.weight.grad) * mask
    np.testing.assert_allclose(to_host(layer.weight.grad), dw, rtol=1e-12, atol=1e-14)
    assert not to_host(layer.weight.grad)[..., mask == 0].any()
    np.testing.assert_allclose(to_host(layer.bias.grad), to_host(plain.bias.grad), rtol=1e-12)


@each_mask
def test_no_pixel_sees_a_later_one(own):
    layer, x = make(own, size=5), np.random.default_rng(2).standard_normal((2, 4, 5, 1))
    y = layer.forward(x).reshape(3, -1)
    for i in range(20):
        changed = x.copy().reshape(2, -1)
        changed[:, i:] += 1  # this pixel and all later ones
        now = layer.forward(changed.reshape(x.shape)).reshape(3, -1)
        np.testing.assert_array_equal(now[:, :i], y[:, :i])
        assert (now[:, i] == y[:, i]).all() != own


@each_mask
@pytest.mark.parametrize("optimizer", [Adam, SGD])
def test_hidden_weights_begin_at_zero_and_stay_there(own, optimizer):
    layer = MaskedConv2d(2, 3, 3, own, rng=np.random.default_rng(0)).to()
    trained, hidden = optimizer(layer, lr=0.1), seen_by_hand(own, 3) == 0
    first, x = layer.weight.value.copy(), np.random.default_rng(2).standard_normal((2, 4, 5, 2))
    for _ in range(3):
        y = layer.forward(x.astype(np.float32))
        layer.backward(y)
        trained.step()
    assert not layer.weight.value[..., hidden].any()
    assert (layer.weight.value[..., ~hidden] != first[..., ~hidden]).all()


@each_mask
@given(sizes=st.permutations((1, 2, 3, 5)), size=st.sampled_from([1, 3, (3, 5)]))
def test_backward_by_finite_differences(own, sizes, size):
    c, h, w, n = sizes
    rng = np.random.default_rng(3)
    errors = check_layer(make(own, size=size, c=c), rng.standard_normal((c, h, w, n)), rng)
    assert max(errors.values()) < 1e-7, errors


def test_the_first_layer_of_a_network_has_no_dx():
    layer = MaskedConv2d(2, 3, 3, True, rng=np.random.default_rng(0), needs_input_grad=False).to()
    assert layer.backward(layer.forward(np.ones((2, 4, 5, 2), np.float32))) is None


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"MaskedConv2d: kernel_size must be odd, got \(3, 4\)"):
        MaskedConv2d(2, 3, (3, 4), True, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="expected input .* with in_channels = 2"):
        make(True).forward(np.ones((3, 4, 5, 2)))


@pytest.mark.parametrize("size", [-3, 0, 2.5])
def test_a_mask_of_another_size_is_refused(size):
    """Remainders by a negative size would let an output see later inputs."""
    with pytest.raises(ValueError, match="size must be an integer of at least 1, got"):
        MaskedLinear(3, 3, size, strict=True, rng=np.random.default_rng(0))


def test_own_is_yes_or_no():
    rng = np.random.default_rng(0)
    assert MaskedConv2d(1, 1, 3, 5, rng=rng).seen == MaskedConv2d(1, 1, 3, True, rng=rng).seen == 5
