"""Exercise 5: the adjoint of patches, and the transposed convolution.

The first functions are the solutions, and they call tinyvae. The tables hold the classic mistakes.
"""

from itertools import product

import numpy as np

from tinyvae.engine import convolution as engine
from tinyvae.engine.layers import ConvTranspose2d
from tinyvae.exercises.images import (
    batch_first,
    changes,
    flipped_taps,
    image_cases,
    layer_of,
    orders,
    split,
)
from tinyvae.exercises.tasks import Case, Exercise, Task, changed, normal


def patches_adjoint(P, shape, kernel, stride, padding):
    return engine.patches_adjoint(P, shape, kernel, stride, padding)


def transposed_convolution(x, weight, bias, size, stride, padding):
    channels, outputs = weight.shape[:2]
    extra = tuple(np.subtract(size, _smallest(x, weight, stride, padding)).tolist())
    geometry = stride, padding, extra
    return layer_of(ConvTranspose2d, channels, outputs, weight, bias, *geometry).forward(x)


def _smallest(x, weight, stride, padding):
    """The size of a transposed convolution's output without output padding."""
    axes = zip(x.shape[1:3], weight.shape[2:], stride, padding, strict=True)
    return [(size - 1) * s - 2 * p + k for size, k, s, p in axes]


def _transposed_cases():
    """The same, the other way: from images of dy's shape to images of x's shape."""
    for values, sizes, _, geometry in image_cases():
        channels, *size, _ = values["x"].shape
        bias = normal(f"transposed {channels}", channels)[0]
        values |= {"x": values["dy"], "bias": bias, "size": tuple(size)}
        yield Case(values, sizes | {"C": sizes["O"], "O": channels}, geometry=geometry)


# The classic mistakes


def _read_in_order(axes):
    def wrong(P, shape, *pairs):
        sizes = split(P, shape, *pairs).shape
        parts = P.reshape([sizes[i] for i in axes]).transpose(np.argsort(axes))
        return patches_adjoint(parts.reshape(P.shape), shape, *pairs)

    return wrong


def _averaged(P, shape, *pairs):
    count = patches_adjoint(np.ones_like(P), shape, *pairs)
    return patches_adjoint(P, shape, *pairs) / np.maximum(count, 1)


def _entries(P, shape, kernel, stride, padding, where, order="aeij"):
    """The entries of P with their pixels, (h, w, entry), in a loop by `order`.

    where(position, tap, stride, padding, size): the pixel, along one axis; outside it is dropped.
    """
    parts, (_, height, width, _) = split(P, shape, kernel, stride, padding), shape
    sizes = dict(zip("aeij", parts.shape[1:5], strict=True))
    for index in product(*(range(sizes[name]) for name in order)):
        a, e, i, j = (index[order.index(name)] for name in "aeij")
        h = where(i, a, stride[0], padding[0], height)
        w = where(j, e, stride[1], padding[1], width)
        if 0 <= h < height and 0 <= w < width:
            yield h, w, parts[:, a, e, i, j]


def _pixel(t, a, s, p, size):
    return s * t + a - p


def _overwritten(order):
    """The adjoint in which the last entry of a pixel replaces the others."""

    def wrong(P, shape, *pairs):
        x = np.zeros(shape)
        for h, w, entry in _entries(P, shape, *pairs, _pixel, order):
            x[:, h, w] = entry
        return x

    return wrong


def _added(where):
    """The adjoint that adds entries to other pixels."""

    def wrong(P, shape, *pairs):
        x = np.zeros(shape)
        for h, w, entry in _entries(P, shape, *pairs, where):
            x[:, h, w] += entry
        return x

    return wrong


def _uncut(P, shape, kernel, stride, padding):
    c, h, w, n = shape
    shape = (c, h + 2 * padding[0], w + 2 * padding[1], n)
    return patches_adjoint(P, shape, kernel, stride, (0, 0))


def _cut(P, shape, kernel, stride, padding):
    (ph, pw), image = padding, _uncut(P, shape, kernel, stride, padding)
    return image[:, ph:-ph, pw:-pw]


def _transposed(adjoint):
    """A transposed convolution that takes this wrong adjoint."""

    def wrong(x, weight, bias, size, stride, padding):
        P = weight.reshape(len(x), -1).T @ x.reshape(len(x), -1)
        shape = (weight.shape[1], *size, x.shape[3])
        return adjoint(P, shape, weight.shape[2:], stride, padding) + bias[:, None, None, None]

    return wrong


def _too_small(x, weight, bias, size, stride, padding):
    size = _smallest(x, weight, stride, padding)
    return transposed_convolution(x, weight, bias, size, stride, padding)


OVERWRITTEN = (
    "where patches overlap, the last entry replaces the others; they must add up (for a repeated "
    "index NumPy's x[index] += p adds only once)"
)
AVERAGED = "where patches overlap, the mean of the entries is taken; they must add up"
UNCUT = "the rows and columns of the padding are not cut off"
WRAPPED = "entries of the padding are added at the other end: a negative index counts from there"
PLACES = (
    (WRAPPED, lambda *axis: _pixel(*axis) % axis[-1]),
    (WRAPPED, lambda *axis: (pixel := _pixel(*axis)) + axis[-1] * (pixel < 0)),
    (
        "entries of the padding are added to the nearest pixel; they are dropped",
        lambda *axis: min(max(_pixel(*axis), 0), axis[-1] - 1),
    ),
    (
        "the padding is not subtracted, or all cut off at one end: entries land ph, pw pixels late",
        lambda t, a, s, p, size: s * t + a,
    ),
    ("the stride is ignored", lambda t, a, s, p, size: t + a - p),
)
PATCHES_ADJOINT = (
    *((OVERWRITTEN, _overwritten(order)) for order in ("aeij", "ijae")),
    (AVERAGED, _averaged),
    (UNCUT, _uncut),
    ("image[:, p:-p] is empty where the padding p is 0; write image[:, p : p + H]", _cut),
    *((sentence, _added(where)) for sentence, where in PLACES),
    (
        "the kernel is flipped",
        lambda P, *rest: patches_adjoint(flipped_taps(P, *rest), *rest),
    ),
    *((sentence, _read_in_order(axes)) for sentence, axes in orders()),
)
TRANSPOSED_CONVOLUTION = (
    *changes(transposed_convolution, "weight", "bias"),
    *((OVERWRITTEN, _transposed(_overwritten(order))) for order in ("aeij", "ijae")),
    (AVERAGED, _transposed(_averaged)),
    (UNCUT, _transposed(_uncut)),
    *((sentence, _transposed(_added(where))) for sentence, where in PLACES),
    (
        "the columns of x are in the order (n, i, j), those of P in the order (i, j, n)",
        changed(transposed_convolution, "x", batch_first),
    ),
    ("the image has the smallest size that fits, not the size that is asked for", _too_small),
)

EXERCISES = (
    Exercise(
        "05_transposed_convolution.py",
        "transposed convolution",
        "08_convolution.md",
        (
            Task(patches_adjoint, "image", PATCHES_ADJOINT, image_cases),
            Task(transposed_convolution, "y", TRANSPOSED_CONVOLUTION, _transposed_cases),
        ),
    ),
)
