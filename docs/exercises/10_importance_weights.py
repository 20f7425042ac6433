"""Exercise 10: importance weights, and the importance-weighted bound.

For each of N examples x there are S samples z from q(z|x) = N(mu, sigma^2), with logvar = log
sigma^2. The prior p(z) is N(0, 1) in each of the L dimensions. The importance weight of a sample is

    w = p(x|z) p(z) / q(z|x)

The mean of w over the samples of an example estimates p(x). Weights are as small as exp(-2000) and
smaller. In floating point numbers this is 0, so keep their logarithms only: subtract the largest
logarithm of each example before you take the exponential, and account for it afterwards. log N(z;
mu, sigma^2) of a vector z is the sum over its L dimensions. The constants log(2 pi) of log p(z) and
log q(z|x) cancel.

Chapter: docs/book/04_tightness.md.
Check: python -m tinyvae.exercises docs/exercises/10_importance_weights.py
"""

import numpy as np


def log_weights(log_px, z, mu, logvar):
    """log w = log p(x|z) + log p(z) - log q(z|x) for each sample of each example.

    log_px = log p(x|z) (S, N), z (L, S, N), mu and logvar (L, N) -> log_w (S, N)
    """
    raise NotImplementedError


def normalised_weights(log_w):
    """The weights of each example, divided by their sum over the S samples of that example.

    log_w (S, N) -> (S, N), in which each column sums to 1
    """
    raise NotImplementedError


def importance_weighted_bound(log_w):
    """The logarithm of the mean of w over the S samples, for each example.

    log_w (S, N) -> (N,)
    """
    raise NotImplementedError
