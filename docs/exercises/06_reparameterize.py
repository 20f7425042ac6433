"""Exercise 6: reparameterization, and the gradient through it.

The encoder describes the posterior approximation N(mu, sigma^2) by two arrays, mu and logvar, with
logvar = log sigma^2. A sample of it is z = mu + sigma * eps, where eps is noise from N(0, 1). The
noise is an argument: do not draw it in the function. For the gradient it is a constant.

Chapter: docs/book/07_reparameterization.md, and docs/book/08_gradients.md, "Formulas".
Check: python -m tinyvae.exercises docs/exercises/06_reparameterize.py
"""

import numpy as np


def reparameterize(mu, logvar, eps):
    """z = mu + sigma * eps.

    mu, logvar, eps (L, N) -> z (L, N)
    """
    raise NotImplementedError


def reparameterize_backward(dz, logvar, eps):
    """The gradients of the loss with respect to mu and logvar, from dz, the gradient for z.

    Do not write into dz: other code may still need it.

    dz, logvar, eps (L, N) -> dmu (L, N), dlogvar (L, N), returned in this order
    """
    raise NotImplementedError
