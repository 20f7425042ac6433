"""ELBO surgery: the KL of a VAE is the sum of two parts.

One part is the mutual information I(n; z) between the index n of an image and its code. The other
is the KL from the aggregate posterior, q(z) = mean over n of q(z|x_n), to the prior:

    mean over n of KL(q(z|x_n) || p(z)) = I(n; z) + KL(q(z) || p(z))

Hoffman and Johnson 2016, ELBO surgery: yet another way to carve up the evidence lower bound.
"""

import math

import numpy as np
from scipy.special import logsumexp

from tinyvae.engine.gaussian import kl_to_standard, log_density, reparameterize

CHUNK = 1 << 22  # numbers in memory at a time


def kl_per_dimension(mu, logvar):
    """The KL to N(0, 1) of each dimension, a mean over images: (N, L), (N, L) -> (L,), in nats."""
    return kl_to_standard(mu, logvar).mean(axis=0)


def surgery(mu, logvar, rng):
    """The parts of the KL to N(0, I), from mu and logvar (N, L) of N images, in nats per image.

    kl = information + aggregate_kl, as above. marginal_kl is the sum over the dimensions of
    KL(q(z_d) || p(z_d)). The rest of aggregate_kl is the total correlation, which measures how the
    dimensions depend on each other (Chen et al. 2018, section 3). kl_per_dimension and
    information_per_dimension (L,) treat each dimension as if it were the whole code.

    kl is exact. information is the mean of log q(z|x_n) - log q(z) over one z ~ q(z|x_n) for each
    image, drawn by the NumPy generator rng. With N images it is at most log N. If it is near log N,
    more images would give a larger information and a smaller aggregate_kl. The information of a
    single dimension is rarely near log N.
    Raises ValueError for other shapes.
    """
    mu, logvar = np.asarray(mu, np.float64), np.asarray(logvar, np.float64)
    if mu.ndim != 2 or mu.shape != logvar.shape or not mu.size:
        raise ValueError(f"mu and logvar must be (N, L), got {mu.shape} and {logvar.shape}")
    n = len(mu)
    z = reparameterize(mu, logvar, rng.standard_normal(mu.shape))
    own = log_density(z, mu, logvar)  # log q(z_d|x_n), (N, L)
    log_q, log_q_d = np.empty(n), np.empty(mu.shape)  # log q(z) and log q(z_d)
    rows = max(1, CHUNK // mu.size)
    for some in (slice(start, start + rows) for start in range(0, n, rows)):
        pairs = log_density(z[some, None], mu, logvar)  # (rows, N, L)
        log_q[some] = logsumexp(pairs.sum(axis=2), axis=1) - math.log(n)
        log_q_d[some] = logsumexp(pairs, axis=1) - math.log(n)
    kl = kl_per_dimension(mu, logvar)
    information, information_d = (own.sum(axis=1) - log_q).mean(), (own - log_q_d).mean(axis=0)
    return {
        "kl": float(kl.sum()),
        "information": float(information),
        "aggregate_kl": float(kl.sum() - information),
        "marginal_kl": float((kl - information_d).sum()),
        "kl_per_dimension": kl.tolist(),
        "information_per_dimension": information_d.tolist(),
    }
