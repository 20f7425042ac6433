"""The layers between the others: a function of one number, applied to every element.

Each keeps its output y, from which its derivative follows.
"""

import math

import numpy as np

from tinyvae.engine.backend import array_module, fused
from tinyvae.engine.module import Layer


class ReLU(Layer):
    """y = max(x, 0), elementwise.

    inplace=True: y is written over x, and dx over dy. That is for a Sequential, where both are
    nobody else's, behind a layer that does not keep its output, as Linear and convolutions do not.
    """

    def __init__(self, inplace=False):
        self.inplace = inplace

    def forward(self, x):
        # clip: NumPy's maximum with a scalar is not vectorized, and four times as slow by itself
        y = array_module(x).clip(x, 0, math.inf, out=x if self.inplace else None)
        return self.keep(y)

    def keep(self, y):
        """Take y for the output: another layer has computed it, see Sequential."""
        self._y = y
        return y

    def backward(self, dy):
        y = self._consume("_y")
        return _relu_backward(dy, y, dy) if self.inplace else _relu_backward(dy, y)


class Sigmoid(Layer):
    """y = 1 / (1 + exp(-x)), elementwise, without overflow for any x."""

    def forward(self, x):
        self._y = sigmoid(x)
        return self._y

    def backward(self, dy):
        y = self._consume("_y")
        # y' = y (1 - y)
        return dy * (y * (1 - y))


class Tanh(Layer):
    """y = tanh(x), elementwise."""

    def forward(self, x):
        self._y = array_module(x).tanh(x)
        return self._y

    def backward(self, dy):
        y = self._consume("_y")
        # y' = 1 - y^2
        return dy * (1 - y * y)


def add_bias(y, b, with_relu=False):
    """y + b, or with_relu max(y + b, 0), written over y: what layers with a bias end in."""
    if with_relu:
        return _bias_relu(y, b, y)
    y += b
    return y


@fused("T x, T b", "T y", "T s = x + b; y = s < T(0) ? T(0) : s")  # max would lose a NaN
def _bias_relu(x, b, y):
    np.add(x, b, out=y)
    return np.clip(y, 0, math.inf, out=y)


@fused("T dy, T y", "T dx", "dx = dy * (y > 0)")
def _relu_backward(dy, y, dx=None):
    # y = max(x, 0): the gradient passes where x was positive
    return np.multiply(dy, y > 0, out=dx)


SIGMOID = "exp(min(x, T(0))) / (T(1) + exp(-abs(x)))"


@fused("T x", "T y", f"y = {SIGMOID}")
def sigmoid(x):
    """1 / (1 + exp(-x)), accurate in both tails: only exp(-|x|) is ever taken."""
    # = exp(x) / (1 + exp(x)) where x < 0, and 1 / (1 + exp(-x)) elsewhere
    return np.exp(np.clip(x, -math.inf, 0)) / (1 + np.exp(-np.abs(x)))
