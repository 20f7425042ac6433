"""Exercise 3: the sigmoid and the Bernoulli cross-entropy, computed from logits.

A decoder puts out one logit t for each pixel, any real number. The pixel is 1 with the probability
sigmoid(t) = 1 / (1 + exp(-t)). For a pixel x from 0 to 1 the cross-entropy is

    -( x log sigmoid(t) + (1 - x) log(1 - sigmoid(t)) )

The loss is in nats per example: the sum over the D pixels, and the mean over the N examples.

All three functions must give finite, correct numbers for logits such as 1000 and -1000. For these
exp(1000) overflows, and log(0) is not finite. So first rewrite each formula such that it contains
exp of negative numbers (or 0) only. Clipping the probability changes the loss, and is no solution.

Chapter: docs/book/05_decoders.md, and docs/book/08_gradients.md, "Formulas".
Check: python -m tinyvae.exercises docs/exercises/03_cross_entropy.py
"""

import numpy as np


def sigmoid(logits):
    """1 / (1 + exp(-t)) for each logit t.

    logits (D, N) -> (D, N)
    """
    raise NotImplementedError


def cross_entropy(logits, x):
    """The loss: the sum over the pixels and the mean over the examples of the cross-entropy.

    logits (D, N), x (D, N) with values from 0 to 1 -> one number
    """
    raise NotImplementedError


def cross_entropy_grad(logits, x):
    """The gradient of this loss with respect to the logits. The mean over the N examples is in it.

    logits (D, N), x (D, N) -> dlogits (D, N)
    """
    raise NotImplementedError
