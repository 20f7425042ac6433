"""Exercises 4 and 5: the convolution by patches, its adjoint, the transposed convolution.

The first functions are the solutions, and they call tinyvae. The tables hold the classic mistakes.
"""

from itertools import permutations, product

import numpy as np

from tinyvae.engine import convolution as engine
from tinyvae.engine.layers import Conv2d, ConvTranspose2d
from tinyvae.exercises.tasks import Case, Exercise, Task, changed, normal
from tinyvae.rng import generator


def patches(x, kernel, stride, padding):
    return engine.patches(x, kernel, stride, padding)


def convolution(x, weight, bias, stride, padding):
    outputs, channels = weight.shape[:2]
    return _layer(Conv2d, channels, outputs, weight, bias, stride, padding).forward(x)


def convolution_backward(dy, x, kernel, stride, padding):
    outputs, channels = len(dy), len(x)
    weight, bias = np.zeros((outputs, channels, *kernel)), np.zeros(outputs)
    layer = _layer(Conv2d, channels, outputs, weight, bias, stride, padding)
    layer.forward(x)
    layer.backward(dy)
    return layer.weight.grad, layer.bias.grad


def patches_adjoint(P, shape, kernel, stride, padding):
    return engine.patches_adjoint(P, shape, kernel, stride, padding)


def transposed_convolution(x, weight, bias, size, stride, padding):
    channels, outputs = weight.shape[:2]
    extra = tuple(np.subtract(size, _smallest(x, weight, stride, padding)).tolist())
    geometry = stride, padding, extra
    return _layer(ConvTranspose2d, channels, outputs, weight, bias, *geometry).forward(x)


def _layer(kind, inputs, outputs, weight, bias, *geometry):
    layer = kind(inputs, outputs, weight.shape[2:], *geometry, rng=generator(0, "exercises"))
    layer.to(np, np.float64)
    layer.weight.value, layer.bias.value = weight, bias
    return layer


def _smallest(x, weight, stride, padding):
    """The size of a transposed convolution's output without output padding."""
    axes = zip(x.shape[1:3], weight.shape[2:], stride, padding, strict=True)
    return [(size - 1) * s - 2 * p + k for size, k, s, p in axes]


def _image_cases():
    for c, o, size, n, kernel, stride, padding in (
        (5, 7, (9, 11), 3, (3, 2), (2, 1), (2, 1)),
        (7, 9, (5, 13), 11, (2, 3), (1, 3), (0, 2)),  # the transpose needs output padding
    ):
        positions = engine.positions(size, kernel, stride, padding)
        taps, places = kernel[0] * kernel[1], positions[0] * positions[1]
        shapes = (c, *size, n), (o, c, *kernel), o, (o, *positions, n), (c * taps, places * n)
        x, weight, bias, dy, P = normal(f"images {c}", *shapes)
        values = {"x": x, "weight": weight, "bias": bias, "dy": dy, "P": P, "shape": x.shape}
        values |= {"kernel": kernel, "stride": stride, "padding": padding}
        yield Case(values, {"C": c, "O": o, "Kh Kw": taps, "Ho Wo": places, "N": n})


def _transposed_cases():
    """The same, the other way: from images of dy's shape to images of x's shape."""
    for values, sizes, _ in _image_cases():
        channels, *size, _ = values["x"].shape
        bias = normal(f"transposed {channels}", channels)[0]
        values |= {"x": values["dy"], "bias": bias, "size": tuple(size)}
        yield Case(values, sizes | {"C": sizes["O"], "O": channels})


# The classic mistakes. `pairs` are kernel, stride and padding.


def _reversed(pair):
    return pair[::-1]


def _flip(weight):
    return weight[..., ::-1, ::-1]


CHANGES = (
    ("the padding is left out", "padding", lambda padding: (0, 0)),
    ("the stride is ignored", "stride", lambda stride: (1, 1)),
    ("height and width are exchanged in the padding", "padding", _reversed),
    ("height and width are exchanged in the stride", "stride", _reversed),
    ("height and width are exchanged in the kernel", "kernel", _reversed),
    ("the kernel is flipped", "weight", _flip),
    ("the bias is forgotten", "bias", np.zeros_like),
)


def _changes(solution, *names):
    """The right solution of changed arguments; names: the arguments that are changed."""
    return [(text, changed(solution, key, how)) for text, key, how in CHANGES if key in names]


def _split(P, shape, *pairs):
    """P (C Kh Kw, Ho Wo N) as (C, Kh, Kw, Ho, Wo, N)."""
    return P.reshape(shape[0], *pairs[0], *engine.positions(shape[1:3], *pairs), shape[3])


def _orders():
    """(what is in another order, the order of the six axes of `_split`)."""
    for axis, names, first in (("rows", "cae", 0), ("columns", "ijn", 3)):
        for order in list(permutations(range(3)))[1:]:
            found, right = ", ".join(names[i] for i in order), ", ".join(names)
            axes = list(range(6))
            axes[first : first + 3] = [first + i for i in order]
            yield f"the {axis} of P are in the order ({found}), not ({right})", axes


def _in_order(axes):
    def wrong(x, *pairs):
        P = patches(x, *pairs)
        return _split(P, x.shape, *pairs).transpose(axes).reshape(P.shape)

    return wrong


def _read_in_order(axes):
    def wrong(P, shape, *pairs):
        sizes = _split(P, shape, *pairs).shape
        parts = P.reshape([sizes[i] for i in axes]).transpose(np.argsort(axes))
        return patches_adjoint(parts.reshape(P.shape), shape, *pairs)

    return wrong


def _flipped_taps(P, shape, *pairs):
    return _split(P, shape, *pairs)[:, ::-1, ::-1].reshape(P.shape)


def _nearest_pixels(x, kernel, stride, padding):
    around = [(0, 0), *((p, p) for p in padding), (0, 0)]
    return patches(np.pad(x, around, mode="edge"), kernel, stride, (0, 0))


def _one_sided(x, kernel, stride, padding):
    around = [(0, 0), *((0, 2 * p) for p in padding), (0, 0)]
    return patches(np.pad(x, around), kernel, stride, (0, 0))


def _adjacent(x, kernel, stride, padding):
    """As many positions as there should be, but one pixel apart."""
    ho, wo = engine.positions(x.shape[1:3], kernel, stride, padding)
    P = _split(patches(x, kernel, (1, 1), padding), x.shape, kernel, (1, 1), padding)
    return P[:, :, :, :ho, :wo].reshape(len(x) * kernel[0] * kernel[1], -1)


def _flipped_gradient(*arguments):
    dweight, dbias = convolution_backward(*arguments)
    return _flip(dweight), dbias


def _turned_dy(dy, x, kernel, *pairs):
    dweight = dy.swapaxes(1, 2).reshape(len(dy), -1) @ patches(x, kernel, *pairs).T
    return dweight.reshape(len(dy), len(x), *kernel), dy.sum(axis=(1, 2, 3))


def _averaged(P, shape, *pairs):
    count = patches_adjoint(np.ones_like(P), shape, *pairs)
    return patches_adjoint(P, shape, *pairs) / np.maximum(count, 1)


def _overwritten(order):
    """The adjoint in which the last entry of a pixel replaces the others, in a loop by `order`."""

    def wrong(P, shape, kernel, stride, padding):
        parts = _split(P, shape, kernel, stride, padding)
        x = np.zeros(shape)
        sizes = dict(zip("aeij", parts.shape[1:5], strict=True))
        for index in product(*(range(sizes[name]) for name in order)):
            a, e, i, j = (index[order.index(name)] for name in "aeij")
            h, w = stride[0] * i + a - padding[0], stride[1] * j + e - padding[1]
            if 0 <= h < shape[1] and 0 <= w < shape[2]:
                x[:, h, w] = parts[:, a, e, i, j]
        return x

    return wrong


def _uncut(P, shape, kernel, stride, padding):
    c, h, w, n = shape
    shape = (c, h + 2 * padding[0], w + 2 * padding[1], n)
    return patches_adjoint(P, shape, kernel, stride, (0, 0))


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
PATCHES = (
    *_changes(patches, "kernel", "stride", "padding"),
    *((sentence, _in_order(axes)) for sentence, axes in _orders()),
    ("the kernel is flipped", lambda x, *pairs: _flipped_taps(patches(x, *pairs), x.shape, *pairs)),
    ("outside the image the nearest pixel is taken; there are zeros", _nearest_pixels),
    ("all the zeros of the padding are below and on the right of the image", _one_sided),
    ("the positions are one pixel apart: the stride is used for their number only", _adjacent),
)
CONVOLUTION = tuple(_changes(convolution, "weight", "bias", "stride", "padding"))
CONVOLUTION_BACKWARD = (
    ("the kernel is flipped", _flipped_gradient),
    ("height and width of dy are exchanged", _turned_dy),
    (
        "the upstream gradient dy is not used",
        lambda dy, *arguments: convolution_backward(np.ones_like(dy), *arguments),
    ),
)
PATCHES_ADJOINT = (
    *((OVERWRITTEN, _overwritten(order)) for order in ("aeij", "ijae")),
    (AVERAGED, _averaged),
    (UNCUT, _uncut),
    (
        "the kernel is flipped",
        lambda P, *rest: patches_adjoint(_flipped_taps(P, *rest), *rest),
    ),
    *((sentence, _read_in_order(axes)) for sentence, axes in _orders()),
)
TRANSPOSED_CONVOLUTION = (
    *_changes(transposed_convolution, "weight", "bias"),
    *((OVERWRITTEN, _transposed(_overwritten(order))) for order in ("aeij", "ijae")),
    (AVERAGED, _transposed(_averaged)),
    (UNCUT, _transposed(_uncut)),
    ("the image has the smallest size that fits, not the size that is asked for", _too_small),
)

EXERCISES = (
    Exercise(
        "04_convolution.py",
        "convolution by patches",
        "08_convolution.md",
        (
            Task(patches, "P", PATCHES, _image_cases),
            Task(convolution, "y", CONVOLUTION, _image_cases),
            Task(convolution_backward, "dweight dbias", CONVOLUTION_BACKWARD, _image_cases),
        ),
    ),
    Exercise(
        "05_transposed_convolution.py",
        "transposed convolution",
        "08_convolution.md",
        (
            Task(patches_adjoint, "image", PATCHES_ADJOINT, _image_cases),
            Task(transposed_convolution, "y", TRANSPOSED_CONVOLUTION, _transposed_cases),
        ),
    ),
)
