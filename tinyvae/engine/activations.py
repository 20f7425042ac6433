"""Activation functions as layers: a function of one number, applied to every element.

Each stores its output y, because its derivative is a simple expression in y.
"""

import math

from tinyvae.engine.backend import array_module, fused
from tinyvae.engine.module import Layer


class ReLU(Layer):
    """y = max(x, 0), elementwise.

    inplace=True writes y over x, and dx over dy, which saves two arrays. Use it only directly after
    Linear, Conv2d or ConvTranspose2d in a Sequential. There no other code needs x or dy.
    """

    def __init__(self, inplace=False):
        self.inplace = inplace

    def forward(self, x):
        # NumPy's clip is vectorized; its maximum of an array and a number is four times as slow.
        self._y = array_module(x).clip(x, 0, math.inf, out=x if self.inplace else None)
        return self._y

    def backward(self, dy):
        y = self._consume("_y")
        self._require_gradient(dy, y.shape)
        dx = dy if self.inplace else array_module(dy).empty_like(dy)
        _relu_backward(dy, y, dx)
        return dx


class Sigmoid(Layer):
    """y = 1 / (1 + exp(-x)), elementwise, without overflow for any x."""

    def forward(self, x):
        self._y = sigmoid(x)
        return self._y

    def backward(self, dy):
        y = self._consume("_y")
        self._require_gradient(dy, y.shape)
        # y' = y (1 - y)
        return dy * (y * (1 - y))


class Tanh(Layer):
    """y = tanh(x), elementwise."""

    def forward(self, x):
        self._y = array_module(x).tanh(x)
        return self._y

    def backward(self, dy):
        y = self._consume("_y")
        self._require_gradient(dy, y.shape)
        # y' = 1 - y^2
        return dy * (1 - y * y)


@fused
def _relu_backward(dy, y, dx):
    # y = max(x, 0): the gradient passes where x was positive
    array_module(dy).multiply(dy, y > 0, out=dx)


@fused
def sigmoid(x):
    """1 / (1 + exp(-x)), elementwise; accurate for large |x|, as only exp(-|x|) is computed."""
    xp = array_module(x)
    # = exp(x) / (1 + exp(x)) where x < 0, and 1 / (1 + exp(-x)) elsewhere
    return xp.exp(xp.clip(x, -math.inf, 0)) / (1 + xp.exp(-xp.abs(x)))
