"""What is wrong with a training: the layer where numbers break down, or codes that say nothing."""

import math
from contextlib import contextmanager

from tinyvae.engine.backend import array_module
from tinyvae.engine.module import Layer

COLLAPSED_KL = 0.1  # nats in a latent dimension


def all_finite(*arrays):
    """Whether no element of any array is inf or nan."""
    return all(bool(array_module(x).isfinite(x).all()) for x in arrays)


def not_finite(numbers):
    """The names of those numbers, or lists of numbers, in which a float is not finite."""

    def broken(value):
        values = value if isinstance(value, list) else [value]
        return any(isinstance(v, float) and not math.isfinite(v) for v in values)

    return [name for name, value in numbers.items() if broken(value)]


def first_not_finite(model, compute):
    """What comes first in compute(), a forward and a backward of model: a sentence's subject.

    "the parameter encoder.mu.weight", "the output of encoder.mu", "the gradient of encoder.mu", or
    "the loss or the length of the gradient" where all layers are finite.
    """
    for name, parameter in model.named_parameters():
        if not all_finite(parameter.value):
            return f"the parameter {name}"
    found = []
    with _watched(model, found):
        compute()
    return found[0] if found else "the loss or the length of the gradient"


def collapse_warning(kl):
    """A sentence if the KL of every latent dimension, kl (L,), is under 0.1 nats; None otherwise.

    None for an autoencoder, too: it has no KL, and kl is empty.
    """
    if not len(kl) or max(kl) >= COLLAPSED_KL:
        return None
    return (
        f"WARNING: posterior collapse: the KL is under {COLLAPSED_KL} nats in every latent "
        f"dimension (largest: {max(kl):.4f}), so the decoder learns next to nothing from the code; "
        "lower --beta, raise it slowly by --kl-anneal, or give --free-bits"
    )


@contextmanager
def _watched(model, found):
    """While this lasts, layers report to `found` what is not finite, first things first."""
    layers = [(name, m) for name, m in model.named_modules() if isinstance(m, Layer)]
    for name, layer in layers:
        layer.forward = _reporting(layer.forward, f"the output of {name}", found)
        layer.backward = _reporting(layer.backward, f"the gradient of {name}", found, layer)
    try:
        yield
    finally:
        for _, layer in layers:
            del layer.forward, layer.backward  # the class's own are seen again


def _reporting(function, what, found, layer=None):
    def run(x, **options):
        y = function(x, **options)
        arrays = [] if y is None else [y]  # the first layer's backward has no output
        arrays += [parameter.grad for _, parameter in layer.named_parameters()] if layer else []
        if not all_finite(*arrays):
            found.append(what)
        return y

    return run
