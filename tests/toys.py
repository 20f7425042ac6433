"""Models and data so small that a test can look at every number in them.

All sizes differ, so that no two axes can be taken for one another unnoticed.
"""

import numpy as np
import pytest

from tinyvae import (
    VAE,
    Autoencoder,
    Bernoulli,
    Flatten,
    Gaussian,
    GaussianEncoder,
    LearnedGaussian,
    Linear,
    Reshape,
    Sequential,
    Tanh,
    to_host,
)
from tinyvae.data import Dataset

SHAPE, PIXELS, LATENT_DIM = (2, 1, 3), 6, 3
LIKELIHOODS = {
    "bernoulli": Bernoulli,
    "gaussian": lambda: Gaussian(0.3),
    "learned gaussian": lambda: LearnedGaussian(0.3),
}


def tiny_decoder(rng):
    return Sequential(
        Linear(LATENT_DIM, 4, rng=rng), Tanh(), Linear(4, PIXELS, rng=rng), Reshape(*SHAPE)
    )


def tiny_vae(likelihood="bernoulli", xp=np, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    trunk = Sequential(Flatten(), Linear(PIXELS, 5, rng=rng), Tanh())
    encoder = GaussianEncoder(trunk, 5, LATENT_DIM, rng=rng)
    return VAE(encoder, tiny_decoder(rng), LIKELIHOODS[likelihood]()).to(xp, dtype)


def tiny_autoencoder(likelihood="bernoulli", xp=np, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    encoder = Sequential(
        Flatten(), Linear(PIXELS, 5, rng=rng), Tanh(), Linear(5, LATENT_DIM, rng=rng)
    )
    model = Autoencoder(encoder, tiny_decoder(rng), LIKELIHOODS[likelihood](), LATENT_DIM)
    return model.to(xp, dtype)


def tiny_batch(n, samples=1, seed=0):
    """Images (n, *SHAPE) in [0, 1] and noise (samples, n, LATENT_DIM)."""
    rng = np.random.default_rng(seed)
    return rng.random((n, *SHAPE)), rng.standard_normal((samples, n, LATENT_DIM))


MODELS = {"vae": tiny_vae, "ae": tiny_autoencoder}


def make(kind, likelihood, **options):
    return MODELS[kind](likelihood, **options)


each_likelihood = pytest.mark.parametrize("likelihood", LIKELIHOODS)
each_model = pytest.mark.parametrize("kind", MODELS)


def loss_of(model, x, eps, **options):
    return model.loss(*model.inputs(x, eps), **options)


def loss_and_gradient(model, x, eps, **options):
    loss = loss_of(model, x, eps, **options)
    model.backward()
    return float(loss.total), to_host(model.grad).copy()


def on_host(values):
    return [to_host(value) for value in values]


def toy_data(train=50, test=30, seed=0):
    """A Dataset of 28x28 images: a bright square somewhere on a dark ground, labelled by row."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 40, (train + test, 1, 28, 28), dtype=np.uint8)
    labels = rng.integers(0, 10, train + test)
    for image, row, column in zip(images, labels, rng.integers(0, 20, train + test), strict=True):
        image[0, 2 * row : 2 * row + 8, column : column + 8] += np.uint8(200)
    return Dataset("toy squares", images[:train], labels[:train], images[train:], labels[train:])


def small(name="MNIST", seed=0):
    """A Dataset of six training and two test images of random pixels."""
    rng = np.random.default_rng(seed)
    return Dataset(
        name,
        rng.integers(0, 256, (6, 1, 28, 28), dtype=np.uint8),
        rng.integers(0, 10, 6),
        rng.integers(0, 256, (2, 1, 28, 28), dtype=np.uint8),
        rng.integers(0, 10, 2),
    )
