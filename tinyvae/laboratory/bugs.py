"""The classic mistakes in a VAE. Each is made by patches: wrong functions in place of right ones.

docs/bugs.md shows what each mistake does, examples/bugs.py measures it, and tests/test_bugs.py
checks that the test which is named here finds it.
"""

import math
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import NamedTuple
from unittest.mock import patch

import numpy as np

from tinyvae.engine import activations, gaussian, likelihoods
from tinyvae.engine.activations import ReLU, sigmoid
from tinyvae.engine.backend import array_module
from tinyvae.engine.layers import Linear, Sequential
from tinyvae.engine.likelihoods import Bernoulli
from tinyvae.engine.module import Layer
from tinyvae.models import vae
from tinyvae.models.networks import MLPNetworks
from tinyvae.rng import generator
from tinyvae.training import evaluation


class Bug(NamedTuple):
    """A mistake: the patches that make it, and what finds it.

    A mistake in a formula is made in the gradient of the formula too, as autograd would make it.
    A function that another module has imported by its name is patched in that module too.
    """

    patches: tuple  # each is (module or class, name of the function in it, replacement)
    caught_by: str  # the test that finds the mistake, as pytest names the test
    seen_by_gradcheck: bool  # whether a gradient check of vae_with_skip_connection finds it


@contextmanager
def planted(patches):
    """Inside this `with` the replacements are in place; afterwards the right functions are."""
    with ExitStack() as stack:
        for owner, name, replacement in patches:
            stack.enter_context(patch.object(owner, name, replacement))
        yield


# The standard deviation is exp(logvar / 2), not exp(logvar).


def std_is_exp_logvar(mu, logvar, eps):
    return mu + array_module(logvar).exp(logvar) * eps


def std_is_exp_logvar_backward(dz, logvar, eps):
    return dz, dz * eps * array_module(logvar).exp(logvar)


# A log-density is a sum over pixels, not a mean.


def mean_over_pixels(self, x, logits):
    return likelihoods._bernoulli_log_prob(x, logits).mean(axis=0)


def mean_over_pixels_backward(self, dlog_prob, x, logits):
    return likelihoods._bernoulli_backward(x, logits, dlog_prob) / len(x)


# The ELBO is a mean over z ~ q(z|x). Without noise, z is always mu.


def generator_of_zeros(seed, purpose, epoch=0):
    return SimpleNamespace(standard_normal=np.zeros)


# The decoder's output is logits. An image is the sigmoid of the logits.


def logits_as_a_picture(self, logits):
    return logits


# The loss takes logits. Here the logits pass through the sigmoid before they enter the loss.


def sigmoid_twice(self, x, logits):
    return likelihoods._bernoulli_log_prob(x, sigmoid(logits)).sum(axis=0)


def sigmoid_twice_backward(self, dlog_prob, x, logits):
    p = sigmoid(logits)
    return likelihoods._bernoulli_backward(x, p, dlog_prob) * (p * (1 - p))


# The importance-weighted bound is the log of the mean of the weights, not of their sum.


def log_of_the_sum(
    model, images, samples, *arguments, right=evaluation.importance_weighted_bound, **options
):
    return right(model, images, samples, *arguments, **options) + math.log(samples)


# A backward must not write into the gradient that it receives, because another branch reads it.


def overwritten_dz(dz, logvar, eps):
    dlogvar = dz  # no copy: from here on dmu is wrong
    dlogvar *= eps * (0.5 * array_module(logvar).exp(0.5 * logvar))
    return dz, dlogvar


def overwritten_dy(dy, y, dx):
    dy *= y > 0
    dx[...] = dy


BUGS = {
    "std for variance": Bug(
        (
            (gaussian, "reparameterize", std_is_exp_logvar),
            (vae, "reparameterize", std_is_exp_logvar),
            (gaussian, "reparameterize_backward", std_is_exp_logvar_backward),
            (vae, "reparameterize_backward", std_is_exp_logvar_backward),
        ),
        "tests/test_gaussian.py::test_reparameterize_has_the_mean_and_the_variance[numpy-3.0--2.0]",
        False,
    ),
    "mean over pixels": Bug(
        (
            (Bernoulli, "log_prob", mean_over_pixels),
            (Bernoulli, "backward", mean_over_pixels_backward),
        ),
        "tests/test_likelihoods.py::test_bernoulli_sums_to_one_over_all_images[numpy]",
        False,
    ),
    "evaluating the mean": Bug(
        ((evaluation, "generator", generator_of_zeros),),
        "tests/test_evaluation.py::test_the_mean_of_q_would_look_better[numpy]",
        False,
    ),
    "forgotten sigmoid": Bug(
        ((Bernoulli, "mean", logits_as_a_picture),),
        "tests/test_models_use.py::test_decode_gives_the_mean_of_the_likelihood[numpy]",
        False,
    ),
    "sigmoid twice": Bug(
        (
            (Bernoulli, "log_prob", sigmoid_twice),
            (Bernoulli, "backward", sigmoid_twice_backward),
        ),
        "tests/test_likelihoods.py::test_bernoulli_against_scipy[numpy]",
        False,
    ),
    "sum of the weights": Bug(
        ((evaluation, "importance_weighted_bound", log_of_the_sum),),
        "tests/test_exact.py::test_bounds_rise_from_the_elbo_to_log_p[numpy]",
        False,
    ),
    "overwritten in the VAE": Bug(
        (
            (gaussian, "reparameterize_backward", overwritten_dz),
            (vae, "reparameterize_backward", overwritten_dz),
        ),
        "tests/test_models.py::test_every_element_of_the_vaes_gradient[plain-1-bernoulli]",
        True,
    ),
    "overwritten by ReLU": Bug(
        ((activations, "_relu_backward", overwritten_dy),),
        "tests/test_layers.py::test_inputs_are_left_alone[numpy-ReLU]",
        True,
    ),
}


def patches_of(name):
    """The patches of the bug with this name, and no patches for any other name."""
    return BUGS[name].patches if name in BUGS else ()


# The last mistake matters only in a network with two branches. The tutorial's networks are chains:
# nothing else reads the gradient that a ReLU receives, and tinyvae writes over it on purpose.


class Residual(Layer):
    """y = x + inside(x), for an `inside` that ends in a ReLU."""

    def __init__(self, inside):
        self.inside = inside

    def forward(self, x):
        return x + self.inside.forward(x)

    def backward(self, dy):
        dx = self.inside.backward(dy)
        return dy + dx


class ResidualNetworks(MLPNetworks):
    """MLPNetworks whose trunk has one more layer, and a connection that skips this layer."""

    def trunk(self):
        width = self.hidden[-1]
        inside = Sequential(Linear(width, width, rng=self.rng), ReLU())
        return Sequential(super().trunk(), Residual(inside))


def vae_with_skip_connection(latent_dim=20, seed=0):
    """make_model(network="mlp") with ResidualNetworks in place of MLPNetworks."""
    networks = ResidualNetworks((1, 28, 28), (400,), generator(seed, "init"))
    return vae.VAE.build(networks, latent_dim, Bernoulli())
