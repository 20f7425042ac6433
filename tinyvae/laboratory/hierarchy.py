"""What each latent layer of a hierarchical VAE holds, and what it decides about the model's draws.

A draw takes noise for every layer, and a layer depends on its own noise and on the noise above it.
So to hold a layer and all layers above it means to hold their noise.
"""

import numpy as np

from tinyvae.rng import generator
from tinyvae.training import on_host
from tinyvae.training.evaluation import evaluate, importance_weighted_bound

IMAGES, SAMPLES = 1000, 100  # for the importance-weighted bound
GROUPS, DRAWS = 500, 20  # for share_of_variance


def measure(trainer, seed=0):
    """Numbers about a trained VAE or hierarchical VAE on the test images, in nats per image.

    total: the negative ELBO; nll: the negative importance-weighted bound of the first 1000 images
    with 100 samples. kl, active_units, share_of_variance: of each layer, z_1 first.
    """
    model, x = trainer.model, trainer.x_test
    found, layers = evaluate(model, x, seed=seed), range(1, len(model.latent_layers) + 1)
    bound = importance_weighted_bound(model, x[:IMAGES], SAMPLES, seed=seed)
    return {
        "total": found["total"],
        "nll": -float(bound.mean()),
        "reconstruction": found["reconstruction"],
        "kl": [found[f"kl_{i}"] for i in layers] or [found["kl"]],
        "active_units": [found[f"active_units_{i}"] for i in layers] or [found["active_units"]],
        "share_of_variance": share_of_variance(model, generator(seed, "layers")),
        "parameters": model.theta.size,
        "seconds": sum(row["seconds"] for row in trainer.history),
    }


def redrawn(model, held, rows, columns, rng):
    """Mean images (rows, columns, C, H, W) from the prior; in a row, the layers in `held` stay.

    held: indices of layers, 0 is z_1. The noise of these layers is drawn once for each row, and the
    noise of the other layers for each image.
    """
    noise = rng.standard_normal((rows, columns, model.noise_dim), dtype=np.float32)
    stops = np.cumsum(model.latent_layers)
    for layer in held:
        own = slice(stops[layer] - model.latent_layers[layer], stops[layer])
        noise[:, :, own] = noise[:, :1, own]
    noise = noise.reshape(rows * columns, -1)
    images = on_host.in_batches(model, lambda part: model.decode(model.codes_from(part)), noise)
    return images.reshape(rows, columns, *images.shape[1:])


def share_of_variance(model, rng):
    """How much of the variance of drawn mean images each layer and those above it decide, (T,).

    It is 1 for z_1. For z_i it is the variance between groups of images that share z_i, ..., z_T,
    over the whole variance; both are sums over the pixels. These are the estimates of the analysis
    of variance with random effects (Searle, Casella and McCulloch 1992). They are
    unbiased, so that a small negative number may stand for 0.
    """
    shares = [1.0]
    for layer in range(1, len(model.latent_layers)):
        held = range(layer, len(model.latent_layers))
        images = redrawn(model, held, GROUPS, DRAWS, rng).reshape(GROUPS, DRAWS, -1)
        within = images.var(axis=1, ddof=1, dtype=np.float64).mean(axis=0).sum()
        means = images.mean(axis=1, dtype=np.float64)
        between = means.var(axis=0, ddof=1).sum() - within / DRAWS
        shares.append(float(between / (between + within)))
    return shares
