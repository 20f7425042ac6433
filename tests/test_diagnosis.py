import numpy as np
import pytest
from toys import LATENT_DIM, PIXELS, SHAPE, tiny_autoencoder, tiny_batch, tiny_vae

from tinyvae import VAE, Bernoulli, Flatten, GaussianEncoder, Linear, Reshape, Sequential, Tanh
from tinyvae.engine.module import Layer, Parameter
from tinyvae.training.diagnosis import all_finite, first_not_finite

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


class Spoils(Layer):
    """Passes everything on, but one number of its output or of its gradient is not finite."""

    def __init__(self, output=0.0, gradient=0.0):
        self.output, self.gradient = output, gradient

    def forward(self, x):
        return spoiled(x, self.output)

    def backward(self, dy):
        return spoiled(dy, self.gradient)


def spoiled(x, value):
    x = x.copy()
    x.flat[-1] += value
    return x


def vae_with(trunk=(), decoder=()):
    """A VAE with more layers at the end of its trunk and in the middle of its decoder."""
    rng = np.random.default_rng(0)
    encoder = GaussianEncoder(
        Sequential(Flatten(), Linear(PIXELS, 5, rng=rng), Tanh(), *trunk), 5, LATENT_DIM, rng=rng
    )
    layers = [Linear(LATENT_DIM, 4, rng=rng), *decoder, Linear(4, PIXELS, rng=rng), Reshape(*SHAPE)]
    return VAE(encoder, Sequential(*layers), Bernoulli())


def diagnosis(model):
    x, eps = tiny_batch(3)

    def compute():
        if isinstance(model, VAE):
            model.loss(x, eps)
        else:
            model.loss(x)
        model.backward()

    return first_not_finite(model, compute)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize(
    "name",
    [
        "encoder.trunk.1.weight",
        "encoder.mu.bias",
        "encoder.logvar.weight",
        "decoder.0.bias",
        "decoder.2.weight",
        "likelihood.logvar",
    ],
)
def test_names_a_parameter(xp, name, value):
    model = tiny_vae("learned gaussian", xp)
    dict(model.named_parameters())[name].value.ravel()[-1] = value
    assert diagnosis(model) == f"the parameter {name}"


def test_names_the_first_of_several_parameters():
    model = tiny_autoencoder()
    for _, parameter in list(model.named_parameters())[2:]:
        parameter.value[...] = np.nan
    assert diagnosis(model) == "the parameter encoder.3.weight"


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize(
    "where, name",
    [({"trunk": [0]}, "encoder.trunk.3"), ({"decoder": [0]}, "decoder.1")],
    ids=["encoder", "decoder"],
)
def test_names_the_layer_whose_output_or_gradient_it_is(where, name, value):
    """Everything after it is not finite either, and is not named."""
    ((part, _),) = where.items()
    model = vae_with(**{part: [Spoils(output=value)]})
    assert diagnosis(model) == f"the output of {name}"
    model = vae_with(**{part: [Spoils(gradient=value)]})
    assert diagnosis(model) == f"the gradient of {name}"


def test_the_first_layer_is_the_one_that_computes_first():
    two = [Spoils(output=np.inf), Spoils(output=np.inf, gradient=np.inf)]
    assert diagnosis(vae_with(decoder=two)) == "the output of decoder.1"
    two = [Spoils(gradient=np.inf), Spoils(gradient=np.inf)]
    assert diagnosis(vae_with(decoder=two)) == "the gradient of decoder.2"
    one_each = {"trunk": [Spoils(gradient=np.inf)], "decoder": [Spoils(output=np.inf)]}
    assert diagnosis(vae_with(**one_each)) == "the output of decoder.1"


def test_a_finite_layer_that_makes_an_infinite_sample(xp):
    """exp(logvar) overflows between the layers: the decoder's first output shows it."""
    model = tiny_vae(xp=xp)
    model.encoder.logvar.bias.value[...] = 1e5
    assert diagnosis(model) == "the output of decoder.0"


class SpoilsItsWeights(Layer):
    """All it passes on is finite, but not the gradient of its own parameter."""

    def __init__(self):
        self.weight = Parameter(np.ones(1))

    def forward(self, x):
        return x

    def backward(self, dy):
        self.weight.grad[...] = np.inf
        return dy


def test_names_a_layer_whose_parameters_gradient_it_is():
    assert "decoder.1" in diagnosis(vae_with(decoder=[SpoilsItsWeights()]))


def test_without_a_layer_to_blame_it_is_the_loss():
    assert diagnosis(tiny_vae()) == "the loss or the length of the gradient"


def test_the_model_is_left_as_it_was():
    model = vae_with(decoder=[Spoils(output=np.inf)])

    def nothing_is_wrapped():
        modules = [module for _, module in model.named_modules()]
        return not any({"forward", "backward"} & vars(module).keys() for module in modules)

    diagnosis(model)
    assert nothing_is_wrapped()
    with pytest.raises(ZeroDivisionError):
        first_not_finite(model, lambda: 1 / 0)
    assert nothing_is_wrapped()


def test_all_finite(xp):
    good = xp.asarray(np.ones((2, 3)))
    assert all_finite() and all_finite(good) and all_finite(good, good)
    for value in (np.inf, -np.inf, np.nan):
        bad = good.copy()
        bad[1, 2] = value
        assert not all_finite(bad)
        assert not all_finite(good, bad)
