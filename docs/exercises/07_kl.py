"""Exercise 7: the KL divergence of a Gaussian from N(0, 1), and its gradient.

mu and logvar = log sigma^2 describe N(mu, sigma^2) for each of L dimensions of N examples. For one
dimension, KL( N(mu, sigma^2) || N(0, 1) ) is the mean of log q(z) - log p(z) over z ~ q, where q is
the density of N(mu, sigma^2) and p is the density of N(0, 1). The KL of an example is the sum over
its dimensions. Derive the closed form, or look it up in the chapter.

The loss here is the KL in nats per example: the sum over the L dimensions, the mean over the N
examples.

Chapter: docs/book/06_gaussian_kl.md.
Check: python -m tinyvae.exercises docs/exercises/07_kl.py
"""

import numpy as np


def kl_loss(mu, logvar):
    """The KL in nats per example.

    mu, logvar (L, N) -> one number
    """
    raise NotImplementedError


def kl_loss_grad(mu, logvar):
    """The gradient of this loss with respect to mu and logvar. The mean over N is in it.

    mu, logvar (L, N) -> dmu (L, N), dlogvar (L, N), returned in this order
    """
    raise NotImplementedError
