import numpy as np
import scipy.signal
from hypothesis import given
from hypothesis import strategies as st

from tinyvae import Conv2d, ConvTranspose2d, to_host
from tinyvae.engine.convolution import output_size, patches, patches_adjoint, product_with_patches
from tinyvae.engine.differences import check_layer

SEEDS = st.integers(0, 2**32 - 1)
COUNTS = st.permutations((1, 2, 3))  # of channels in and out and of images, never the same


@st.composite
def geometries(draw):
    """size, kernel, stride, padding, each a pair; the kernel has at least one position.

    Padding beyond the kernel and strides that skip pixels are among them.
    """
    axes = []
    for _ in range(2):
        kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 4))
        padding = draw(st.integers(0, 3))
        smallest = max(1, kernel - 2 * padding)
        axes.append((draw(st.integers(smallest, smallest + 4)), kernel, stride, padding))
    return tuple(zip(*axes, strict=True))


def starts(size, kernel, stride, padding):
    """Where the kernel stands along one axis of the padded image."""
    return range(0, size + 2 * padding - kernel + 1, stride)


def padded(x, padding):
    return np.pad(x, ((0, 0), (padding[0],) * 2, (padding[1],) * 2, (0, 0)))


def windows(x, size, kernel, stride, padding):
    """(i, j, what a kernel at position i, j of the padded x sees), as views."""
    rows, columns = (starts(*axis) for axis in zip(size, kernel, stride, padding, strict=True))
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            yield i, j, x[:, top : top + kernel[0], left : left + kernel[1]]


def positions(geometry):
    return tuple(len(starts(*axis)) for axis in zip(*geometry, strict=True))


def make_pair(xp, rng, geometry, deep, shallow):
    """A Conv2d from `shallow` to `deep` channels, and the ConvTranspose2d that leads back."""
    size, kernel, stride, padding = geometry
    left_over = tuple(
        (s + 2 * p - k) % t for s, k, t, p in zip(size, kernel, stride, padding, strict=True)
    )
    conv = Conv2d(shallow, deep, kernel, stride, padding, rng=rng)
    transpose = ConvTranspose2d(deep, shallow, kernel, stride, padding, left_over, rng=rng)
    return conv.to(xp, np.float64), transpose.to(xp, np.float64)


def assert_close(actual, expected):
    np.testing.assert_allclose(to_host(actual), expected, rtol=1e-12, atol=1e-12)


@given(geometry=geometries(), counts=COUNTS, seed=SEEDS)
def test_patches_are_what_the_kernel_sees(xp, geometry, counts, seed):
    c, n, _ = counts
    size, *rest = geometry
    x = np.random.default_rng(seed).standard_normal((c, *size, n))
    p = patches(xp.asarray(x), *rest)
    ho, wo = positions(geometry)
    assert p.shape == (c * rest[0][0] * rest[0][1], ho * wo * n)
    p = to_host(p).reshape(c, *rest[0], ho, wo, n)
    for i, j, window in windows(padded(x, geometry[3]), *geometry):
        np.testing.assert_array_equal(p[:, :, :, i, j], window)


@given(geometry=geometries(), counts=COUNTS, seed=SEEDS)
def test_patches_adjoint_is_the_adjoint_of_patches(xp, geometry, counts, seed):
    """<patches(x), p> = <x, patches_adjoint(p)>."""
    c, n, _ = counts
    size, *rest = geometry
    rng = np.random.default_rng(seed)
    x = xp.asarray(rng.standard_normal((c, *size, n)))
    seen = patches(x, *rest)
    p = xp.asarray(rng.standard_normal(seen.shape))
    back = patches_adjoint(p, x.shape, *rest)
    assert back.shape == x.shape
    assert_close((seen * p).sum(), to_host((x * back).sum()))


@given(geometry=geometries(), counts=COUNTS, seed=SEEDS)
def test_patches_adjoint_adds_up_one_patch_after_the_other(xp, geometry, counts, seed):
    """The same, from its definition: each pixel gets the sum of all that was copied from it."""
    c, n, _ = counts
    size, kernel, _, padding = geometry
    p = np.random.default_rng(seed).standard_normal((c, *kernel, *positions(geometry), n))
    x = padded(np.zeros((c, *size, n)), padding)
    for i, j, window in windows(x, *geometry):
        window += p[:, :, :, i, j]
    x = x[:, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]
    matrix = xp.asarray(p.reshape(c * kernel[0] * kernel[1], -1))
    assert_close(patches_adjoint(matrix, x.shape, *geometry[1:]), x)


@given(geometry=geometries(), counts=COUNTS, seed=SEEDS)
def test_product_with_patches_is_a_product(xp, geometry, counts, seed):
    c, n, out = counts
    size, kernel, *_ = geometry
    rng = np.random.default_rng(seed)
    p = rng.standard_normal((c * kernel[0] * kernel[1], np.prod(positions(geometry)) * n))
    y = rng.standard_normal((out, *positions(geometry), n))
    expected = y.reshape(out, -1) @ p.T
    product = xp.full(expected.shape, np.nan)
    product_with_patches(xp.asarray(y), xp.asarray(p), out=product)
    assert_close(product, expected)


@given(geometry=geometries(), counts=COUNTS, seed=SEEDS)
def test_conv_transpose_is_the_adjoint_of_conv(xp, geometry, counts, seed):
    """<conv(x), y> = <x, convT(y)> where they share the weight and have no bias."""
    deep, shallow, n = counts
    rng = np.random.default_rng(seed)
    conv, transpose = make_pair(xp, rng, geometry, deep, shallow)
    assert transpose.weight.value.shape == conv.weight.value.shape
    transpose.weight.value[...] = conv.weight.value
    conv.bias.value[...] = transpose.bias.value[...] = 0
    x = xp.asarray(rng.standard_normal((shallow, *geometry[0], n)))
    y = xp.asarray(rng.standard_normal((deep, *positions(geometry), n)))
    assert_close((conv.forward(x) * y).sum(), to_host((x * transpose.forward(y)).sum()))


@given(geometry=geometries(), counts=COUNTS, seed=SEEDS)
def test_conv_against_a_naive_loop_and_scipy(xp, geometry, counts, seed):
    deep, shallow, n = counts
    size, _, stride, padding = geometry
    rng = np.random.default_rng(seed)
    conv, _ = make_pair(xp, rng, geometry, deep, shallow)
    weight, bias = to_host(conv.weight.value), to_host(conv.bias.value)
    x = rng.standard_normal((shallow, *size, n))
    y = to_host(conv.forward(xp.asarray(x)))
    assert y.shape == (deep, *positions(geometry), n)

    for i, j, window in windows(padded(x, padding), *geometry):
        for image in range(n):
            seen = (weight * window[..., image]).sum(axis=(1, 2, 3))
            np.testing.assert_allclose(y[:, i, j, image], seen + bias, rtol=1e-12, atol=1e-12)

    for o in range(deep):
        for image in range(n):
            full = sum(
                scipy.signal.correlate2d(padded(x, padding)[c, :, :, image], weight[o, c], "valid")
                for c in range(shallow)
            )
            strided = full[:: stride[0], :: stride[1]] + bias[o]
            np.testing.assert_allclose(y[o, :, :, image], strided, rtol=1e-12, atol=1e-12)


@given(geometry=geometries(), counts=COUNTS, seed=SEEDS)
def test_conv_transpose_against_a_naive_scatter(xp, geometry, counts, seed):
    """Each input pixel stamps the kernel, times its value, into the padded output."""
    deep, shallow, n = counts
    size, _, _, padding = geometry
    rng = np.random.default_rng(seed)
    _, transpose = make_pair(xp, rng, geometry, deep, shallow)
    weight, bias = to_host(transpose.weight.value), to_host(transpose.bias.value)
    x = rng.standard_normal((deep, *positions(geometry), n))
    y = padded(np.zeros((shallow, *size, n)), padding)
    for i, j, window in windows(y, *geometry):
        for c in range(deep):
            window += weight[c][..., None] * x[c, i, j]
    y = y[:, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]
    y = y + bias[:, None, None, None]
    result = transpose.forward(xp.asarray(x))
    assert result.shape == y.shape
    assert_close(result, y)


@given(geometry=geometries(), counts=COUNTS, seed=SEEDS)
def test_backward_by_finite_differences(geometry, counts, seed):
    deep, shallow, n = counts
    rng = np.random.default_rng(seed)
    conv, transpose = make_pair(np, rng, geometry, deep, shallow)
    for layer, shape in (
        (conv, (shallow, *geometry[0], n)),
        (transpose, (deep, *positions(geometry), n)),
    ):
        errors = check_layer(layer, rng.standard_normal(shape), rng)
        assert errors.keys() == {"x", "weight", "bias"}
        assert max(errors.values()) < 1e-7, errors


@given(geometry=geometries())
def test_output_sizes(geometry):
    """The formula against counting, and the transposed layer's against inverting it."""
    for size, kernel, stride, padding in zip(*geometry, strict=True):
        count = len(starts(size, kernel, stride, padding))
        assert output_size(size, kernel, stride, padding) == count
        for output_padding in range(stride):
            layer = ConvTranspose2d(
                1, 1, kernel, stride, padding, output_padding, rng=np.random.default_rng(0)
            )
            larger = (count - 1) * stride - 2 * padding + kernel + output_padding
            if larger > 0:
                y = layer.forward(np.zeros((1, count, count, 1), dtype=np.float32))
                assert y.shape == (1, larger, larger, 1)
                assert len(starts(larger, kernel, stride, padding)) == count


def test_integers_are_pairs():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 7, 6, 2)).astype(np.float32)
    for layer in (Conv2d, ConvTranspose2d):
        one = layer(1, 2, 3, 2, 1, rng=np.random.default_rng(0)).forward(x)
        two = layer(1, 2, (3, 3), (2, 2), (1, 1), rng=np.random.default_rng(0)).forward(x)
        np.testing.assert_array_equal(one, two)
