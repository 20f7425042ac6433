"""Models by name: `make_model` puts networks, likelihood and model together.

A new model takes its own file and one line in MODELS; a new likelihood one line in LIKELIHOODS.
"""

import numpy as np

from tinyvae.engine.likelihoods import Bernoulli, LearnedGaussian
from tinyvae.errors import UserError
from tinyvae.models.autoencoder import Autoencoder
from tinyvae.models.networks import ConvNetworks, MLPNetworks
from tinyvae.models.vae import VAE
from tinyvae.rng import generator

MODELS = {"vae": VAE, "ae": Autoencoder}
NETWORKS = {"conv": ConvNetworks, "mlp": MLPNetworks}


def _gaussian(shape):
    """One learned sigma^2 for all pixels of an image, or one for each column of a table."""
    # sigma^2 starts near the squared error of guessing a constant: 0.1 for a pixel of MNIST, 1 for
    # a standardized column.
    return LearnedGaussian(1.0, shape[0]) if len(shape) == 1 else LearnedGaussian(0.1)


LIKELIHOODS = {"bernoulli": lambda shape: Bernoulli(), "gaussian": _gaussian}


def make_model(
    model="vae",
    network="conv",
    latent_dim=20,
    likelihood="bernoulli",
    hidden=(400,),
    shape=(1, 28, 28),
    seed=0,
):
    """The model of this name; the defaults are the tutorial's model for MNIST.

    model: "vae" or "ae"; network: "conv", or "mlp" with the widths `hidden`; likelihood:
    "bernoulli", or "gaussian" with a learned sigma^2; shape: of one example, (C, H, W) or (D,).
    Raises UserError for others.
    """
    for what, value, choices in (
        ("model", model, MODELS),
        ("network", network, NETWORKS),
        ("likelihood", likelihood, LIKELIHOODS),
    ):
        if value not in choices:
            raise UserError(f"--{what} must be one of {', '.join(choices)}, got {value!r}")
    hidden, shape = tuple(hidden), tuple(shape)
    _require_counts("latent-dim", (latent_dim,))
    _require_counts("hidden", hidden)
    if len(shape) not in (1, 3) or min(shape) < 1:
        raise UserError(f"shape must be (C, H, W) or (D,), got {shape}")
    networks = NETWORKS[network](shape, hidden, generator(seed, "init"))
    built = MODELS[model].build(networks, latent_dim, LIKELIHOODS[likelihood](shape))
    built.shape = shape
    built.settings = {
        "model": model,
        "network": network,
        "latent_dim": latent_dim,
        "likelihood": likelihood,
        "hidden": list(hidden),
        "shape": list(shape),
        "seed": seed,
    }
    return built


def _require_counts(name, values):
    whole = all(isinstance(value, int | np.integer) and value >= 1 for value in values)
    if not values or not whole:
        got = ",".join(map(str, values))
        raise UserError(f"--{name} must be whole numbers of at least 1, got {got or 'nothing'}")
