"""ELBO surgery: what a VAE's KL is made of.

Averaged over N images, the KL to the prior is information about which image it is, and the distance
of all codes together, the aggregate posterior q(z) = mean over n of q(z|x_n), from the prior:

    mean of KL(q(z|x_n) || p(z)) = I(n; z) + KL(q(z) || p(z))

Hoffman and Johnson 2016, *ELBO surgery*, eq. 6 and 7.
"""

import math

import numpy as np
from scipy.special import logsumexp

from tinyvae.backend import to_host
from tinyvae.data.batches import to_float
from tinyvae.gaussian import kl_to_standard, log_density, reparameterize

CHUNK = 1 << 22  # numbers in memory at a time
BATCH = 200  # images encoded at a time


def posteriors(model, images):
    """q(z|x) of a VAE for uint8 images (N, C, H, W): mu and logvar (N, L), on the host."""
    batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    pairs = [[to_host(part) for part in model.encode(to_float(batch))] for batch in batches]
    mu, logvar = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    return mu, logvar


def surgery(mu, logvar, rng):
    """The parts of the KL to N(0, I), from q's mu and logvar (N, L) of N images, in nats an image.

    kl, information and aggregate_kl of the whole code, kl = information + aggregate_kl; and
    kl_per_dimension and information_per_dimension (L,), each dimension as if it were the code.

    The KL is exact. The information is the mean of log q(z|x_n) - log q(z) over the images, with
    one z ~ q(z|x_n) each, drawn by the NumPy generator rng. It tells N images apart and is log N at
    most: where it comes near that, as with many dimensions it does, it is a lower bound on what the
    code says about an image of the whole population, and aggregate_kl is an upper bound.
    Raises ValueError for other shapes.
    """
    mu, logvar = np.asarray(mu, np.float64), np.asarray(logvar, np.float64)
    if mu.ndim != 2 or mu.shape != logvar.shape or not mu.size:
        raise ValueError(f"mu and logvar must be (N, L), got {mu.shape} and {logvar.shape}")
    n, latent_dim = mu.shape
    z = reparameterize(mu, logvar, rng.standard_normal(mu.shape))
    own = log_density(z, mu, logvar)  # log q(z|x_n) of each dimension, (N, L)
    log_q, log_q_per_dimension = np.empty(n), np.empty((n, latent_dim))
    size = max(1, CHUNK // mu.size)
    for rows in (slice(start, start + size) for start in range(0, n, size)):
        pairs = log_density(z[rows, None], mu, logvar)  # (rows, N, L)
        log_q[rows] = logsumexp(pairs.sum(axis=2), axis=1) - math.log(n)
        log_q_per_dimension[rows] = logsumexp(pairs, axis=1) - math.log(n)
    kl = kl_to_standard(mu, logvar).mean(axis=0)
    information = float((own.sum(axis=1) - log_q).mean())
    return {
        "kl": float(kl.sum()),
        "information": information,
        "aggregate_kl": float(kl.sum()) - information,
        "kl_per_dimension": kl.tolist(),
        "information_per_dimension": (own - log_q_per_dimension).mean(axis=0).tolist(),
    }
