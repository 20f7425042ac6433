"""A model's loss by hand, its gradient against finite differences, and both for split batches."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from toys import (
    MODELS,
    each_likelihood,
    each_model,
    loss_and_gradient,
    on_host,
    tiny_autoencoder,
    tiny_batch,
    tiny_vae,
)

from tinyvae import (
    VAE,
    Bernoulli,
    Conv2d,
    ConvTranspose2d,
    Flatten,
    GaussianEncoder,
    Linear,
    Reshape,
    Sequential,
    Tanh,
    make_model,
    to_host,
)
from tinyvae.engine.differences import check_model, numerical_gradient, relative_error
from tinyvae.gradcheck import TOLERANCE

# The value of the loss, from the public encode and decode and SciPy's distributions.


def log_prob_by_scipy(likelihood, model, x, mean):
    """log p(x|z), (...), from the decoder's mean images (..., C, H, W)."""
    if likelihood == "bernoulli":  # of grey levels: the cross-entropy
        log_p = scipy.special.xlogy(x, mean) + scipy.special.xlog1py(1 - x, -mean)
    else:
        sigma2 = 0.3
        if likelihood == "learned gaussian":
            sigma2 = np.exp(to_host(model.likelihood.logvar.value))
        log_p = scipy.stats.norm(mean, np.sqrt(sigma2)).logpdf(x)
    return log_p.sum(axis=(-3, -2, -1))


@each_likelihood
@pytest.mark.parametrize("samples", [1, 3])
def test_loss_of_the_vae_by_hand(xp, likelihood, samples):
    model = tiny_vae(likelihood, xp)
    x, eps = tiny_batch(4, samples)
    mu, logvar = on_host(model.encode(x))
    z = mu + np.sqrt(np.exp(logvar)) * eps  # (S, N, L)
    mean = np.array([to_host(model.decode(codes)) for codes in z])
    reconstruction = -log_prob_by_scipy(likelihood, model, x, mean).mean()
    kl = 0.5 * (mu**2 + np.exp(logvar) - 1 - logvar).mean(axis=0)

    loss = model.loss(x, eps)
    assert float(loss.reconstruction) == pytest.approx(reconstruction, rel=1e-12)
    np.testing.assert_allclose(to_host(loss.kl), kl, rtol=1e-12)
    assert float(loss.total) == pytest.approx(reconstruction + kl.sum(), rel=1e-12)

    floor = float(np.sort(kl)[:2].mean())  # between the first and the second dimension
    counted = np.maximum(kl, floor).sum()
    loss = model.loss(x, eps, beta=4.0, free_bits=floor)
    assert float(loss.total) == pytest.approx(reconstruction + 4 * counted, rel=1e-12)
    np.testing.assert_allclose(to_host(loss.kl), kl, rtol=1e-12)


@each_likelihood
def test_loss_of_the_autoencoder_by_hand(xp, likelihood):
    model = tiny_autoencoder(likelihood, xp)
    x, _ = tiny_batch(4)
    mean = to_host(model.decode(model.encode(x)))
    expected = -log_prob_by_scipy(likelihood, model, x, mean).mean()
    loss = model.loss(x)
    assert float(loss.total) == pytest.approx(expected, rel=1e-12)
    assert float(loss.reconstruction) == pytest.approx(expected, rel=1e-12)
    assert loss.terms.keys() == loss.dterms.keys() == {"reconstruction"}
    with pytest.raises(AttributeError, match="this loss has the terms reconstruction, not kl"):
        _ = loss.kl


@each_likelihood
def test_log_weights_by_hand(xp, likelihood):
    model = tiny_vae(likelihood, xp)
    x, eps = tiny_batch(4, samples=3)
    mu, logvar = on_host(model.encode(x))
    std = np.sqrt(np.exp(logvar))
    z = mu + std * eps
    mean = np.array([to_host(model.decode(codes)) for codes in z])
    log_pz = scipy.stats.norm.logpdf(z).sum(axis=2)
    log_qz = scipy.stats.norm(mu, std).logpdf(z).sum(axis=2)
    expected = log_prob_by_scipy(likelihood, model, x, mean) + log_pz - log_qz
    log_w = to_host(model.log_weights(x, eps))
    assert log_w.shape == (3, 4)
    np.testing.assert_allclose(log_w, expected, rtol=1e-12)


# The gradient, against finite differences.

OPTIONS = {
    "plain": {},
    "beta 4": {"beta": 4.0},
    "beta 0": {"beta": 0.0},
    "free bits": {"free_bits": "between"},
    "beta and free bits": {"beta": 0.5, "free_bits": "between"},
}


def floor_between(model, x, eps, how_many=1):
    """Free bits that hold `how_many` latent dimensions at the floor and leave the others above."""
    kl = np.sort(to_host(model.loss(x, eps).kl))
    return float(kl[how_many - 1] + kl[how_many]) / 2


@each_likelihood
@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_element_of_the_vaes_gradient(likelihood, samples, options):
    model = tiny_vae(likelihood)
    x, eps = tiny_batch(3, samples)
    if "free_bits" in options:
        options = options | {"free_bits": floor_between(model, x, eps)}
    _, gradient = loss_and_gradient(model, x, eps, **options)
    numerical = numerical_gradient(lambda: model.loss(x, eps, **options).total, model.theta)
    assert relative_error(numerical, gradient) < TOLERANCE


@each_likelihood
def test_every_element_of_the_autoencoders_gradient(likelihood):
    model = tiny_autoencoder(likelihood)
    x, _ = tiny_batch(3)
    _, gradient = loss_and_gradient(model, x, None)
    numerical = numerical_gradient(lambda: model.loss(x).total, model.theta)
    assert relative_error(numerical, gradient) < TOLERANCE


@pytest.mark.parametrize("network", ["conv", "mlp"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@each_model
def test_gradient_of_the_tutorials_models(kind, network, likelihood):
    rng = np.random.default_rng(0)
    x, eps = rng.random((2, 1, 28, 28)), rng.standard_normal((3, 2, 4))
    model = make_model(kind, network, 4, likelihood, seed=1)
    if kind == "ae":
        assert check_model(model, x, rng=rng) < TOLERANCE
        return
    assert check_model(model, x, eps, rng=rng) < TOLERANCE
    floor = floor_between(model, x, eps, how_many=2)
    assert check_model(model, x, eps, rng=rng, beta=2.5, free_bits=floor) < TOLERANCE


def test_gradient_of_a_model_of_ones_own_layers():
    """Strides, paddings and a rectangular image that the tutorial's networks do not have."""
    rng = np.random.default_rng(0)
    trunk = Sequential(
        Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0), rng=rng), Tanh(), Flatten()
    )
    decoder = Sequential(
        Linear(2, 3 * 3 * 4, rng=rng),
        Tanh(),
        Reshape(3, 3, 4),
        ConvTranspose2d(3, 2, (3, 2), stride=(2, 1), padding=(1, 0), rng=rng),
    )
    model = VAE(GaussianEncoder(trunk, 3 * 3 * 4, 2, rng=rng), decoder, Bernoulli())
    x, eps = rng.random((3, 2, 5, 5)), rng.standard_normal((2, 3, 2))
    assert check_model(model, x, eps, rng=rng) < TOLERANCE


def test_a_dimension_at_its_floor_has_no_kl_gradient(xp):
    """With all of them at the floor, only the reconstruction is left to learn from."""
    x, eps = tiny_batch(4, samples=2)
    model = tiny_vae(xp=xp)
    high = float(model.loss(x, eps).kl.max()) + 1
    _, floored = loss_and_gradient(model, x, eps, beta=3.0, free_bits=high)
    _, without_kl = loss_and_gradient(model, x, eps, beta=0.0)
    np.testing.assert_allclose(floored, without_kl, rtol=1e-12, atol=1e-15)


def test_loss_is_linear_in_beta(xp):
    x, eps = tiny_batch(4)
    model = tiny_vae(xp=xp)
    (loss0, grad0), (loss1, grad1), (loss3, grad3) = (
        loss_and_gradient(model, x, eps, beta=beta) for beta in (0.0, 1.0, 3.0)
    )
    assert loss3 - loss0 == pytest.approx(3 * (loss1 - loss0), rel=1e-10)
    np.testing.assert_allclose(grad3 - grad0, 3 * (grad1 - grad0), rtol=1e-9, atol=1e-13)


# What may not matter: how a batch is put together.


@each_model
@each_likelihood
@given(sizes=st.lists(st.integers(1, 5), min_size=2, max_size=4), seed=st.integers(0, 99))
def test_splitting_a_batch_changes_nothing(xp, kind, likelihood, sizes, seed):
    """Loss and gradient of the whole are those of the parts, weighted by their sizes."""
    model = MODELS[kind](likelihood, xp)
    n = sum(sizes)
    x, eps = tiny_batch(n, samples=2, seed=seed)
    total, gradient = loss_and_gradient(model, x, eps, **({"beta": 1.5} if kind == "vae" else {}))
    edges = np.cumsum(sizes)[:-1]
    parts = zip(np.split(x, edges), np.split(eps, edges, axis=1), sizes, strict=True)
    sum_total, sum_gradient = 0.0, 0.0
    for x_part, eps_part, size in parts:
        options = {"beta": 1.5} if kind == "vae" else {}
        total_part, gradient_part = loss_and_gradient(model, x_part, eps_part, **options)
        sum_total += size / n * total_part
        sum_gradient += size / n * gradient_part
    assert total == pytest.approx(sum_total, rel=1e-12)
    np.testing.assert_allclose(gradient, sum_gradient, rtol=1e-9, atol=1e-13)


@each_likelihood
@given(samples=st.integers(2, 5), n=st.integers(1, 4), seed=st.integers(0, 99))
def test_several_samples_are_the_mean_of_single_ones(xp, likelihood, samples, n, seed):
    """Also with free bits, which look at the batch but not at the samples."""
    model = tiny_vae(likelihood, xp)
    x, eps = tiny_batch(n, samples, seed)
    options = {"beta": 1.5, "free_bits": floor_between(model, x, eps)}
    total, gradient = loss_and_gradient(model, x, eps, **options)
    single = [loss_and_gradient(model, x, eps[s : s + 1], **options) for s in range(samples)]
    assert total == pytest.approx(np.mean([loss for loss, _ in single]), rel=1e-12)
    mean = np.mean([grad for _, grad in single], axis=0)
    np.testing.assert_allclose(gradient, mean, rtol=1e-9, atol=1e-13)
    weights = [to_host(model.log_weights(x, eps[s : s + 1])) for s in range(samples)]
    log_w = to_host(model.log_weights(x, eps))
    np.testing.assert_allclose(log_w, np.concatenate(weights), rtol=1e-12)


@pytest.mark.parametrize("network", ["conv", "mlp"])
def test_an_image_does_not_see_its_neighbours(xp, network):
    model = make_model("vae", network, 3, seed=2).to(xp, np.float64)
    x = np.random.default_rng(0).random((3, 1, 28, 28))
    mu, logvar = on_host(model.encode(x))
    pictures = to_host(model.reconstruct(x))
    for i in range(3):
        one_mu, one_logvar = on_host(model.encode(x[i : i + 1]))
        np.testing.assert_allclose(one_mu[0], mu[i], rtol=1e-10)
        np.testing.assert_allclose(one_logvar[0], logvar[i], rtol=1e-10)
        one = to_host(model.reconstruct(x[i : i + 1]))
        np.testing.assert_allclose(one[0], pictures[i], rtol=1e-10)
