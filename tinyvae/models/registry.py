"""Models by name: `make_model` puts networks, likelihood and model together.

A new model takes its own file and one line in MODELS; a new likelihood one line in LIKELIHOODS.
"""

from numbers import Integral, Real

from tinyvae.engine.likelihoods import Bernoulli, LearnedGaussian
from tinyvae.errors import UserError, shown
from tinyvae.models.autoencoder import Autoencoder
from tinyvae.models.networks import ConvNetworks, MLPNetworks
from tinyvae.models.vae import VAE
from tinyvae.rng import generator

MODELS = {"vae": VAE, "ae": Autoencoder}
MOST = 2**29  # of a width: NumPy can express the size of a matrix of two such widths
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
        if not isinstance(value, str) or value not in choices:
            got = shown(value)
            raise UserError(f"--{what} must be one of {', '.join(choices)}, got {got}")
    (latent_dim,), hidden = _counts("latent-dim", (latent_dim,)), _counts("hidden", hidden)
    shape = tuple(shape) if isinstance(shape, list | tuple) else (shape,)
    if len(shape) not in (1, 3) or not all(map(_is_count, shape)):
        raise UserError(f"shape must be (C, H, W) or (D,), got {shown(shape)}")
    shape = tuple(map(int, shape))
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
        "seed": int(seed),
    }
    return built


def _counts(name, values):
    """The values as ints. Raises UserError unless they are whole numbers from 1 to MOST."""
    values = tuple(values) if isinstance(values, list | tuple) else (values,)
    if not values or not all(map(_is_count, values)):
        large = any(isinstance(value, Integral | float) and value > MOST for value in values)
        limits = f"of at least 1 and at most {MOST}" if large else "of at least 1"
        got = ",".join(map(shown, values)) or "nothing"
        raise UserError(f"--{name} must be whole numbers {limits}, got {got}")
    return tuple(map(int, values))


def _is_count(value):
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return float(value) == int(value) and 1 <= int(value) <= MOST
    except (OverflowError, ValueError):  # infinite, or NaN
        return False
