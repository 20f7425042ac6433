"""A model used from the host: NumPy arrays in and out, in batches, on whatever device it computes.

`examples` are x (N, ...) as a Dataset holds them. `labels` (N,) are for a conditional model only.
"""

import numpy as np

from tinyvae.data.batches import to_float
from tinyvae.engine.backend import array_module, to_host
from tinyvae.engine.gaussian import reparameterize
from tinyvae.models.layout import as_vectors, batch_last

BATCH = 500


def embed(model, examples, *labels):
    """One code for each example, (N, L); for a VAE the mean of q(z|x)."""
    return in_batches(model, lambda x, *y: model.embed(to_float(x), *y), examples, *labels)


def reconstruct(model, examples, *labels):
    """The mean reconstruction of each example, (N, ...)."""
    return in_batches(model, lambda x, *y: model.reconstruct(to_float(x), *y), examples, *labels)


def draws(vae, examples, rng, *labels):
    """One draw z ~ q(z|x) for each example, (N, L), by the NumPy generator rng."""
    eps = rng.standard_normal((len(examples), vae.latent_dim), dtype=np.float32)

    def draw(x, eps, *y):
        return reparameterize(*vae.encode(to_float(x), *y), eps)

    return in_batches(vae, draw, examples, eps, *labels)


def posteriors(vae, examples, *labels):
    """mu and logvar of q(z|x) for each example, both (N, L)."""

    def mu_and_logvar(x, *y):
        return array_module(x).stack(vae.encode(to_float(x), *y), axis=1)  # (N, 2, L)

    both = in_batches(vae, mu_and_logvar, examples, *labels)
    return both[:, 0], both[:, 1]


def decode(model, z, *labels):
    """Codes z (..., L) -> the means of p(x|z), (..., *shape of an example); labels: (...)."""
    z, labels = np.asarray(z, dtype=np.float32), [np.reshape(y, -1) for y in labels]
    means = in_batches(model, model.decode, z.reshape(-1, z.shape[-1]), *labels)
    return means.reshape(*z.shape[:-1], *means.shape[1:])


def log_prob(model, examples, z, *labels):
    """log p(x|z) in nats for each example and its code z (N, L): (N,)."""

    def log_px(x, z, *y):
        n = len(x)
        x, z = (batch_last(array, model.theta) for array in (to_float(x), z))
        output = model.decoder.forward(z, *y)
        return model.likelihood.log_prob(as_vectors(x, n), as_vectors(output, n))

    return in_batches(model, log_px, examples, z.astype(np.float32), *labels)


def in_batches(module, function, *arrays):
    """function(*arrays) for arrays (N, ...) on the host; function itself sees device arrays."""
    xp = array_module(module.theta)
    starts = range(0, len(arrays[0]), BATCH)
    parts = [[xp.asarray(a[start : start + BATCH]) for a in arrays] for start in starts]
    return np.concatenate([to_host(function(*part)) for part in parts])
