"""By a choice for each element."""

import numpy as np


def relu_forward(x):
    return np.where(x > 0, x, 0.0)


def relu_backward(dy, x):
    dx = dy.copy()
    dx[x <= 0] = 0
    return dx
