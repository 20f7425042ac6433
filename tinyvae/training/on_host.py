"""A model seen from the host: NumPy arrays in and out, batch by batch, wherever it computes."""

import numpy as np

from tinyvae.data.batches import to_float
from tinyvae.engine.backend import array_module, to_host
from tinyvae.engine.gaussian import reparameterize
from tinyvae.models.base import as_vectors, batch_last

BATCH = 500


def embed(model, images):
    """uint8 images (N, C, H, W) -> the codes of a model, (N, L); of a VAE the means of q(z|x)."""
    return in_batches(model, lambda x: model.embed(to_float(x)), images)


def draws(vae, images, rng):
    """uint8 images (N, C, H, W) -> one z ~ q(z|x) for each, (N, L), by the NumPy generator rng."""
    eps = rng.standard_normal((len(images), vae.latent_dim), dtype=np.float32)
    return in_batches(
        vae, lambda x, eps: reparameterize(*vae.encode(to_float(x)), eps), images, eps
    )


def posteriors(vae, images):
    """uint8 images (N, C, H, W) -> mu and logvar of q(z|x), each (N, L)."""

    def of(x):
        return array_module(x).stack(vae.encode(to_float(x)), axis=1)  # (N, 2, L)

    both = in_batches(vae, of, images)
    return both[:, 0], both[:, 1]


def decode(model, z):
    """Codes z (..., L) -> the mean images of p(x|z), (..., C, H, W)."""
    z = np.asarray(z, dtype=np.float32)
    images = in_batches(model, model.decode, z.reshape(-1, z.shape[-1]))
    return images.reshape(*z.shape[:-1], *images.shape[1:])


def log_prob(model, images, z):
    """log p(x|z) in nats, (N,), of uint8 images (N, C, H, W) and codes z (N, L)."""

    def of(x, z):
        n = len(x)
        x, z = (batch_last(a, model.theta) for a in (to_float(x), z))
        output = model.decoder.forward(z)
        return model.likelihood.log_prob(as_vectors(x, n), as_vectors(output, n))

    return in_batches(model, of, images, z.astype(np.float32))


def in_batches(module, function, *arrays):
    """function(*arrays) of arrays (N, ...) on the host; it gets and gives those of the device."""
    xp = array_module(module.theta)
    starts = range(0, len(arrays[0]), BATCH)
    parts = [[xp.asarray(a[start : start + BATCH]) for a in arrays] for start in starts]
    return np.concatenate([to_host(function(*part)) for part in parts])
