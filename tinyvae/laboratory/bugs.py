"""The classic mistakes in a VAE: each a patch of one function, and of its gradient if need be.

docs/bugs.md shows what each does, `examples/bugs.py` measures it, and tests/test_bugs.py proves
that the test named here finds it. Nothing else in tinyvae imports this file.
"""

import math
import sys
from contextlib import ExitStack, contextmanager
from types import ModuleType, SimpleNamespace
from typing import NamedTuple
from unittest.mock import patch

import numpy as np

from tinyvae.engine import activations, gaussian, likelihoods
from tinyvae.engine.activations import ReLU, sigmoid
from tinyvae.engine.backend import array_module
from tinyvae.engine.layers import Linear, Sequential
from tinyvae.engine.module import Layer
from tinyvae.models import networks
from tinyvae.training import evaluation


class Bug(NamedTuple):
    """A mistake: what is written in place of which functions, and what finds it.

    A formula has its gradient beside it: a mistake in the formula is made in its gradient too, as
    autograd would; so there are two patches. One is enough where only the gradient is wrong.
    """

    patches: tuple  # of (module or class, name of its function, replacement)
    caught_by: str  # a test, as pytest calls it
    seen_by_gradcheck: bool  # of a VAE with the SKIP_CONNECTION below


@contextmanager
def planted(patches):
    """While this lasts, each replacement stands wherever the function is known by its name."""
    with ExitStack() as stack:
        for owner, name, replacement in patches:
            right = vars(owner)[name]
            places = [owner]
            if isinstance(owner, ModuleType):  # others may have imported it
                modules = [m for m in list(sys.modules.values()) if isinstance(m, ModuleType)]
                places = [module for module in modules if vars(module).get(name) is right]
            for place in places:
                stack.enter_context(patch.object(place, name, replacement))
        yield


# The standard deviation is exp(logvar / 2).


def std_is_exp_logvar(mu, logvar, eps):
    return mu + array_module(logvar).exp(logvar) * eps


def std_is_exp_logvar_backward(dz, logvar, eps):
    return dz * eps * array_module(logvar).exp(logvar)


# A log-density is a sum over pixels.


def mean_over_pixels(self, x, logits):
    return likelihoods._bernoulli_log_prob(x, logits).mean(axis=0)


def mean_over_pixels_backward(self, dlog_prob, x, logits):
    return likelihoods._bernoulli_backward(x, logits, dlog_prob) / len(x)


# The ELBO is a mean over z ~ q(z|x), and mu is not such a z.


def evaluate_the_mean(*arguments, right=evaluation.evaluate, **options):
    no_noise = SimpleNamespace(standard_normal=np.zeros)
    with patch.object(evaluation, "generator", lambda *key: no_noise):
        return right(*arguments, **options)


# The decoder puts out logits: a picture is their sigmoid.


def logits_as_a_picture(self, logits):
    return logits


# And the loss takes the logits: in here they pass through the sigmoid once more.


def sigmoid_twice(self, x, logits):
    return likelihoods._bernoulli_log_prob(x, sigmoid(logits)).sum(axis=0)


def sigmoid_twice_backward(self, dlog_prob, x, logits):
    p = sigmoid(logits)
    return likelihoods._bernoulli_backward(x, p, dlog_prob) * (p * (1 - p))


# The importance-weighted bound is the log of the weights' mean, here of their sum.


def log_of_the_sum(
    model, images, samples, *arguments, right=evaluation.importance_weighted_bound, **options
):
    return right(model, images, samples, *arguments, **options) + math.log(samples)


# A backward may not write into the gradient that it is given: another branch needs it.


def overwritten_dz(dz, logvar, eps):
    dlogvar = dz  # no copy: from here on dmu is wrong
    dlogvar *= eps * (0.5 * array_module(logvar).exp(0.5 * logvar))
    return dz, dlogvar


def overwritten_dy(dy, y, dx=None):
    dy *= y > 0
    return dy


BUGS = {
    "std for variance": Bug(
        (
            (gaussian, "reparameterize", std_is_exp_logvar),
            (gaussian, "_reparameterize_dlogvar", std_is_exp_logvar_backward),
        ),
        "tests/test_gaussian.py::test_reparameterize_has_the_mean_and_the_variance[numpy-3.0--2.0]",
        False,
    ),
    "mean over pixels": Bug(
        (
            (likelihoods.Bernoulli, "log_prob", mean_over_pixels),
            (likelihoods.Bernoulli, "backward", mean_over_pixels_backward),
        ),
        "tests/test_likelihoods.py::test_bernoulli_sums_to_one_over_all_images[numpy]",
        False,
    ),
    "evaluating the mean": Bug(
        ((evaluation, "evaluate", evaluate_the_mean),),
        "tests/test_evaluation.py::test_the_mean_of_q_would_look_better[numpy]",
        False,
    ),
    "forgotten sigmoid": Bug(
        ((likelihoods.Bernoulli, "mean", logits_as_a_picture),),
        "tests/test_models_use.py::test_decode_gives_the_mean_of_the_likelihood[numpy]",
        False,
    ),
    "sigmoid twice": Bug(
        (
            (likelihoods.Bernoulli, "log_prob", sigmoid_twice),
            (likelihoods.Bernoulli, "backward", sigmoid_twice_backward),
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
        ((gaussian, "reparameterize_backward", overwritten_dz),),
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
    """Those of the bug of this name; none for another name, such as that of the right code."""
    return BUGS[name].patches if name in BUGS else ()


# A network in which the last mistake matters. Those of the tutorials are chains: nobody else needs
# the gradient that a ReLU is given, and tinyvae's own are written over it on purpose.


class Residual(Layer):
    """y = x + inside(x), for an `inside` that ends in a ReLU."""

    def __init__(self, inside):
        self.inside = inside

    def forward(self, x):
        return x + self.inside.forward(x)

    def backward(self, dy):
        dx = self.inside.backward(dy)
        return dy + dx


def residual_trunk(widths, rng, right=networks.mlp_trunk):
    """networks.mlp_trunk with one more layer, and a connection that skips it."""
    inside = Sequential(Linear(widths[-1], widths[-1], rng=rng), ReLU())
    return Sequential(*right(widths, rng).layers, Residual(inside))


SKIP_CONNECTION = ((networks, "mlp_trunk", residual_trunk),)
