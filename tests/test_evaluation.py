import numpy as np
import pytest
from scipy.special import logsumexp
from toys import LATENT_DIM, SHAPE, tiny_autoencoder, tiny_vae

from tinyvae import VAE, Flatten, GaussianEncoder, Linear, Reshape, Sequential, make_model, to_host
from tinyvae.data import to_float
from tinyvae.engine.likelihoods import Gaussian
from tinyvae.rng import generator
from tinyvae.training.evaluation import ACTIVE_VARIANCE, evaluate, importance_weighted_bound


def pixels(n, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def evaluation_noise(n, latent_dim=LATENT_DIM, seed=0):
    return generator(seed, "evaluation").standard_normal((1, n, latent_dim), np.float32)


def test_numbers_by_hand(xp):
    """With one sampled z an image; every number from the model's public methods."""
    model, images = tiny_vae(xp=xp), pixels(11)
    x = to_float(images, np.float64)
    loss = model.loss(x, evaluation_noise(11, seed=7))
    found = evaluate(model, images, seed=7)
    assert found["reconstruction"] == pytest.approx(float(loss.reconstruction), rel=1e-12)
    np.testing.assert_allclose(found["kl_per_dimension"], to_host(loss.kl), rtol=1e-12)
    assert found["kl"] == pytest.approx(float(loss.kl.sum()), rel=1e-12)
    assert found["total"] == pytest.approx(found["reconstruction"] + found["kl"], rel=1e-12)
    mse = np.mean((to_host(model.reconstruct(x)) - x) ** 2)
    assert found["mse"] == pytest.approx(mse, rel=1e-12)
    variance = to_host(model.embed(x)).var(axis=0)
    np.testing.assert_allclose(found["variance_per_dimension"], variance, rtol=1e-12)
    assert found["active_units"] == (variance > ACTIVE_VARIANCE).sum()


def test_all_numbers_are_plain_python():
    """They go into JSON as they are."""
    found = evaluate(tiny_vae(dtype=np.float32), pixels(5))
    lists = {"kl_per_dimension", "variance_per_dimension"}
    assert lists < found.keys() and type(found.pop("active_units")) is int
    for name, value in found.items():
        for number in value if name in lists else [value]:
            assert type(number) is float


def test_the_mean_of_q_would_look_better(xp):
    """The trap: decoding mu instead of a sample is not the ELBO, and gains for nothing."""
    rng = np.random.default_rng(0)
    encoder = GaussianEncoder(Flatten(), 6, 6, rng=rng)
    decoder = Sequential(Linear(6, 6, rng=rng), Reshape(*SHAPE))
    model = VAE(encoder, decoder, Gaussian(0.01)).to(xp, np.float64)
    state = {name: np.zeros_like(value) for name, value in model.state_dict().items()}
    state["encoder.mu.weight"] = state["decoder.0.weight"] = np.eye(6)
    state["encoder.logvar.bias"] = np.full(6, np.log(0.04))
    model.load_state_dict(state)
    images = pixels(500)
    noise = evaluation_noise(500, 6).astype(np.float64)
    constant = 0.5 * 6 * np.log(2 * np.pi * 0.01)
    sampled = constant + 0.5 * 0.04 / 0.01 * (noise**2).sum(axis=2).mean()
    found = evaluate(model, images)
    assert found["mse"] == pytest.approx(0, abs=1e-20)  # of the mean reconstructions
    assert found["reconstruction"] == pytest.approx(sampled, rel=1e-12)
    assert found["reconstruction"] > constant + 10


@pytest.mark.parametrize("kind", ["vae", "ae"])
def test_batch_size_does_not_matter(xp, kind):
    model = make_model(kind, "mlp", 4, seed=1).to(xp)
    images = pixels(53, (1, 28, 28))
    whole = evaluate(model, images, batch_size=53)
    for batch_size in (1, 7, 52, 1000):
        parts = evaluate(model, images, batch_size=batch_size)
        assert parts.keys() == whole.keys()
        for name, value in whole.items():
            np.testing.assert_allclose(parts[name], value, rtol=1e-6, err_msg=name)


both = pytest.mark.parametrize(
    "function", [evaluate, lambda *given: importance_weighted_bound(*given, 3)]
)


@both
def test_floats_are_what_they_are_and_bytes_are_divided_by_255(xp, function):
    model, images = tiny_vae(xp=xp), pixels(5)
    found, expected = function(model, images / 255), function(model, images)
    if isinstance(found, dict):
        assert found == expected
    else:
        np.testing.assert_array_equal(found, expected)


@both
@pytest.mark.parametrize("dtype", [np.int64, bool])
def test_other_numbers_are_refused(function, dtype):
    with pytest.raises(TypeError, match=f"uint8 or floats, got {np.dtype(dtype)}"):
        function(tiny_vae(), pixels(5).astype(dtype))


def test_depends_on_the_seed():
    model, images = tiny_vae(), pixels(11)
    assert evaluate(model, images, seed=1) == evaluate(model, images, seed=1)
    one, two = evaluate(model, images, seed=1), evaluate(model, images, seed=2)
    assert one["reconstruction"] != two["reconstruction"]
    assert one["kl"] == two["kl"] and one["mse"] == two["mse"]


def test_an_autoencoder_has_no_kl(xp):
    model, images = tiny_autoencoder(xp=xp), pixels(11)
    found = evaluate(model, images)
    expected = float(model.loss(to_float(images, np.float64)).total)
    assert found["total"] == found["reconstruction"] == pytest.approx(expected, rel=1e-12)
    assert not {"kl", "kl_per_dimension"} & found.keys()
    variance = to_host(model.embed(to_float(images, np.float64))).var(axis=0)
    assert found["active_units"] == (variance > ACTIVE_VARIANCE).sum()


def test_active_units_are_those_that_vary(xp):
    """Codes of variance 0, just below 0.01 and just above it; a constant code is not active."""
    model = tiny_vae(xp=xp)
    images = np.zeros((40, *SHAPE), np.uint8)
    images[::2] = 255
    x = to_float(images, np.float64)
    h = to_host(model.encoder.trunk.forward(xp.asarray(np.moveaxis(x, 0, -1).copy())))
    swing = h[0].std()  # of the trunk's first feature: the images are of two kinds
    weight, bias = np.zeros((LATENT_DIM, len(h))), np.array([5.0, 0.0, 0.0])
    weight[1, 0], weight[2, 0] = np.sqrt([0.0099, 0.0101]) / swing
    state = model.state_dict() | {"encoder.mu.weight": weight, "encoder.mu.bias": bias}
    model.load_state_dict(state)
    np.testing.assert_allclose(
        to_host(model.embed(x)).var(axis=0), [0, 0.0099, 0.0101], rtol=1e-9, atol=1e-20
    )
    assert evaluate(model, images, batch_size=7)["active_units"] == 1


def test_active_units_are_not_fooled_by_a_large_mean():
    """All float32 codes are equal, but their float32 mean is another: float64 is needed."""
    model = tiny_vae(dtype=np.float32)
    state = {name: np.zeros_like(value) for name, value in model.state_dict().items()}
    state["encoder.mu.bias"] = np.full(LATENT_DIM, 7654321.0)
    model.load_state_dict(state)
    assert evaluate(model, pixels(1000))["active_units"] == 0


# The importance-weighted bound.


def direct_bound(model, images, samples, seed):
    """All samples at once."""
    eps = generator(seed, "importance samples").standard_normal(
        (samples, len(images), model.latent_dim), np.float32
    )
    log_w = to_host(model.log_weights(to_float(images, np.float64), eps))
    return logsumexp(log_w, axis=0) - np.log(samples)


@pytest.mark.parametrize("samples", [1, 9, 10, 11, 37])
def test_streaming_gives_the_direct_sum(xp, samples):
    """Also where the samples do not come out even with the chunks they are decoded in."""
    model, images = tiny_vae(xp=xp), pixels(13)
    found = importance_weighted_bound(model, images, samples, seed=5)
    assert found.shape == (13,) and found.dtype == np.float64
    expected = direct_bound(model, images, samples, 5)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 5, 13, 1000])
def test_bound_does_not_depend_on_the_batch_size(xp, batch_size):
    model, images = tiny_vae(xp=xp), pixels(13)
    expected = direct_bound(model, images, 12, 0)
    found = importance_weighted_bound(model, images, 12, batch_size=batch_size)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_bound_is_stable_where_weights_overflow(xp):
    """log weights of +-1e5 and more, whose exponentials no float holds."""
    rng = np.random.default_rng(0)
    images = pixels(7)
    for sigma2 in (1e-7, 1e300):
        encoder = GaussianEncoder(Flatten(), 6, 2, rng=rng)
        decoder = Sequential(Linear(2, 6, rng=rng), Reshape(*SHAPE))
        model = VAE(encoder, decoder, Gaussian(sigma2)).to(xp, np.float64)
        found = importance_weighted_bound(model, images, 23)
        assert (np.abs(found) > 1000).all()
        np.testing.assert_allclose(found, direct_bound(model, images, 23, 0), rtol=1e-12)


def test_bound_is_deterministic():
    model, images = tiny_vae(), pixels(5)
    one = importance_weighted_bound(model, images, 4, seed=1)
    np.testing.assert_array_equal(one, importance_weighted_bound(model, images, 4, seed=1))
    assert (one != importance_weighted_bound(model, images, 4, seed=2)).any()


def test_a_model_without_weights_has_no_bound():
    with pytest.raises(ValueError, match="Autoencoder gives no weights: it has no bound on log p"):
        importance_weighted_bound(make_model("ae", "mlp"), np.zeros((2, 1, 28, 28), np.uint8), 2)
