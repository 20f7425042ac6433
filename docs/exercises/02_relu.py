"""Exercise 2: the ReLU, forward and backward.

The ReLU takes each number by itself: y = x where x is positive, and y = 0 elsewhere.
At x = 0 it has no derivative. By convention its derivative there is 0.

Do not write into the arrays that a function is given. Another branch of the network may still need
them. The grader compares them before and after the call.

Chapter: docs/book/08_gradients.md, "ReLU, sigmoid, tanh".
Check: python -m tinyvae.exercises docs/exercises/02_relu.py
"""

import numpy as np


def relu_forward(x):
    """y = max(x, 0), element by element.

    x (D, N) -> y (D, N)
    """
    raise NotImplementedError


def relu_backward(dy, x):
    """The gradient of the loss with respect to x, from dy, the gradient with respect to y.

    dy (D, N), x (D, N) -> dx (D, N)
    """
    raise NotImplementedError
