"""The networks of the tutorial for 28x28 images, and the models made of them.

A trunk turns images into features; a decoder turns codes into what the likelihood takes, logits or
means. Every network draws its initial weights from `rng`, in the order of its layers.
"""

from tinyvae.engine.activations import ReLU
from tinyvae.engine.layers import Conv2d, ConvTranspose2d, Flatten, Linear, Reshape, Sequential
from tinyvae.engine.likelihoods import Bernoulli, LearnedGaussian
from tinyvae.errors import UserError
from tinyvae.models.autoencoder import Autoencoder
from tinyvae.models.vae import VAE, GaussianEncoder
from tinyvae.rng import generator

IMAGE = (1, 28, 28)
CONV_FEATURES, MLP_WIDTHS = 256, (400,)
MODELS, NETWORKS = ("vae", "ae"), ("conv", "mlp")
LIKELIHOODS = {"bernoulli": Bernoulli, "gaussian": LearnedGaussian}


def conv_trunk(rng):
    """(1, 28, 28, N) -> (32, 14, 14, N) -> (64, 7, 7, N) -> (256, N)."""
    return Sequential(
        Conv2d(1, 32, 3, stride=2, padding=1, rng=rng, needs_input_grad=False),
        ReLU(inplace=True),
        Conv2d(32, 64, 3, stride=2, padding=1, rng=rng),
        ReLU(inplace=True),
        Flatten(),
        Linear(64 * 7 * 7, CONV_FEATURES, rng=rng),
        ReLU(inplace=True),
    )


def conv_decoder(latent_dim, rng):
    """(L, N) -> (256, N) -> (64, 7, 7, N) -> (32, 14, 14, N) -> (1, 28, 28, N)."""
    return Sequential(
        Linear(latent_dim, CONV_FEATURES, rng=rng),
        ReLU(inplace=True),
        Linear(CONV_FEATURES, 64 * 7 * 7, rng=rng),
        ReLU(inplace=True),
        Reshape(64, 7, 7),
        ConvTranspose2d(64, 32, 3, stride=2, padding=1, output_padding=1, rng=rng),
        ReLU(inplace=True),
        ConvTranspose2d(32, 1, 3, stride=2, padding=1, output_padding=1, rng=rng),
    )


def mlp_trunk(widths, rng):
    """(1, 28, 28, N) -> (784, N) -> (widths[0], N) -> ... -> (widths[-1], N)."""
    first = Linear(784, widths[0], rng=rng, needs_input_grad=False)
    return Sequential(Flatten(), first, ReLU(inplace=True), *_dense(widths, rng))


def mlp_decoder(latent_dim, widths, rng):
    """(L, N) -> (widths[-1], N) -> ... -> (widths[0], N) -> (1, 28, 28, N): the mirror image."""
    hidden = _dense((latent_dim, *reversed(widths)), rng)
    return Sequential(*hidden, Linear(widths[0], 784, rng=rng), Reshape(*IMAGE))


def _dense(widths, rng):
    layers = []
    for inside, outside in zip(widths[:-1], widths[1:], strict=True):
        layers += [Linear(inside, outside, rng=rng), ReLU(inplace=True)]
    return layers


def make_model(model="vae", network="conv", latent_dim=20, likelihood="bernoulli", seed=0):
    """The tutorial's model of this name: "vae" or "ae", "conv" or "mlp" (784-400-L).

    likelihood: "bernoulli", or "gaussian" with one learned sigma^2. Raises UserError for others.
    """
    for what, value, choices in (
        ("model", model, MODELS),
        ("network", network, NETWORKS),
        ("likelihood", likelihood, LIKELIHOODS),
    ):
        if value not in choices:
            raise UserError(f"{what} must be one of {', '.join(choices)}, got {value!r}")
    if latent_dim < 1:
        raise UserError(f"latent_dim must be at least 1, got {latent_dim}")
    rng = generator(seed, "init")
    if network == "conv":
        trunk, features = conv_trunk(rng), CONV_FEATURES
        decoder = conv_decoder(latent_dim, rng)
    else:
        trunk, features = mlp_trunk(MLP_WIDTHS, rng), MLP_WIDTHS[-1]
        decoder = mlp_decoder(latent_dim, MLP_WIDTHS, rng)
    likelihood = LIKELIHOODS[likelihood]()
    if model == "ae":
        encoder = Sequential(*trunk.layers, Linear(features, latent_dim, rng=rng))
        return Autoencoder(encoder, decoder, likelihood, latent_dim)
    return VAE(GaussianEncoder(trunk, features, latent_dim, rng=rng), decoder, likelihood)
