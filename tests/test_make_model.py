"""make_model: names make a model, the same names make it again, and other names are refused."""

import hashlib

import numpy as np
import pytest

from tinyvae import VAE, Autoencoder, Bernoulli, LearnedGaussian, UserError, make_model, to_host
from tinyvae.engine.module import Layer
from tinyvae.models.registry import MODELS

IMAGE = (1, 28, 28)


def dense(inside, outside):
    return inside * outside + outside


def conv(inside, outside):
    return inside * outside * 9 + outside


@pytest.mark.parametrize("model, kind, heads", [("vae", VAE, 2), ("ae", Autoencoder, 1)])
@pytest.mark.parametrize(
    "network, features, weights",
    [
        (
            "conv",
            256,
            conv(1, 32)
            + conv(32, 64)
            + dense(3136, 256)
            + dense(256, 3136)
            + conv(64, 32)
            + conv(32, 1),
        ),
        ("mlp", 400, dense(784, 400) + dense(400, 784)),
    ],
)
def test_make_model(model, kind, heads, network, features, weights):
    made = make_model(model, network, latent_dim=3, likelihood="gaussian")
    assert type(made) is kind and made.latent_dim == 3
    assert type(made.likelihood) is LearnedGaussian
    around_the_code = heads * dense(features, 3) + dense(3, features)
    assert made.theta.size == weights + around_the_code + 1  # and the learned variance
    assert type(make_model(model, network).likelihood) is Bernoulli


# The SHA-256 of theta for seed 0, as it was when the networks were made for 28x28 images alone.
INITIAL_WEIGHTS = {
    ("vae", "conv", "bernoulli"): "7441212dd7974bb0",
    ("vae", "conv", "gaussian"): "ff2ea251a6d819bb",
    ("vae", "mlp", "bernoulli"): "a0186ef0ba428277",
    ("vae", "mlp", "gaussian"): "8b0aab4098e330d0",
    ("ae", "conv", "bernoulli"): "ad269a847fc419a5",
    ("ae", "conv", "gaussian"): "f1263da5a1341b2b",
    ("ae", "mlp", "bernoulli"): "ba1c64afbc386536",
    ("ae", "mlp", "gaussian"): "12e6bf6f9e505ae5",
}


@pytest.mark.parametrize("names", INITIAL_WEIGHTS, ids=" ".join)
def test_initial_weights_for_mnist_never_change(names):
    model, network, likelihood = names
    theta = make_model(model, network, likelihood=likelihood).theta
    assert hashlib.sha256(theta.tobytes()).hexdigest()[:16] == INITIAL_WEIGHTS[names]


def test_the_defaults_are_mnists():
    assert make_model().settings == {
        "model": "vae",
        "network": "conv",
        "latent_dim": 20,
        "likelihood": "bernoulli",
        "hidden": [400],
        "shape": [1, 28, 28],
        "seed": 0,
    }
    np.testing.assert_array_equal(make_model().theta, make_model("vae", "conv", 20).theta)


def test_settings_make_the_same_model_again():
    made = make_model("ae", "mlp", 3, "gaussian", hidden=(7, 5), shape=(4,), seed=9)
    again = make_model(**made.settings)
    np.testing.assert_array_equal(made.theta, again.theta)
    assert again.settings == made.settings and again.shape == made.shape == (4,)
    assert list(again.state_dict()) == list(made.state_dict())


def test_names_tell_where_a_weight_stands():
    layers = "encoder.trunk.1 encoder.mu encoder.logvar decoder.0 decoder.2".split()
    expected = [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
    assert list(make_model("vae", "mlp").state_dict()) == expected
    learned = make_model("vae", "mlp", likelihood="gaussian")
    assert list(learned.state_dict()) == [*expected, "likelihood.logvar"]


@pytest.mark.parametrize(
    "names, sentence",
    [
        ({"model": "gan"}, f"--model must be one of {', '.join(MODELS)}, got 'gan'"),
        ({"network": "resnet"}, "--network must be one of conv, mlp, got 'resnet'"),
        (
            {"likelihood": "poisson"},
            "--likelihood must be one of bernoulli, gaussian, got 'poisson'",
        ),
        ({"model": "conv"}, "got 'conv'"),  # though it is a network
        ({"network": "vae"}, "--network must be one of conv, mlp, got 'vae'"),
        ({"latent_dim": 0}, "--latent-dim must be a whole number of at least 1, got 0"),
        ({"latent_dim": 2.5}, "--latent-dim must be a whole number of at least 1, got 2.5"),
        ({"hidden": ()}, "--hidden must be whole numbers of at least 1, got nothing"),
        ({"hidden": (200, 0)}, "--hidden must be whole numbers of at least 1, got 200,0"),
        ({"hidden": (5,)}, "--hidden is for --network mlp; leave it out, or use --network mlp"),
        ({"shape": (28, 28)}, r"shape must be \(C, H, W\) or \(D,\), got \(28, 28\)"),
        ({"seed": -1}, "--seed must be a whole number, not negative, got -1"),
        ({"seed": 1.5}, "--seed must be a whole number, not negative, got 1.5"),
        ({"seed": None}, "--seed must be a whole number, not negative, got None"),
        ({"shape": (0,)}, r"shape must be \(C, H, W\) or \(D,\), got \(0,\)"),
    ],
)
def test_other_names_are_refused(names, sentence):
    with pytest.raises(UserError, match=sentence):
        make_model(**names)


@pytest.mark.parametrize("network", ["conv", "mlp"])
def test_weights_come_from_the_seed(network):
    a, same, other = (make_model("vae", network, seed=seed).theta for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, same)
    assert (a != other).mean() > 0.99


@pytest.mark.parametrize("network", ["conv", "mlp"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_float32_stays_float32_from_layer_to_layer(xp, network, likelihood):
    model = make_model("vae", network, 5, likelihood).to(xp)
    seen = []

    def spied(method):
        def spy(x, **options):
            seen.append((method, x.dtype))
            return method(x, **options)

        return spy

    layers = [one for _, one in model.named_modules() if isinstance(one, Layer)]
    for layer in layers:
        layer.forward, layer.backward = spied(layer.forward), spied(layer.backward)
    rng = np.random.default_rng(0)
    x, eps = rng.random((3, *IMAGE)), rng.standard_normal((2, 3, 5))
    model.loss(xp.asarray(x, dtype=np.float32), xp.asarray(eps), beta=0.5, free_bits=0.01)
    model.backward()
    # The first layer with weights has no dx, so the Flatten before it has no backward.
    assert len(seen) == 2 * len(layers) - (network == "mlp")
    assert {dtype for _, dtype in seen} == {np.dtype(np.float32)}
    assert model.grad.dtype == np.float32


@pytest.mark.parametrize("network", ["conv", "mlp"])
def test_the_whole_vae_agrees_with_pytorch(xp, network):
    """Loss, KL and every gradient, in float64, and states go both ways."""
    torch = pytest.importorskip("torch")
    import torch_reference

    n, samples, latent_dim, beta = 4, 3, 5, 1.5
    rng = np.random.default_rng(0)
    x, eps = rng.random((n, 1, 28, 28)), rng.standard_normal((samples, n, latent_dim))
    ours = make_model("vae", network, latent_dim).to(xp, np.float64)
    theirs = torch_reference.twin(network, ours).double()  # float32 weights: nothing is rounded

    loss = ours.loss(xp.asarray(x), xp.asarray(eps), beta=beta)
    ours.backward()
    terms = [theirs.terms(torch.from_numpy(x), torch.from_numpy(one)) for one in eps]
    reconstruction = sum(one.mean() for one, _ in terms) / samples
    kl = terms[0][1].mean(dim=0)
    total = reconstruction + beta * kl.sum()
    total.backward()

    ours_of = (loss.total, loss.reconstruction, loss.kl)
    for mine, other in zip(ours_of, (total, reconstruction, kl), strict=True):
        np.testing.assert_allclose(to_host(mine), other.detach().numpy(), rtol=1e-11)
    gradients = {name: p.grad.numpy() for name, p in theirs.named_parameters()}
    assert list(gradients) == [name for name, _ in ours.named_parameters()]
    for name, parameter in ours.named_parameters():
        largest = np.abs(gradients[name]).max()
        np.testing.assert_allclose(
            to_host(parameter.grad), gradients[name], rtol=1e-9, atol=1e-12 * largest, err_msg=name
        )

    fresh = torch_reference.VAE(network, latent_dim)
    ours.load_state_dict(fresh.state_dict())
    for name, array in ours.state_dict().items():
        np.testing.assert_array_equal(array, fresh.state_dict()[name].numpy())
