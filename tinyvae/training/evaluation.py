"""How good a model is on images it may not have seen: the ELBO, the likelihood, what it uses.

Noise belongs to an image, not to its batch, and sums are taken in float64: the numbers do not
depend on the batch size. All losses are in nats per image.
"""

import math

import numpy as np

from tinyvae.data.batches import to_float
from tinyvae.engine.backend import array_module, to_host
from tinyvae.models.vae import VAE
from tinyvae.rng import generator

ACTIVE_VARIANCE = 0.01  # Burda, Grosse and Salakhutdinov 2016, section 5.2
CHUNK = 10  # importance samples decoded at a time: bounds the memory


def evaluate(model, images, seed=0, batch_size=200):
    """Numbers of a model on uint8 images (N, C, H, W), NumPy's or those of the model's device.

    reconstruction, kl_per_dimension (L,), kl, and total, the negative ELBO, with one sampled z an
    image (the mean of q instead would look some nats better than the bound is); mse, the squared
    error per pixel of the mean reconstructions; variance_per_dimension (L,), of the codes over
    the images; and active_units, how many of these are above 0.01.
    """
    n = len(images)
    eps = generator(seed, "evaluation").standard_normal((1, n, model.latent_dim), np.float32)
    eps = array_module(model.theta).asarray(eps)
    reconstruction = squared = kl = 0.0
    codes = []
    for batch in _slices(n, batch_size):
        x = _on_device(model, images[batch])
        loss = model.loss(x, eps[:, batch]) if isinstance(model, VAE) else model.loss(x)
        reconstruction += len(x) * float(loss.reconstruction)
        kl += len(x) * to_host(loss.kl)
        codes.append(model.embed(x))
        error = model.decode(codes[-1]) - x
        squared += float((error * error).mean(axis=(1, 2, 3)).sum(dtype=np.float64))
    variance = np.concatenate([to_host(code) for code in codes]).var(axis=0, dtype=np.float64)
    return {
        "total": float((reconstruction + np.sum(kl)) / n),
        "reconstruction": reconstruction / n,
        "kl": float(np.sum(kl) / n),
        "kl_per_dimension": (kl / n).tolist(),
        "mse": squared / n,
        "variance_per_dimension": variance.tolist(),
        "active_units": int((variance > ACTIVE_VARIANCE).sum()),
    }


def importance_weighted_bound(model, images, samples, seed=0, batch_size=100):
    """The importance-weighted bound on log p(x) of a VAE, (N,), from `samples` draws an image.

    log of the mean of p(x, z) / q(z|x), z ~ q: between the ELBO (samples = 1) and log p(x), and
    rising to it. Burda, Grosse and Salakhutdinov 2016, eq. 8. images: uint8 (N, C, H, W).
    """
    n, rng = len(images), generator(seed, "importance samples")
    log_sum = np.full(n, -np.inf)
    for start in range(0, samples, CHUNK):
        size = min(CHUNK, samples - start)
        eps = rng.standard_normal((size, n, model.latent_dim), np.float32)
        eps = array_module(model.theta).asarray(eps)
        for batch in _slices(n, batch_size):
            x = _on_device(model, images[batch])
            log_w = to_host(model.log_weights(x, eps[:, batch])).astype(np.float64)  # (S, N)
            log_sum[batch] = np.logaddexp(log_sum[batch], np.logaddexp.reduce(log_w, axis=0))
    return log_sum - math.log(samples)


def _on_device(model, images):
    return to_float(array_module(model.theta).asarray(images), model.theta.dtype)


def _slices(n, size):
    return [slice(start, start + size) for start in range(0, n, size)]
