"""The closed form."""

import numpy as np


def kl_loss(mu, logvar):
    kl = 0.5 * (mu**2 + np.exp(logvar) - 1 - logvar)
    return np.mean(np.sum(kl, axis=0))


def kl_loss_grad(mu, logvar):
    N = mu.shape[1]
    dmu = mu / N
    dlogvar = 0.5 * (np.exp(logvar) - 1) / N
    return dmu, dlogvar
