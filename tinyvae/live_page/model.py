"""A trained model as JSON holds it: its layers from first to last, with their weights."""

import base64
import math

import numpy as np

from tinyvae.engine.activations import ReLU, Sigmoid, Tanh
from tinyvae.engine.layers import Conv2d, ConvTranspose2d, Flatten, Linear, Reshape
from tinyvae.engine.likelihoods import Bernoulli, LearnedGaussian
from tinyvae.errors import UserError
from tinyvae.models.cvae import ONE
from tinyvae.training.program import not_on_a_page

LAYERS = (Linear, Conv2d, ConvTranspose2d, Reshape, Flatten, ReLU, Sigmoid, Tanh)


def describe_model(model, dtype=np.float16):
    """A dict for JSON, from which the class Model in source/model.js computes what `model` does.

    model: an autoencoder, VAE, IWAE or CVAE on the host, built by make_model for images of 1 or 3
    channels. dtype: of the weights in the page. Raises UserError for another model, and for weights
    that are too large for the dtype.
    """
    require_shown(model.settings)
    kind, encoder, decoder = model.settings["model"], model.encoder, model.decoder
    if kind == "ae":
        *trunk, mu = encoder.layers
        heads = {"mu": mu}
    else:
        trunk, heads = encoder.trunk.layers, {"mu": encoder.mu, "logvar": encoder.logvar}
    network = decoder.network if kind == "cvae" else decoder
    return {
        "kind": kind,
        "shape": list(model.shape),
        "latent_dim": model.latent_dim,
        "classes": model.classes,
        "one": ONE,
        "encoder": {"trunk": [describe_layer(layer, dtype) for layer in trunk]}
        | {name: describe_layer(head, dtype) for name, head in heads.items()},
        "decoder": [describe_layer(layer, dtype) for layer in network.layers],
        "likelihood": _describe_likelihood(model.likelihood),
    }


def require_shown(settings):
    """Raise UserError unless the page can show a model of these settings, those of make_model."""
    if settings is None:
        raise UserError("the live page shows models of make_model; this model was built otherwise")
    if reason := not_on_a_page(settings):
        raise UserError(reason)


def describe_layer(layer, dtype):
    """{"layer": its class, and the arguments of the class of the same name in source/layers.js}."""
    kind = type(layer)
    if kind not in LAYERS:  # nor a class derived from one of them: its forward may differ
        raise UserError(f"the live page has no layer {kind.__name__}")
    about = {"layer": kind.__name__}
    if kind in (Linear, Conv2d, ConvTranspose2d):
        about |= {"weight": pack(layer.weight.value, dtype), "bias": pack(layer.bias.value, dtype)}
    if kind in (Conv2d, ConvTranspose2d):
        _, stride, padding = layer.geometry
        about |= {"stride": stride, "padding": padding}
    if kind is ConvTranspose2d:
        about["output_padding"] = layer.output_padding
    if kind is Reshape:
        about["shape"] = layer.shape
    return about


def _describe_likelihood(likelihood):
    kind = type(likelihood)
    if kind not in (Bernoulli, LearnedGaussian):
        raise UserError(f"the live page has no likelihood {kind.__name__}")
    about = {"name": kind.__name__}
    if kind is LearnedGaussian:
        about["logvar"] = pack(likelihood.logvar.value, np.float32)
    return about


def pack(array, dtype):
    """An array as {shape, dtype, data}: base64 of its numbers, the last axis fastest.

    Raises UserError for finite numbers that are infinite in this dtype.
    """
    with np.errstate(over="ignore"):
        packed = np.ascontiguousarray(array, dtype=np.dtype(dtype).newbyteorder("<"))
    if not math.isfinite(abs(packed).max(initial=0)):
        raise UserError(f"a weight of {abs(array).max():g} is too large for {np.dtype(dtype)}")
    return {
        "shape": list(packed.shape),
        "dtype": np.dtype(dtype).name,
        "data": base64.b64encode(packed.tobytes()).decode(),
    }
