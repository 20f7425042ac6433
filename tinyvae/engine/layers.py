"""The layers with weights, and what puts layers together. Begin with `Linear`.

A layer has a `forward`, and beside it the `backward` derived from it by hand. Inside the engine the
batch is the last axis, so the code is the textbook's formula. A forward stores what its backward
needs. A backward takes dy, the gradient of the loss with respect to the output y; it sets the
gradients of the layer's parameters and returns dx. docs/book/08_gradients.md has the derivations.

Names, order of arguments and weight shapes are PyTorch's; so are the initial weights, from `rng`.
"""

import math
from numbers import Integral

import numpy as np

from tinyvae.engine.backend import array_module, matmul
from tinyvae.engine.convolution import patches, patches_adjoint, positions, product_with_patches
from tinyvae.engine.module import Layer, Parameter
from tinyvae.rng import require_generator


class Linear(Layer):
    """y = W x + b: x (in, N) -> y (out, N), with a weight (out, in) and a bias (out,).

    needs_input_grad=False, for a first layer, whose input is data: backward returns None. Raises
    ValueError for sizes that are no integers of at least 1.
    """

    def __init__(self, in_features, out_features, *, rng, needs_input_grad=True):
        require_counts(in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.needs_input_grad = needs_input_grad
        self.weight, self.bias = _initial(rng, (out_features, in_features), out_features)

    def forward(self, x):
        self._require_input(x, ("in_features", "N"), self.in_features)
        self._x = x
        return matmul(self.weight.value, x) + self.bias.value[:, None]

    def backward(self, dy):
        x = self._consume("_x")
        self._require_gradient(dy, (self.out_features, x.shape[1]))
        # y = W @ x + b
        matmul(dy, x.T, out=self.weight.grad)  # dW = dy @ x.T
        sum_columns(dy, out=self.bias.grad)  # db = the sum of dy over the batch
        return matmul(self.weight.value.T, dy) if self.needs_input_grad else None  # dx = W.T @ dy


class Conv2d(Layer):
    """Cross-correlation of x (in_channels, H, W, N) with a weight (out, in, Kh, Kw).

    y is (out_channels, Ho, Wo, N) with Ho = (H + 2 padding - Kh) // stride + 1. kernel_size,
    stride and padding are integers or pairs (height, width). needs_input_grad as in Linear. Raises
    ValueError for other sizes. Dumoulin and Visin 2016, section 2.4.
    """

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        *,
        rng,
        needs_input_grad=True,
    ):
        require_counts(in_channels=in_channels, out_channels=out_channels)
        kernel, stride, padding = _pair(kernel_size, 1), _pair(stride, 1), _pair(padding, 0)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.geometry, self.needs_input_grad = (kernel, stride, padding), needs_input_grad
        self.weight, self.bias = _initial(rng, (out_channels, in_channels, *kernel), out_channels)

    def forward(self, x):
        self._require_input(x, ("in_channels", "H", "W", "N"), self.in_channels)
        _, h, w, n = x.shape
        kernel, _, padding = self.geometry
        ho, wo = positions((h, w), *self.geometry)
        if ho < 1 or wo < 1:
            raise ValueError(
                f"Conv2d: the kernel {kernel} is larger than the image {h}x{w} with padding "
                f"{padding}"
            )
        self._x_shape, self._y_shape = x.shape, (self.out_channels, ho, wo, n)
        self._patches = patches(x, *self.geometry)  # (in Kh Kw, Ho Wo N)
        y = matmul(as_matrix(self.weight.value), self._patches)
        y += self.bias.value[:, None]
        return y.reshape(self._y_shape)

    def backward(self, dy):
        p = self._consume("_patches")
        self._require_gradient(dy, self._y_shape)
        # y = W @ patches(x) + b: a linear layer on patches
        product_with_patches(dy, p, out=as_matrix(self.weight.grad))  # dy @ p.T
        dy = as_matrix(dy)  # (out, Ho Wo N)
        sum_columns(dy, out=self.bias.grad)
        if not self.needs_input_grad:
            return None
        dp = matmul(as_matrix(self.weight.value).T, dy)
        return patches_adjoint(dp, self._x_shape, *self.geometry)


class ConvTranspose2d(Layer):
    """The adjoint of Conv2d as a layer: x (in_channels, H, W, N), weight (in, out, Kh, Kw).

    y is (out_channels, Ho, Wo, N) with Ho = (H - 1) stride - 2 padding + Kh + output_padding.
    With a stride of 2 or more, Conv2d maps images of several sizes to the same size.
    output_padding, smaller than the stride, chooses one of these sizes for y. Raises ValueError for
    other sizes. Dumoulin and Visin 2016, section 4.
    """

    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, *, rng
    ):
        require_counts(in_channels=in_channels, out_channels=out_channels)
        kernel, stride, padding = _pair(kernel_size, 1), _pair(stride, 1), _pair(padding, 0)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.geometry = (kernel, stride, padding)
        self.output_padding = _pair(output_padding, 0)
        if any(extra >= s for extra, s in zip(self.output_padding, stride, strict=True)):
            raise ValueError(
                f"ConvTranspose2d: output_padding {self.output_padding} must be smaller than "
                f"the stride {stride}"
            )
        self.weight, self.bias = _initial(rng, (in_channels, out_channels, *kernel), out_channels)

    def forward(self, x):
        self._require_input(x, ("in_channels", "H", "W", "N"), self.in_channels)
        _, h, w, n = x.shape
        ho, wo = (
            (size - 1) * stride - 2 * padding + kernel + extra
            for size, kernel, stride, padding, extra in zip(
                (h, w), *self.geometry, self.output_padding, strict=True
            )
        )
        if ho < 1 or wo < 1:
            raise ValueError(f"ConvTranspose2d: an input of {h}x{w} leaves an output of {ho}x{wo}")
        self._x, self._y_shape = x, (self.out_channels, ho, wo, n)
        p = matmul(as_matrix(self.weight.value).T, as_matrix(x))  # (out Kh Kw, H W N)
        y = patches_adjoint(p, self._y_shape, *self.geometry)
        y += self.bias.value[:, None, None, None]
        return y

    def backward(self, dy):
        x = self._consume("_x")
        self._require_gradient(dy, self._y_shape)
        # y = patches_adjoint(W.T @ x) + b
        dp = patches(dy, *self.geometry)  # (out Kh Kw, H W N)
        product_with_patches(x, dp, out=as_matrix(self.weight.grad))  # x @ dp.T
        sum_columns(as_matrix(dy), out=self.bias.grad)
        return matmul(as_matrix(self.weight.value), dp).reshape(x.shape)


class Reshape(Layer):
    """Each example gets the given shape: (..., N) -> (*shape, N); PyTorch's Unflatten."""

    def __init__(self, *shape):
        self.shape = shape

    def forward(self, x):
        y = x.reshape(*self.shape, x.shape[-1])
        self._shapes = x.shape, y.shape
        return y

    def backward(self, dy):
        x_shape, y_shape = self._consume("_shapes")
        self._require_gradient(dy, y_shape)
        return dy.reshape(x_shape)


class Flatten(Reshape):
    """Each example becomes one vector: (C, H, W, N) -> (C H W, N)."""

    def __init__(self):
        super().__init__(-1)

    def forward(self, x):
        self._shapes = x.shape, (math.prod(x.shape[:-1]), x.shape[-1])  # -1 fails for N = 0
        return x.reshape(self._shapes[1])


class Sequential(Layer):
    """Layers one after the other; their names are "0", "1", ..."""

    def __init__(self, *layers):
        self.layers = layers

    def named_children(self):
        for name, child in super().named_children():
            yield name.removeprefix("layers."), child

    def forward(self, x):
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dy):
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
            if dy is None:  # the first layer of a network: its input is data
                break
        return dy


def _initial(rng, weight_shape, outputs):
    """Weight and bias as PyTorch draws them: U(-b, b) with b = 1 / sqrt(prod(weight_shape[1:]))."""
    require_generator(rng)
    bound = 1 / math.sqrt(math.prod(weight_shape[1:]))
    shapes = weight_shape, (outputs,)
    return [Parameter(rng.uniform(-bound, bound, shape).astype(np.float32)) for shape in shapes]


def require_counts(**counts):
    """Raise ValueError unless all are integers of at least 1."""
    for name, count in counts.items():
        if not (isinstance(count, Integral) and count >= 1):
            raise ValueError(f"{name} must be an integer of at least 1, got {count!r}")


def _pair(value, least):
    """An integer, or a pair (height, width) of integers, as a pair."""
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2 or not all(isinstance(n, Integral) and n >= least for n in pair):
        raise ValueError(
            f"expected an integer of at least {least} or a pair (height, width), got {value!r}"
        )
    return pair


def sum_columns(y, out):
    """y (A, M), out (A,): out = y.sum(axis=1), as a product with ones, three times as fast."""
    matmul(y, array_module(y).ones(y.shape[1], dtype=y.dtype), out=out)


def as_matrix(x):
    """x (A, ...) as a matrix: all axes but the first become one; a view if x is contiguous."""
    return x.reshape(len(x), -1)
