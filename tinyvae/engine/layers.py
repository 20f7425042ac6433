"""The layers: each a forward, and beside it the backward derived from it by hand.

The batch is the last axis, so the code is the textbook's formula: `y = W @ x + b`. A forward keeps
what its backward needs; a backward uses that up, sets the gradients of the layer's parameters, and
returns the gradient with respect to the layer's input. docs/gradients.md has the derivations.

Names, argument order and weight shapes are PyTorch's; so are the initial weights, from `rng`.
"""

import math
from functools import lru_cache

import numpy as np

from tinyvae.engine.activations import ReLU, add_bias
from tinyvae.engine.backend import array_module
from tinyvae.engine.convolution import patches, patches_adjoint, positions, product_with_patches
from tinyvae.engine.module import Layer, Parameter


class Linear(Layer):
    """y = W x + b: x (in, N) -> y (out, N), with a weight (out, in) and a bias (out,).

    needs_input_grad=False, for a first layer, whose input is data: backward returns None.
    """

    def __init__(self, in_features, out_features, *, rng, needs_input_grad=True):
        self.in_features, self.out_features = in_features, out_features
        self.needs_input_grad = needs_input_grad
        self.weight = Parameter(_uniform(rng, (out_features, in_features), in_features))
        self.bias = Parameter(_uniform(rng, (out_features,), in_features))

    def forward(self, x, with_relu=False):
        self._require(x, ("in_features", "N"), self.in_features)
        self._x = x
        return add_bias(self.weight.value @ x, self.bias.value[:, None], with_relu)

    def backward(self, dy):
        x = self._consume("_x")
        # y = W @ x + b
        array_module(dy).matmul(dy, x.T, out=self.weight.grad)
        _sum_columns(dy, out=self.bias.grad)
        return self.weight.value.T @ dy if self.needs_input_grad else None


class Conv2d(Layer):
    """Cross-correlation of x (in_channels, H, W, N) with a weight (out, in, Kh, Kw).

    y is (out_channels, Ho, Wo, N) with Ho = (H + 2 padding - Kh) // stride + 1. kernel_size,
    stride and padding are integers or pairs (height, width). needs_input_grad as in Linear.
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
        kernel, stride, padding = _pair(kernel_size, 1), _pair(stride, 1), _pair(padding, 0)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.geometry, self.needs_input_grad = (kernel, stride, padding), needs_input_grad
        fan_in = in_channels * kernel[0] * kernel[1]
        self.weight = Parameter(_uniform(rng, (out_channels, in_channels, *kernel), fan_in))
        self.bias = Parameter(_uniform(rng, (out_channels,), fan_in))

    def forward(self, x, with_relu=False):
        self._require(x, ("in_channels", "H", "W", "N"), self.in_channels)
        _, h, w, n = x.shape
        kernel, _, padding = self.geometry
        ho, wo = positions((h, w), *self.geometry)
        if ho < 1 or wo < 1:
            raise ValueError(
                f"Conv2d: kernel {kernel} on {h}x{w} with padding {padding}: too large"
            )
        self._shape = x.shape
        self._patches = patches(x, *self.geometry)  # (in Kh Kw, Ho Wo N)
        y = _matrix(self.weight.value) @ self._patches
        y = add_bias(y, self.bias.value[:, None], with_relu)
        return y.reshape(self.out_channels, ho, wo, n)

    def backward(self, dy):
        p = self._consume("_patches")
        # y = W @ patches(x) + b: a linear layer on patches
        product_with_patches(dy, p, out=_matrix(self.weight.grad))  # dy @ p.T
        dy = _matrix(dy)  # (out, Ho Wo N)
        _sum_columns(dy, out=self.bias.grad)
        if not self.needs_input_grad:
            return None
        dp = _matrix(self.weight.value).T @ dy
        return patches_adjoint(dp, self._shape, *self.geometry)


class ConvTranspose2d(Layer):
    """The adjoint of Conv2d as a layer: x (in_channels, H, W, N), weight (in, out, Kh, Kw).

    y is (out_channels, Ho, Wo, N) with Ho = (H - 1) stride - 2 padding + Kh + output_padding.
    Several sizes H of an image give a Conv2d the same number of positions: output_padding, smaller
    than the stride, says which of them is meant.
    """

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        output_padding=0,
        *,
        rng,
    ):
        kernel, stride, padding = _pair(kernel_size, 1), _pair(stride, 1), _pair(padding, 0)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.geometry = (kernel, stride, padding)
        self.output_padding = _pair(output_padding, 0)
        if any(extra >= s for extra, s in zip(self.output_padding, stride, strict=True)):
            raise ValueError(
                f"ConvTranspose2d: output_padding {self.output_padding} must be smaller than "
                f"the stride {stride}"
            )
        fan_in = out_channels * kernel[0] * kernel[1]
        self.weight = Parameter(_uniform(rng, (in_channels, out_channels, *kernel), fan_in))
        self.bias = Parameter(_uniform(rng, (out_channels,), fan_in))

    def forward(self, x, with_relu=False):
        self._require(x, ("in_channels", "H", "W", "N"), self.in_channels)
        _, h, w, n = x.shape
        ho, wo = (
            (size - 1) * stride - 2 * padding + kernel + extra
            for size, kernel, stride, padding, extra in zip(
                (h, w), *self.geometry, self.output_padding, strict=True
            )
        )
        if ho < 1 or wo < 1:
            raise ValueError(f"ConvTranspose2d: an input of {h}x{w} leaves an output of {ho}x{wo}")
        self._x = x
        p = _matrix(self.weight.value).T @ _matrix(x)  # (out Kh Kw, H W N)
        y = patches_adjoint(p, (self.out_channels, ho, wo, n), *self.geometry)
        return add_bias(y, self.bias.value[:, None, None, None], with_relu)

    def backward(self, dy):
        x = self._consume("_x")
        # y = patches_adjoint(W.T @ x) + b
        dp = patches(dy, *self.geometry)  # (out Kh Kw, H W N)
        product_with_patches(x, dp, out=_matrix(self.weight.grad))  # x @ dp.T
        _sum_columns(_matrix(dy), out=self.bias.grad)
        return (_matrix(self.weight.value) @ dp).reshape(x.shape)


class Reshape(Layer):
    """Each example gets the given shape: (..., N) -> (*shape, N); PyTorch's Unflatten."""

    def __init__(self, *shape):
        self.shape = shape

    def forward(self, x):
        self._shape = x.shape
        return x.reshape(*self.shape, x.shape[-1])

    def backward(self, dy):
        return dy.reshape(self._consume("_shape"))


class Flatten(Reshape):
    """Each example becomes one vector: (C, H, W, N) -> (C H W, N)."""

    def __init__(self):
        super().__init__(-1)


class Sequential(Layer):
    """Layers one after the other; its children are named "0", "1", ...

    A layer with a bias also does the ReLU in place behind it: on a GPU in a single kernel.
    """

    def __init__(self, *layers):
        self.layers = layers

    def named_children(self):
        return ((str(i), layer) for i, layer in enumerate(self.layers))

    def forward(self, x):
        layers = zip(self.layers, (*self.layers[1:], None), strict=True)
        for layer, behind in layers:
            with_bias = isinstance(layer, Linear | Conv2d | ConvTranspose2d)
            if with_bias and isinstance(behind, ReLU) and behind.inplace:
                x = behind.keep(layer.forward(x, with_relu=True))
                next(layers)
            else:
                x = layer.forward(x)
        return x

    def backward(self, dy):
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
            if dy is None:  # a first layer
                break
        return dy


def _uniform(rng, shape, fan_in):
    """PyTorch's default for weights and biases: U(-1/sqrt(fan_in), 1/sqrt(fan_in)), float32."""
    bound = 1 / math.sqrt(fan_in)
    return rng.uniform(-bound, bound, shape).astype(np.float32)


def _pair(value, least):
    """An integer, or a pair (height, width) of them, as a pair."""
    pair = tuple(value) if np.ndim(value) else (value, value)
    if len(pair) != 2 or any(number != int(number) or number < least for number in pair):
        raise ValueError(
            f"expected an integer of at least {least} or a pair (height, width), got {value!r}"
        )
    return pair


def _sum_columns(y, out):
    """out = y.sum(axis=1), as a product with ones: three times as fast by itself."""
    xp = array_module(y)
    xp.matmul(y, _ones(xp, y.shape[1], y.dtype), out=out)


@lru_cache(maxsize=16)
def _ones(xp, size, dtype):
    return xp.ones(size, dtype=dtype)


def _matrix(x):
    """x with all axes but the first in one; a view, as x is contiguous."""
    return x.reshape(x.shape[0], -1)
