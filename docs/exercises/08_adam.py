"""Exercise 8: one step of Adam, as in the paper (Kingma and Ba 2015, algorithm 1).

theta is the vector of all parameters, grad is the gradient of the loss with respect to theta.
Adam keeps two running means: m of grad, with the decay beta1, and v of the square of grad, with the
decay beta2. A running mean with the decay beta is: new = beta * old + (1 - beta) * newest value.

Both start at 0 before step t = 1, so they are too small in the first steps. Adam corrects this: it
divides m by 1 - beta1^t, and v by 1 - beta2^t. The corrected numbers are used in this step only. m
and v are kept without the correction. Every parameter then moves against its gradient by

    lr * (corrected m) / (square root of (corrected v), plus eps)

Chapter: docs/book/09_training.md, and docs/book/08_gradients.md, "Adam".
Check: python -m tinyvae.exercises docs/exercises/08_adam.py
"""

import numpy as np


def adam_step(theta, grad, m, v, t, lr, beta1, beta2, eps):
    """Step number t, counted from 1. Return new arrays: do not write into theta, grad, m and v.

    theta, grad, m, v: vectors of the same length; t, lr, beta1, beta2, eps: numbers
    -> theta, m, v after the step, returned in this order
    """
    raise NotImplementedError
