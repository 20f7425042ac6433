"""Exercise 4: the convolution by patches; and what exercise 5 shares with it.

The first functions are the solutions, and they call tinyvae. The tables hold the classic mistakes.
"""

from itertools import permutations

import numpy as np

from tinyvae.engine import convolution as engine
from tinyvae.engine.layers import Conv2d
from tinyvae.exercises.tasks import Case, Exercise, Task, changed, normal
from tinyvae.rng import generator


def patches(x, kernel, stride, padding):
    return engine.patches(x, kernel, stride, padding)


def convolution(x, weight, bias, stride, padding):
    outputs, channels = weight.shape[:2]
    return layer_of(Conv2d, channels, outputs, weight, bias, stride, padding).forward(x)


def convolution_backward(dy, x, kernel, stride, padding):
    outputs, channels = len(dy), len(x)
    weight, bias = np.zeros((outputs, channels, *kernel)), np.zeros(outputs)
    layer = layer_of(Conv2d, channels, outputs, weight, bias, stride, padding)
    layer.forward(x)
    layer.backward(dy)
    return layer.weight.grad, layer.bias.grad


def layer_of(kind, inputs, outputs, weight, bias, *geometry):
    layer = kind(inputs, outputs, weight.shape[2:], *geometry, rng=generator(0, "exercises"))
    layer.to(np, np.float64)
    layer.weight.value, layer.bias.value = weight, bias
    return layer


def image_cases():
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
        sizes = {"C": c, "O": o, "Kh Kw": taps, "Ho Wo": places, "N": n}
        geometry = f"H, W = {size}, kernel = {kernel}, stride = {stride}, padding = {padding}"
        yield Case(values, sizes, geometry=geometry)


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


def changes(solution, *names):
    """The right solution of changed arguments; names: the arguments that are changed."""
    return [(text, changed(solution, key, how)) for text, key, how in CHANGES if key in names]


def split(P, shape, *pairs):
    """P (C Kh Kw, Ho Wo N) as (C, Kh, Kw, Ho, Wo, N)."""
    return P.reshape(shape[0], *pairs[0], *engine.positions(shape[1:3], *pairs), shape[3])


def orders():
    """(what is in another order, the order of the six axes of `split`)."""
    for axis, names, first in (("rows", "cae", 0), ("columns", "ijn", 3)):
        for order in list(permutations(range(3)))[1:]:
            found, right = ", ".join(names[i] for i in order), ", ".join(names)
            axes = list(range(6))
            axes[first : first + 3] = [first + i for i in order]
            yield f"the {axis} of P are in the order ({found}), not ({right})", axes


def _in_order(axes):
    def wrong(x, *pairs):
        P = patches(x, *pairs)
        return split(P, x.shape, *pairs).transpose(axes).reshape(P.shape)

    return wrong


def flipped_taps(P, shape, *pairs):
    return split(P, shape, *pairs)[:, ::-1, ::-1].reshape(P.shape)


def _nearest_pixels(x, kernel, stride, padding):
    around = [(0, 0), *((p, p) for p in padding), (0, 0)]
    return patches(np.pad(x, around, mode="edge"), kernel, stride, (0, 0))


def _one_sided(x, kernel, stride, padding):
    around = [(0, 0), *((0, 2 * p) for p in padding), (0, 0)]
    return patches(np.pad(x, around), kernel, stride, (0, 0))


def _wrapped(x, kernel, stride, padding, below=True):
    """Where the index is negative, and with `below` where it is too large, it is taken modulo."""
    around = [(0, 0), *((p, p) for p in padding), (0, 0)]
    x, (_, h, w, _) = np.pad(x, around, mode="wrap"), x.shape
    if not below:
        x[:, padding[0] + h :], x[:, :, padding[1] + w :] = 0, 0
    return patches(x, kernel, stride, (0, 0))


def _first(ho, wo, x, *pairs):
    """The patches of the first ho x wo positions only."""
    P = split(patches(x, *pairs), x.shape, *pairs)[:, :, :, :ho, :wo]
    return P.reshape(len(x) * pairs[0][0] * pairs[0][1], -1)


def _too_few(count):
    """Only count(size, kernel, stride, padding) positions along each axis."""

    def wrong(x, *pairs):
        ho, wo = (count(*axis) for axis in zip(x.shape[1:3], *pairs, strict=True))
        return _first(ho, wo, x, *pairs)

    return wrong


def _adjacent(x, kernel, stride, padding):
    """As many positions as there should be, but one pixel apart."""
    ho, wo = engine.positions(x.shape[1:3], kernel, stride, padding)
    return _first(ho, wo, x, kernel, (1, 1), padding)


def _flipped_gradient(*arguments):
    dweight, dbias = convolution_backward(*arguments)
    return _flip(dweight), dbias


def batch_first(y):
    """The numbers of y (O, Ho, Wo, N) in the order (o, n, i, j), as an array of y's shape."""
    return y.transpose(0, 3, 1, 2).reshape(y.shape)


def _turned_dy(dy, x, kernel, *pairs):
    dweight = dy.swapaxes(1, 2).reshape(len(dy), -1) @ patches(x, kernel, *pairs).T
    return dweight.reshape(len(dy), len(x), *kernel), dy.sum(axis=(1, 2, 3))


WRAPPED = "a negative index takes pixels from the other end of the image; there are zeros outside"
PATCHES = (
    *changes(patches, "kernel", "stride", "padding"),
    *((sentence, _in_order(axes)) for sentence, axes in orders()),
    ("the kernel is flipped", lambda x, *pairs: flipped_taps(patches(x, *pairs), x.shape, *pairs)),
    ("outside the image the nearest pixel is taken; there are zeros", _nearest_pixels),
    ("all the zeros of the padding are below and on the right of the image", _one_sided),
    ("the positions are one pixel apart: the stride is used for their number only", _adjacent),
    (WRAPPED, _wrapped),
    (WRAPPED, lambda *arguments: _wrapped(*arguments, below=False)),
    (
        "the last position is missing: the + 1 in Ho and Wo is forgotten",
        _too_few(lambda size, k, s, p: (size + 2 * p - k) // s),
    ),
    (
        "positions are missing: the padding is on both sides, 2 ph and 2 pw",
        _too_few(lambda size, k, s, p: (size + p - k) // s + 1),
    ),
)
CONVOLUTION = (
    *changes(convolution, "weight", "bias", "stride", "padding"),
    *(
        (
            f"the matrix of the weight is reshaped from the order ({order}), not (o, c, a, e)",
            changed(convolution, "weight", lambda w, axes=axes: w.transpose(axes).reshape(w.shape)),
        )
        for order, axes in (
            ("c, o, a, e", (1, 0, 2, 3)),
            ("o, a, e, c", (0, 2, 3, 1)),
            ("o, c, e, a", (0, 1, 3, 2)),
        )
    ),
)
CONVOLUTION_BACKWARD = (
    ("the kernel is flipped", _flipped_gradient),
    ("height and width of dy are exchanged", _turned_dy),
    (
        "the columns of dy are in the order (n, i, j), those of P in the order (i, j, n)",
        lambda dy, *arguments: (
            convolution_backward(batch_first(dy), *arguments)[0],
            dy.sum(axis=(1, 2, 3)),
        ),
    ),
    (
        "the upstream gradient dy is not used",
        lambda dy, *arguments: convolution_backward(np.ones_like(dy), *arguments),
    ),
)
EXERCISES = (
    Exercise(
        "04_convolution.py",
        "convolution by patches",
        "08_convolution.md",
        (
            Task(patches, "P", PATCHES, image_cases),
            Task(convolution, "y", CONVOLUTION, image_cases),
            Task(convolution_backward, "dweight dbias", CONVOLUTION_BACKWARD, image_cases),
        ),
    ),
)
