"""With sigma as the square root of the variance."""

import numpy as np


def reparameterize(mu, logvar, eps):
    sigma = np.sqrt(np.exp(logvar))
    return mu + sigma * eps


def reparameterize_backward(dz, logvar, eps):
    sigma = np.sqrt(np.exp(logvar))
    dmu = dz
    dlogvar = dz * eps * sigma / 2
    return dmu, dlogvar
