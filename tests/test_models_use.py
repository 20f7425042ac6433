"""What a model's public methods give, with the batch first, and how they refuse mistakes."""

import re
from functools import partial

import numpy as np
import pytest
import scipy.special
from toys import (
    LATENT_DIM,
    LIKELIHOODS,
    MODELS,
    PIXELS,
    SHAPE,
    each_model,
    loss_and_gradient,
    loss_of,
    tiny_batch,
    tiny_decoder,
    tiny_vae,
)

from tinyvae import (
    VAE,
    Flatten,
    GaussianEncoder,
    Linear,
    Reshape,
    Sequential,
    array_module,
    make_model,
    to_host,
)
from tinyvae.rng import generator

# The public methods: the batch comes first.


@pytest.mark.parametrize("network", ["conv", "mlp"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@each_model
def test_layouts(xp, kind, network, likelihood):
    model = make_model(kind, network, 5, likelihood).to(xp)
    x = np.random.default_rng(0).random((3, 1, 28, 28), dtype=np.float32)
    for code in model.encode(x) if kind == "vae" else [model.encode(x)]:
        assert code.shape == (3, 5)
    codes = model.embed(x)
    assert codes.shape == (3, 5)
    for images in (
        model.decode(codes),
        model.reconstruct(x),
        model.draw(codes, np.random.default_rng(0)),
        model.sample(3, np.random.default_rng(0)),
        model.sample_means(3, np.random.default_rng(0)),
    ):
        assert images.shape == x.shape
        assert images.dtype == np.float32
        assert array_module(images) is xp
    loss = model.loss(x, np.zeros((2, 3, 5), np.float32)) if kind == "vae" else model.loss(x)
    assert loss.total.shape == loss.reconstruction.shape == ()
    assert tuple(loss.terms) == model.term_names
    if kind == "vae":
        assert loss.kl.shape == (5,)
    parts = (loss.total, *loss.terms.values())
    assert {part.dtype for part in parts} == {np.dtype(np.float64)}
    model.backward()
    assert model.theta.dtype == model.grad.dtype == np.float32


@each_model
def test_float64_images_do_not_widen_a_float32_model(xp, kind):
    model, (x, eps) = MODELS[kind](xp=xp, dtype=np.float32), tiny_batch(3)
    assert model.embed(x).dtype == model.reconstruct(x).dtype == np.float32
    wide = loss_and_gradient(model, x, eps)
    narrow = loss_and_gradient(model, x.astype(np.float32), eps.astype(np.float32))
    assert wide[0] == narrow[0]
    np.testing.assert_array_equal(wide[1], narrow[1])


def test_axes_of_an_image_are_not_mixed(xp):
    """Pixels go in and come out in their places: here the decoder undoes the encoder."""
    rng = np.random.default_rng(0)
    encoder = GaussianEncoder(Flatten(), PIXELS, PIXELS, rng=rng)
    decoder = Sequential(Linear(PIXELS, PIXELS, rng=rng), Reshape(*SHAPE))
    model = VAE(encoder, decoder, LIKELIHOODS["gaussian"]()).to(xp, np.float64)
    scramble = rng.standard_normal((PIXELS, PIXELS))
    state = model.state_dict()
    state["encoder.mu.weight"], state["encoder.mu.bias"] = scramble, np.zeros(PIXELS)
    state["decoder.0.weight"], state["decoder.0.bias"] = np.linalg.inv(scramble), np.zeros(PIXELS)
    model.load_state_dict(state)
    x, _ = tiny_batch(4)
    np.testing.assert_allclose(to_host(model.reconstruct(x)), x, atol=1e-12)


def test_reconstruct_decodes_the_codes(xp):
    x, _ = tiny_batch(4)
    for build in MODELS.values():
        model = build(xp=xp)
        expected = to_host(model.decode(model.embed(x)))
        np.testing.assert_array_equal(to_host(model.reconstruct(x)), expected)
    vae = tiny_vae(xp=xp)
    np.testing.assert_array_equal(to_host(vae.embed(x)), to_host(vae.encode(x)[0]))


def test_decode_gives_the_mean_of_the_likelihood(xp):
    z = 3 * np.random.default_rng(0).standard_normal((4, LATENT_DIM))
    outputs = to_host(tiny_vae("gaussian", xp).decode(z))
    means = to_host(tiny_vae("bernoulli", xp).decode(z))  # the same weights, as logits
    np.testing.assert_allclose(means, scipy.special.expit(outputs), rtol=1e-12)


@each_model
@pytest.mark.parametrize("method", ["sample", "sample_means"])
def test_sample_depends_on_the_generator_alone(xp, kind, method):
    sample = getattr(MODELS[kind]("gaussian", xp), method)
    images = to_host(sample(5, generator(1, "test")))
    np.testing.assert_array_equal(images, to_host(sample(5, generator(1, "test"))))
    assert (images != to_host(sample(5, generator(2, "test")))).any()
    assert len(np.unique(images.reshape(5, -1), axis=0)) == 5


@each_model
def test_sample_means_are_the_means_of_codes_from_the_prior(xp, kind):
    model = MODELS[kind](xp=xp)
    images = to_host(model.sample_means(5, generator(1, "test")))
    z = generator(1, "test").standard_normal((5, LATENT_DIM), np.float32)
    np.testing.assert_array_equal(images, to_host(model.decode(z)))


@each_model
def test_nothing_given_is_changed(kind):
    x, eps = tiny_batch(1)
    x_before, eps_before = x.copy(), eps.copy()
    model = MODELS[kind]()
    theta = model.theta.copy()
    loss_and_gradient(model, x, eps)
    model.reconstruct(x)
    np.testing.assert_array_equal(x, x_before)
    np.testing.assert_array_equal(eps, eps_before)
    np.testing.assert_array_equal(model.theta, theta)


@each_model
def test_same_call_same_gradient(xp, kind):
    """Gradients are set, not added up."""
    model, (x, eps) = MODELS[kind](xp=xp), tiny_batch(3)
    first = loss_and_gradient(model, x, eps)
    second = loss_and_gradient(model, x, eps)
    assert first[0] == second[0]
    np.testing.assert_array_equal(first[1], second[1])


# Mistakes, and the sentences that answer them.


def in_between(model, x, eps):
    """What replaces the forward that a pending backward would need."""
    calls = {
        "embed": lambda: model.embed(x),
        "encode": lambda: model.encode(x),
        "decode": lambda: model.decode(np.zeros((len(x), LATENT_DIM))),
        "reconstruct": lambda: model.reconstruct(x),
        "draw": lambda: model.draw(np.zeros((len(x), LATENT_DIM)), np.random.default_rng(0)),
        "sample": lambda: model.sample(len(x), np.random.default_rng(0)),
        "sample_means": lambda: model.sample_means(len(x), np.random.default_rng(0)),
        "terms": lambda: model.terms(*model.inputs(x, eps)),  # the terms alone are not a loss
    }
    if model.log_weights:
        calls["log_weights"] = lambda: model.log_weights(x, eps)
    return calls


@each_model
def test_backward_needs_a_loss_of_its_own(xp, kind):
    model, (x, eps) = MODELS[kind](xp=xp), tiny_batch(3)
    sentence = f"{type(model).__name__}.backward: call loss first, once for every backward"
    with pytest.raises(RuntimeError, match=sentence):
        model.backward()
    loss_and_gradient(model, x, eps)
    with pytest.raises(RuntimeError, match=sentence):
        model.backward()
    for call in in_between(model, x, eps).values():
        loss_of(model, x, eps)
        call()
        with pytest.raises(RuntimeError, match=sentence):
            model.backward()
    loss_and_gradient(model, x, eps)  # and afterwards all is well again


@each_model
def test_backward_takes_the_last_loss(xp, kind):
    model, (x, eps), (other, other_eps) = MODELS[kind](xp=xp), tiny_batch(3), tiny_batch(4, 2)
    _, expected = loss_and_gradient(model, x, eps)
    loss_of(model, other, other_eps)
    _, gradient = loss_and_gradient(model, x, eps)
    np.testing.assert_array_equal(gradient, expected)


@each_model
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_images_must_be_floats(kind, dtype):
    model, (x, eps) = MODELS[kind](), tiny_batch(3)
    wrong = (x > 0.5).astype(dtype)
    sentence = (
        r"expected floats of shape \(N, D\) or \(N, C, H, W\) with N >= 1, "
        rf"got {np.dtype(dtype)} of shape \(3, 2, 1, 3\)"
    )
    for call in (partial(loss_of, model, wrong, eps), partial(model.embed, wrong)):
        with pytest.raises(ValueError, match=sentence):
            call()


@each_model
def test_examples_must_be_images_or_vectors(kind):
    model, (x, eps) = MODELS[kind](), tiny_batch(3)
    for wrong in (x[:, 0], x[..., None], x.ravel(), x[:0]):
        sentence = (
            "expected floats of shape (N, D) or (N, C, H, W) with N >= 1, "
            f"got float64 of shape {wrong.shape}"
        )
        for call in (partial(loss_of, model, wrong, eps), partial(model.embed, wrong)):
            with pytest.raises(ValueError, match=re.escape(sentence)):
                call()


@each_model
def test_codes_must_be_float_vectors(kind):
    model = MODELS[kind]()
    with pytest.raises(ValueError, match=r"floats of shape \(N, L\) .*got float64 of shape \(3,\)"):
        model.decode(np.zeros(LATENT_DIM))
    with pytest.raises(ValueError, match=r"floats of shape \(N, L\) .*got int64 of shape \(2, 3\)"):
        model.decode(np.zeros((2, LATENT_DIM), np.int64))
    with pytest.raises(ValueError, match=r"codes must be \(N, 3\), got \(2, 4\)"):
        model.decode(np.zeros((2, LATENT_DIM + 1)))


@pytest.mark.parametrize(
    "shape", [(3, 3), (1, 4, 3), (1, 3, 4), (3, 1, 3), (1, 1, 3, 3), (0, 3, 3)]
)
def test_noise_must_fit_the_images(shape):
    model, (x, _) = tiny_vae(), tiny_batch(3)[:2]
    for call in (model.loss, model.log_weights):
        with pytest.raises(ValueError) as error:
            call(x, np.zeros(shape))
        assert str(error.value) == f"eps must be (samples >= 1, 3, 3), got {shape}"


def test_a_refused_call_leaves_the_pending_loss_alone():
    model, (x, eps) = tiny_vae(), tiny_batch(3)
    _, expected = loss_and_gradient(model, x, eps)
    model.loss(x, eps)
    with pytest.raises(ValueError):
        model.loss(x, eps[:, :2])
    model.backward()
    np.testing.assert_array_equal(model.grad, expected)


@each_model
def test_images_of_another_size_are_refused(kind):
    model, (_, eps) = MODELS[kind](), tiny_batch(3)
    with pytest.raises(ValueError, match="in_features = 6, got shape"):
        loss_of(model, np.zeros((3, 2, 1, 4)), eps)


@pytest.mark.parametrize("decoded", [1, 5])
@each_model
def test_a_decoder_of_another_size_is_refused(kind, decoded):
    rng, (x, eps) = np.random.default_rng(0), tiny_batch(3)
    model = MODELS[kind]()
    model.decoder = Sequential(Linear(LATENT_DIM, decoded, rng=rng), Reshape(1, 1, decoded))
    model.to(np, np.float64)
    sentence = rf"the decoder gives \(1, 1, {decoded}\) for examples of \(2, 1, 3\)"
    with pytest.raises(ValueError, match=sentence):
        loss_of(model, x, eps)


def test_networks_decoder_is_the_one_of_the_model():
    """A decoder alone gives what the model's decode gives: nothing is hidden in between."""
    decoder = tiny_decoder(np.random.default_rng(3)).to(np, np.float64)
    model = tiny_vae("gaussian")
    model.load_state_dict(
        model.state_dict() | {f"decoder.{k}": v for k, v in decoder.state_dict().items()}
    )
    z = np.random.default_rng(0).standard_normal((4, LATENT_DIM))
    expected = np.moveaxis(decoder.forward(np.ascontiguousarray(z.T)), -1, 0)
    np.testing.assert_allclose(model.decode(z), expected, rtol=1e-12)
