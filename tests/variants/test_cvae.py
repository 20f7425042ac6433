"""The conditional VAE: its loss by hand, its gradients, and labels that it refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import norm
from toys import LATENT_DIM, PIXELS, SHAPE, tiny_batch, tiny_vae

from tinyvae import (
    CVAE,
    Bernoulli,
    Flatten,
    LearnedGaussian,
    Linear,
    Reshape,
    Sequential,
    Tanh,
    make_model,
    to_host,
)
from tinyvae.engine.differences import numerical_gradient, relative_error
from tinyvae.models.cvae import ConditionalDecoder, ConditionalEncoder, with_classes

K, ONE = 4, 10.0  # ONE: the entry of a label's vector; docs/variants/cvae.md has measured it
LABELS = np.array([2, 0, 3, 3, 1, 0, 2])


def tiny_cvae(likelihood=None, xp=np, classes=K, seed=0):
    """The networks of toys.tiny_vae, with the class as a further input."""
    rng = np.random.default_rng(seed)
    trunk = Sequential(Flatten(), Linear(PIXELS, 5, rng=rng), Tanh())
    encoder = ConditionalEncoder(trunk, 5, LATENT_DIM, classes, rng=rng)
    hidden = Linear(LATENT_DIM + classes, 4, rng=rng)
    network = Sequential(hidden, Tanh(), Linear(4, PIXELS, rng=rng), Reshape(*SHAPE))
    likelihood = Bernoulli() if likelihood is None else likelihood
    return CVAE(encoder, ConditionalDecoder(network, classes), likelihood).to(xp, np.float64)


def batch():
    return *tiny_batch(len(LABELS), 2), LABELS


def by_hand(model, x, eps, labels):
    """Reconstruction, KL and log weights, example by example and sample by sample."""
    state, (samples, n, _) = model.state_dict(), eps.shape
    reconstruction, kl, log_w = np.zeros((samples, n)), np.zeros((n, LATENT_DIM)), []

    def linear(name, inputs):
        return state[f"{name}.weight"] @ inputs + state[f"{name}.bias"]

    for i in range(n):
        y = ONE * np.eye(model.classes)[labels[i]]
        h = np.tanh(linear("encoder.trunk.1", x[i].ravel()))
        mu, logvar = (linear(f"encoder.{head}", np.append(h, y)) for head in ("mu", "logvar"))
        std = np.sqrt(np.exp(logvar))
        kl[i] = 0.5 * (mu**2 + std**2 - 1 - logvar)
        for s in range(samples):
            z = mu + std * eps[s, i]
            hidden = np.tanh(linear("decoder.network.0", np.append(z, y)))
            p = expit(linear("decoder.network.2", hidden))
            pixels = x[i].ravel()
            reconstruction[s, i] = -(pixels * np.log(p) + (1 - pixels) * np.log(1 - p)).sum()
            prior, posterior = norm.logpdf(z).sum(), norm.logpdf(z, mu, std).sum()
            log_w.append((s, i, prior - posterior - reconstruction[s, i]))
    weights = np.zeros((samples, n))
    for s, i, value in log_w:
        weights[s, i] = value
    return reconstruction.mean(), kl.mean(axis=0), weights


def test_terms_and_weights_by_hand(xp):
    model, inputs = tiny_cvae(xp=xp), batch()
    reconstruction, kl, weights = by_hand(model, *inputs)
    loss = model.loss(*inputs, beta=2.0)
    assert float(loss.reconstruction) == pytest.approx(reconstruction, rel=1e-12)
    np.testing.assert_allclose(to_host(loss.kl), kl, rtol=1e-12)
    assert float(loss.total) == pytest.approx(reconstruction + 2 * kl.sum(), rel=1e-12)
    np.testing.assert_allclose(to_host(model.log_weights(*inputs)), weights, rtol=1e-12)


def test_the_rows_of_the_classes_repeat_for_every_sample(xp):
    """Column s N + i belongs to sample s of example i, as in z.reshape(L, S N)."""
    z = np.random.default_rng(0).standard_normal((3, 2, 5))  # (L, S, N)
    labels = np.array([1, 3, 0, 3, 2])
    rows = to_host(with_classes(xp.asarray(z.reshape(3, 10)), xp.asarray(labels), K))
    assert rows.shape == (3 + K, 10) and rows.dtype == np.float64
    for s in range(2):
        for i in range(5):
            expected = np.append(z[:, s, i], ONE * np.eye(K)[labels[i]])
            np.testing.assert_array_equal(rows[:, 5 * s + i], expected)


SIZES = {"n": st.integers(1, 5), "samples": st.integers(1, 3), "classes": st.integers(1, 5)}


@settings(max_examples=20)
@given(**SIZES, seed=st.integers(0, 999))
def test_gradients_of_encoder_and_decoder(n, samples, classes, seed):
    """Each element of each gradient by finite differences, for a random upstream gradient."""
    rng = np.random.default_rng(seed)
    model, labels = tiny_cvae(classes=classes, seed=seed), rng.integers(0, classes, n)
    z = rng.standard_normal((LATENT_DIM, samples * n))
    doutput = rng.standard_normal((*SHAPE, samples * n))

    def output():
        return (doutput * model.decoder.forward(z, labels)).sum()

    output()
    dz = model.decoder.backward(doutput.copy())
    assert dz.shape == z.shape
    assert relative_error(numerical_gradient(output, z), dz) < 1e-7
    x = rng.random((*SHAPE, n))
    dmu, dlogvar = rng.standard_normal((2, LATENT_DIM, n))

    def heads():
        mu, logvar = model.encoder.forward(x, labels)
        return (dmu * mu + dlogvar * logvar).sum()

    heads()
    model.encoder.backward(dmu, dlogvar)
    for part, f in ((model.encoder, heads), (model.decoder, output)):
        for name, parameter in list(part.named_parameters()):
            numerical = numerical_gradient(f, parameter.value)
            assert relative_error(numerical, parameter.grad) < 1e-6, name


@pytest.mark.parametrize("likelihood", [Bernoulli, lambda: LearnedGaussian(0.3)])
def test_the_whole_gradient(likelihood):
    """Every parameter, with beta, free bits and samples, element by element."""
    model, inputs = tiny_cvae(likelihood()), batch()
    kl = np.sort(model.loss(*inputs).kl)
    options = {"beta": 1.7, "free_bits": float(kl[0] + kl[1]) / 2}  # one dimension is below it
    model.loss(*inputs, **options)
    model.backward()
    gradient = model.grad.copy()
    numerical = numerical_gradient(lambda: model.loss(*inputs, **options).total, model.theta)
    assert relative_error(numerical, gradient) < 1e-7


def test_weights_of_unseen_classes_get_no_gradient():
    """Labels 0 and 3 say nothing about classes 1 and 2."""
    model, (x, eps) = tiny_cvae(), tiny_batch(2)
    model.loss(x, eps, np.array([0, 3]))
    model.backward()
    for layer, first in ((model.encoder.mu, 5), (model.decoder.network.layers[0], LATENT_DIM)):
        used = layer.weight.grad[:, first:].any(axis=0)
        np.testing.assert_array_equal(used, [True, False, False, True])


def test_without_weights_for_the_classes_it_is_the_vae(xp):
    """Loss, weights and all shared gradients."""
    vae, model, (x, eps, labels) = tiny_vae(xp=xp), tiny_cvae(xp=xp), batch()
    state, wide = vae.state_dict(), model.state_dict()
    for name in wide:
        same = state[name.replace("decoder.network", "decoder")]
        extra = [(0, a - b) for a, b in zip(wide[name].shape, same.shape, strict=True)]
        wide[name] = np.pad(same, extra)
    model.load_state_dict(wide)
    np.testing.assert_allclose(
        to_host(model.log_weights(x, eps, labels)), to_host(vae.log_weights(x, eps)), rtol=1e-12
    )
    losses = vae.loss(x, eps), model.loss(x, eps, labels)
    assert float(losses[1].total) == pytest.approx(float(losses[0].total), rel=1e-12)
    vae.backward()
    model.backward()
    theirs = dict(vae.named_parameters())
    for name, parameter in model.named_parameters():
        same = to_host(theirs[name.replace("decoder.network", "decoder")].grad)
        ours = to_host(parameter.grad)[tuple(map(slice, same.shape))]
        np.testing.assert_allclose(ours, same, rtol=1e-10, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("network", ["conv", "mlp"])
def test_public_methods_take_the_labels_last(xp, network):
    model = make_model("cvae", network, 5).to(xp)
    x = np.random.default_rng(0).random((3, 1, 28, 28), dtype=np.float32)
    labels, other = np.array([7, 0, 9]), np.array([6, 1, 9])
    z = model.embed(x, labels)
    for give in (
        lambda y: model.decode(z, y),
        lambda y: model.reconstruct(x, y),
        lambda y: model.draw(z, np.random.default_rng(0), y),
        lambda y: model.sample(3, np.random.default_rng(0), y),
        lambda y: model.sample_means(3, np.random.default_rng(0), y),
    ):
        one, two = to_host(give(labels)), to_host(give(xp.asarray(other)))
        assert one.shape == x.shape and one.dtype == np.float32
        changed = (one != two).reshape(3, -1).any(axis=1)
        np.testing.assert_array_equal(changed, [True, True, False])  # the last label is the same
    again = to_host(model.reconstruct(x, labels))  # both networks get the labels
    np.testing.assert_array_equal(again, to_host(model.decode(z, labels)))
    means = model.sample_means(3, np.random.default_rng(0), labels)
    codes = model.draw_codes(3, np.random.default_rng(0))
    np.testing.assert_array_equal(to_host(means), to_host(model.decode(codes, labels)))


# Labels that are missing or out of range.


def test_labels_must_be_given_one_an_example():
    model, (x, eps, labels) = tiny_cvae(), batch()
    z, rng = np.zeros((7, LATENT_DIM)), np.random.default_rng(0)
    calls = [
        lambda *y: model.loss(x, eps, *y),
        lambda *y: model.log_weights(x, eps, *y),
        lambda *y: model.encode(x, *y),
        lambda *y: model.decode(z, *y),
        lambda *y: model.draw(z, rng, *y),
        lambda *y: model.sample(7, rng, *y),
        lambda *y: model.reconstruct(x, *y),
        lambda *y: model.metrics(x, *y),
    ]
    wrong = [((), "none"), ((None,), "none"), ((labels.tolist(),), "list")]
    wrong += [((labels[:1],), "(1,)"), ((np.eye(7, K, dtype=int),), "(7, 4)")]
    for call in calls:
        for arguments, got in wrong:
            with pytest.raises(ValueError) as error:
                call(*arguments)
            sentence = f"CVAE needs labels as an array (7,), one an example, got {got}"
            assert str(error.value) == sentence
        call(labels)


@pytest.mark.parametrize(
    "label, got", [(K, f"0 to {K}"), (-1, "-1 to 3"), (0.5, "float64; use labels.astype(int)")]
)
def test_labels_must_name_a_class(xp, label, got):
    """Labels from the host are checked, whatever device the model is on."""
    model, (x, eps, _) = tiny_cvae(xp=xp), batch()
    labels = np.array([0, 1, 2, 3, 0, 1, label])
    must = "integers" if label == 0.5 else f"from 0 to {K - 1}"
    for call in (
        lambda: model.loss(x, eps, labels),
        lambda: model.decode(np.zeros((7, LATENT_DIM)), labels),
    ):
        with pytest.raises(ValueError) as error:
            call()
        assert str(error.value) == f"labels must be {must}, got {got}"


def test_a_call_without_labels_leaves_the_pending_loss_alone():
    model, inputs = tiny_cvae(), batch()
    model.loss(*inputs)
    model.backward()
    expected = model.grad.copy()
    model.loss(*inputs)
    with pytest.raises(ValueError):
        model.loss(*inputs[:2])
    model.backward()
    np.testing.assert_array_equal(model.grad, expected)


MASKED = np.ma.array([0, 1, 2, 0, 1], mask=[0, 1, 0, 0, 0])


@pytest.mark.parametrize(
    "labels", [[0, 1, 2, 0, 1], (0,) * 5, MASKED], ids=["list", "tuple", "masked"]
)
def test_labels_are_an_array_without_gaps(labels):
    """A masked label would become a class of no rows in silence."""
    x, eps, _ = batch()
    for call in (lambda: tiny_cvae().loss(x, eps, labels), lambda: tiny_cvae().embed(x, labels)):
        with pytest.raises(ValueError, match=rf"needs labels as an array \({len(x)},\), one an ex"):
            call()


def test_labels_as_a_tensor_are_refused_in_a_sentence():
    torch = pytest.importorskip("torch")
    x, eps, labels = batch()
    with pytest.raises(ValueError, match="needs labels as an array .* got Tensor"):
        tiny_cvae().loss(x, eps, torch.tensor(labels))
