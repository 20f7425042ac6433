"""Models by name: `make_model` puts networks, likelihood and model together.

A new model takes its own file and one line in MODELS; a new likelihood one line in LIKELIHOODS.
"""

from numbers import Number

from tinyvae.engine.likelihoods import Bernoulli, LearnedGaussian
from tinyvae.errors import UserError, flag, shown
from tinyvae.models.autoencoder import Autoencoder
from tinyvae.models.cvae import CVAE
from tinyvae.models.flow import FlowVAE
from tinyvae.models.hvae import HVAE
from tinyvae.models.iwae import IWAE
from tinyvae.models.networks import ConvNetworks, MLPNetworks
from tinyvae.models.options import counts, is_count
from tinyvae.models.vae import VAE
from tinyvae.models.vqvae import VQVAE
from tinyvae.rng import generator

MODELS = {
    "vae": VAE,
    "ae": Autoencoder,
    "cvae": CVAE,
    "hvae": HVAE,
    "iwae": IWAE,
    "flow": FlowVAE,
    "vqvae": VQVAE,
}
NETWORKS = {"conv": ConvNetworks, "mlp": MLPNetworks}
HIDDEN = (400,)  # widths of the mlp's layers
FOR_MLP = "--hidden is for --network mlp; leave it out, or use --network mlp"


def _gaussian(shape):
    """One learned sigma^2 for all pixels of an image, or one for each column of a table."""
    # sigma^2 starts near the squared error of guessing a constant: 0.1 for a pixel of MNIST, 1 for
    # a standardized column.
    return LearnedGaussian(1.0, shape[0]) if len(shape) == 1 else LearnedGaussian(0.1)


LIKELIHOODS = {"bernoulli": lambda shape: Bernoulli(), "gaussian": _gaussian}


def all_options():
    """{name: (Option, names of the models that take it)}, of all models."""
    found = {}
    for model, kind in MODELS.items():
        for name, option in kind.options.items():
            found.setdefault(name, (option, []))[1].append(model)
    return found


def make_model(
    model="vae",
    network="conv",
    latent_dim=20,
    likelihood="bernoulli",
    hidden=HIDDEN,
    shape=(1, 28, 28),
    seed=0,
    **options,
):
    """The model of this name; the defaults are the tutorial's model for MNIST.

    model: a name in MODELS; network: "conv", or "mlp" with the widths `hidden`; likelihood:
    "bernoulli", or "gaussian" with a learned sigma^2; shape: of one example, (C, H, W) or (D,);
    options: those of this kind of model, see `all_options`.
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
    kind, options = MODELS[model], _checked_options(model, options)
    if network not in kind.networks:
        raise UserError(
            f"--model {model} takes --network {' or '.join(kind.networks)}, got {network}"
        )
    (latent_dim,), hidden = counts("latent_dim", (latent_dim,)), counts("hidden", hidden)
    if network != "mlp" and hidden != HIDDEN:
        raise UserError(FOR_MLP)
    shape = tuple(shape) if isinstance(shape, list | tuple) else (shape,)
    if len(shape) not in (1, 3) or not all(map(is_count, shape)):
        raise UserError(f"shape must be (C, H, W) or (D,), got {shown(shape)}")
    shape = tuple(map(int, shape))
    networks = NETWORKS[network](shape, hidden, generator(seed, "init"))
    built = kind.build(networks, latent_dim, LIKELIHOODS[likelihood](shape), **options)
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
    built.settings |= {k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}
    built._made_as = _architecture(built)
    return built


def settings_of(model):
    """The arguments of make_model that build this model again; None if none do.

    None are known if make_model did not build it, or if somebody has changed a layer, a likelihood
    or another part of it since.
    """
    unchanged = model.settings and model._made_as == _architecture(model)
    return model.settings if unchanged else None


def _architecture(model):
    """All that a model is but for the values of its parameters, as text to compare: a line a part.

    A line has the name of the module or parameter, its class or shape, and its public attributes.
    """
    lines = []
    for name, module in (*model.named_modules(), ("", model)):
        kind = type(module)
        public = ((k, v) for k, v in vars(module).items() if k[0] != "_" and _is_plain(v))
        lines.append(f"{name}: {kind.__module__}.{kind.__qualname__} {sorted(public)}")
    lines += [f"{name}: {p.value.shape} {p.trained}" for name, p in model.named_parameters()]
    return "\n".join(lines)


def _is_plain(value):
    """Whether a value is a number, a text, None, or a tuple of such."""
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | Number)


def _checked_options(model, given):
    """All options of this model: those given, and the defaults of the others."""
    known, own = all_options(), MODELS[model].options
    for name in given.keys() - own.keys():
        if name not in known:
            raise TypeError(f"make_model() got an unexpected keyword argument '{name}'")
        raise UserError(
            f"{flag(name)} is an option of --model {' and '.join(known[name][1])}, not of {model}; "
            "leave it out"
        )
    return {name: one.checked(name, given.get(name, one.default)) for name, one in own.items()}
