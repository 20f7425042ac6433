"""Exercise 1: the linear layer, forward and backward.

A batch of N examples is a matrix x (D, N). Each column is one example of D numbers. The layer maps
each column to O numbers: y = W x + b, with the same weights W and the same bias b for all columns.

The loss is one number that depends on y. dy has the shape of y, and dy[i, n] is the derivative of
the loss with respect to y[i, n]. In the same way dW, db and dx have the shapes of W, b and x.

Chapter: docs/book/08_gradients.md, "One rule: ..." and "Linear".
Check: python -m tinyvae.exercises docs/exercises/01_linear.py
"""

import numpy as np


def linear_forward(x, W, b):
    """y = W x + b for each column of x.

    x (D, N), W (O, D), b (O,) -> y (O, N)
    """
    raise NotImplementedError


def linear_backward(dy, x, W):
    """The gradients of the loss with respect to W, b and x.

    If the loss is a mean over the batch, dy has the factor 1/N already. So take no mean here.

    dy (O, N), x (D, N), W (O, D) -> dW (O, D), db (O,), dx (D, N), returned in this order
    """
    raise NotImplementedError
