"""At the door of a model: each input works as float32 does, or is refused in one clear sentence."""

import re

import numpy as np
import pytest
from toys import (
    LATENT_DIM,
    SHAPE,
    each_model,
    loss_and_gradient,
    loss_of,
    make,
    tiny_batch,
    tiny_vae,
)

from tinyvae import make_model
from tinyvae.engine.categorical import cross_entropy
from tinyvae.engine.layers import Linear
from tinyvae.models import vae as vae_module
from tinyvae.training.evaluation import evaluate, importance_weighted_bound


def sixteenths(n=4, samples=2):
    """A batch in float32 that float16 can hold exactly."""
    x, eps = tiny_batch(n, samples)
    return (np.round(16 * x) / 16).astype(np.float32), (np.round(16 * eps) / 16).astype(np.float32)


def every_other(array):
    """The same numbers, with a gap after each of them in memory."""
    wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), np.nan, array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


def backwards(array):
    return array[::-1].copy()[::-1]


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


FORMS = {
    "float16": lambda array: array.astype(np.float16),
    "float64": lambda array: array.astype(np.float64),
    "big-endian": lambda array: array.astype(">f4"),
    "Fortran": np.asfortranarray,
    "batch last in memory": lambda array: np.moveaxis(np.moveaxis(array, 0, -1).copy(), -1, 0),
    "not contiguous": every_other,
    "negative strides": backwards,
    "read-only": read_only,
}


@each_model
@pytest.mark.parametrize("likelihood", ["bernoulli", "learned gaussian"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_of_the_same_numbers_gives_the_same(kind, likelihood, form):
    """Loss, gradient, codes, means and draws, bit for bit, and in float32."""
    x, eps = sixteenths()
    z = eps[0]
    np.testing.assert_array_equal(form(x), x)
    one, other = (make(kind, likelihood, dtype=np.float32) for _ in range(2))
    expected = loss_and_gradient(one, x, eps)
    found = loss_and_gradient(other, form(x), form(eps))
    assert found[0] == expected[0]
    np.testing.assert_array_equal(found[1], expected[1])
    results = [
        (model.embed(a), model.reconstruct(a), model.decode(b), model.draw(b, rng))
        for model, a, b, rng in (
            (one, x, z, np.random.default_rng(0)),
            (other, form(x), form(z), np.random.default_rng(0)),
        )
    ]
    for right, result in zip(*results, strict=True):
        np.testing.assert_array_equal(result, right)
        assert result.dtype == np.float32


@each_model
def test_a_batch_of_one_example(kind):
    """Its loss is the loss of that example, and the mean over single examples is the batch's."""
    x, eps = tiny_batch(3, 2)
    model = make(kind, "bernoulli")
    whole, gradient = loss_and_gradient(model, x, eps)
    single = [loss_and_gradient(model, x[i : i + 1], eps[:, i : i + 1]) for i in range(3)]
    assert whole == pytest.approx(np.mean([loss for loss, _ in single]), rel=1e-12)
    np.testing.assert_allclose(gradient, np.mean([g for _, g in single], axis=0), rtol=1e-9)
    assert model.embed(x[:1]).shape == (1, LATENT_DIM)
    assert model.reconstruct(x[:1]).shape == (1, *SHAPE)


AXES = "expected floats of shape (N, D) or (N, C, H, W) with N >= 1, got "
FLOATS = {
    "uint8": lambda x: (255 * x).astype(np.uint8),
    "int64": lambda x: x.astype(int),
    "bool": lambda x: x > 0.5,
    "complex128": lambda x: x.astype(complex),
    "object": lambda x: x.astype(object),
}


@each_model
@pytest.mark.parametrize("dtype", FLOATS)
def test_other_numbers_than_floats_are_refused(kind, dtype):
    """uint8 could be grey levels up to 255 or zeros and ones: the caller has to say."""
    (x, eps), model = tiny_batch(3), make(kind, "bernoulli")
    wrong = FLOATS[dtype](x)
    sentence = f"{AXES}{dtype} of shape (3, 2, 1, 3); convert it, for example uint8 by "
    for call in (lambda: loss_of(model, wrong, eps), lambda: model.embed(wrong)):
        with pytest.raises(ValueError, match=re.escape(sentence + "tinyvae.data.to_float")):
            call()


@each_model
def test_lists_and_empty_batches_are_refused(kind):
    (x, eps), model = tiny_batch(3), make(kind, "bernoulli")
    with pytest.raises(ValueError, match=re.escape(f"{AXES}list; convert it")):
        model.embed(x.tolist())
    for call in (lambda: loss_of(model, x[:0], eps[:, :0]), lambda: model.embed(x[:0])):
        with pytest.raises(ValueError, match=re.escape(f"{AXES}float64 of shape (0, 2, 1, 3)")):
            call()
    with pytest.raises(ValueError, match=r"of shape \(N, L\) with N >= 1, got float64 of shape"):
        model.decode(np.zeros((0, LATENT_DIM)))


VALUES = {  # (likelihood, a wrong value): the sentence's end
    ("bernoulli", np.nan): "from 0 to 1, got nan to nan",
    ("bernoulli", np.inf): "from 0 to 1, got .* to inf",
    ("bernoulli", -np.inf): "from 0 to 1, got -inf to ",
    ("bernoulli", 255.0): "from 0 to 1, got .* to 255; rescale the examples",
    ("bernoulli", -0.125): "from 0 to 1, got -0.125 to ",
    ("bernoulli", 1.125): "from 0 to 1, got .* to 1.125",
    ("bernoulli", 1.001): "from 0 to 1, got .* to 1.00",  # not "to 1"
    ("gaussian", np.nan): "from -inf to inf, got nan to nan",
    ("gaussian", np.inf): "from -inf to inf, got .* to inf",
    ("gaussian", -np.inf): "from -inf to inf, got -inf to ",
}


@each_model
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("likelihood, value", VALUES, ids=str)
def test_values_outside_the_support_are_refused(kind, likelihood, value, dtype):
    """One wrong pixel is enough, wherever it is; and afterwards all is well again."""
    x, eps = sixteenths(3)
    model = make(kind, likelihood, dtype=np.float32)
    expected = loss_and_gradient(model, x, eps)
    for place in (0, x.size - 1):
        wrong = x.astype(dtype)
        wrong.flat[place] = value
        sentence = f"{type(model).__name__}: expected finite values {VALUES[likelihood, value]}"
        calls = [lambda x: loss_of(model, x, eps), lambda x: evaluate(model, x)]
        calls += [model.embed, model.encode, model.reconstruct, model.metrics]
        calls += [lambda x: model.terms(*model.inputs(x, eps))]
        if model.log_weights:
            calls.append(lambda x: model.log_weights(x, eps))
            calls.append(lambda x: importance_weighted_bound(model, x, 2))
        for call in calls:
            with pytest.raises(ValueError, match=sentence):
                call(wrong)
    found = loss_and_gradient(model, x, eps)
    assert found[0] == expected[0]
    np.testing.assert_array_equal(found[1], expected[1])


@each_model
def test_the_ends_of_the_support_and_what_a_gaussian_takes(kind):
    x, eps = np.zeros((2, *SHAPE)), np.zeros((1, 2, LATENT_DIM))
    x[0] = 1.0
    loss_of(make(kind, "bernoulli"), x, eps)
    loss_of(make(kind, "gaussian"), 1e3 * (x - 0.5), eps)


@each_model
@pytest.mark.parametrize("network", ["conv", "mlp"])
def test_examples_of_another_shape_than_the_models_are_refused(kind, network):
    """Also where the network could take them: the axes would be mixed up in silence."""
    shape = (1, 8, 10)
    model = make_model(kind, network, 3, shape=shape)
    rng = np.random.default_rng(0)
    for wrong in ((1, 10, 8), (8, 10, 1), (80,), (1, 8, 11), (2, 8, 10)):
        x, eps = rng.random((2, *wrong)), np.zeros((1, 2, 3))
        for call in (model.embed, model.encode, model.reconstruct, model.metrics):
            with pytest.raises(ValueError, match=re.escape(f"of shape {shape}, got {wrong};")):
                call(x)
        with pytest.raises(ValueError, match=re.escape(f"of shape {shape}, got {wrong};")):
            loss_of(model, x, eps)


LABELS = {
    "too few": (np.zeros(4, int), "labels must be (5,), one an example, got (4,)"),
    "one for all": (np.zeros(1, int), "labels must be (5,), one an example, got (1,)"),
    "one-hot": (np.eye(5, 3, dtype=int), "labels must be (5,), one an example, got (5, 3)"),
    "too large": (np.array([0, 1, 2, 3, 0]), "labels must be from 0 to 2, got 0 to 3"),
    "negative": (np.array([0, 1, 2, -1, 0]), "labels must be from 0 to 2, got -1 to 2"),
    "floats": (np.array([0, 1, 2, 0.5, 0]), "labels must be integers, got float64; use "),
}


@pytest.mark.parametrize("labels, sentence", LABELS.values(), ids=LABELS)
def test_labels_that_do_not_fit_are_refused(labels, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        cross_entropy(np.zeros((3, 5)), labels)


# The gradient of z is the gradient of mu, the same array: nobody may write into it.


@pytest.mark.parametrize("samples", [1, 2])
def test_the_gradient_of_z_is_not_overwritten(monkeypatch, samples):
    """A read-only dz raises where it is written to, whatever the order of the two branches."""
    model, (x, eps) = tiny_vae(), tiny_batch(3, samples)
    _, expected = loss_and_gradient(model, x, eps, beta=2.0)
    right = vae_module.reparameterize_backward

    def guarded(dz, logvar, eps):
        before = dz.copy()
        dz.flags.writeable = False
        dmu, dlogvar = right(dz, logvar, eps)
        seen.append((dz, before, dlogvar, dlogvar.copy()))
        return dmu, dlogvar

    def copied_in_the_other_order(dz, logvar, eps):
        dlogvar = right(dz.copy(), logvar, eps)[1]
        return dz.copy(), dlogvar

    for replacement in (guarded, copied_in_the_other_order):
        seen = []
        monkeypatch.setattr(vae_module, "reparameterize_backward", replacement)
        for _ in range(2):
            _, gradient = loss_and_gradient(model, x, eps, beta=2.0)
            np.testing.assert_array_equal(gradient, expected)
        for dz, before, dlogvar, dlogvar_before in seen:
            np.testing.assert_array_equal(dz, before)
            np.testing.assert_array_equal(dlogvar, dlogvar_before)


@pytest.mark.parametrize("name", ["beta", "free_bits"])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -1.0, None, "1"])
def test_the_weights_of_the_loss_are_finite_and_not_negative(name, wrong):
    x, eps = tiny_batch(3)
    with pytest.raises(ValueError, match=f"{name} must be a number, finite and not negative"):
        tiny_vae().loss(x, eps, **{name: wrong})


@pytest.mark.parametrize("eps", [None, 0, [[[0.0, 0.0]]], np.zeros((3, 2))], ids=str)
def test_noise_is_an_array_of_three_axes(eps):
    x, _ = tiny_batch(3)
    for call in (tiny_vae().loss, tiny_vae().log_weights):
        with pytest.raises(
            ValueError, match=rf"eps must be \(samples >= 1, 3, {LATENT_DIM}\), got "
        ):
            call(x, eps)


@pytest.mark.parametrize("rng", [None, 0, np.random], ids=["None", "seed", "module"])
def test_draws_take_a_generator(rng):
    """A number is no generator: whoever gives the same one twice would draw the same twice."""
    model, z = tiny_vae(), np.zeros((3, LATENT_DIM))
    for call in (lambda: model.sample(3, rng), lambda: model.draw(z, rng), lambda: linear(rng)):
        with pytest.raises(ValueError, match="expected rng, a NumPy generator such as np.random.d"):
            call()


def linear(rng):
    return Linear(3, 2, rng=rng)


def test_evaluation_takes_one_example_and_one_sample_at_least():
    x, _ = tiny_batch(3)
    for call in (
        lambda: evaluate(tiny_vae(), x[:0]),
        lambda: importance_weighted_bound(tiny_vae(), x[:0], 2),
    ):
        with pytest.raises(ValueError, match="expected at least one example to evaluate"):
            call()
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        importance_weighted_bound(tiny_vae(), x, 0)
