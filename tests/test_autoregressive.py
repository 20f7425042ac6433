import copy
from itertools import product

import numpy as np
import pytest
from scipy.special import logsumexp
from toys import LATENT_DIM, PIXELS, SHAPE, loss_and_gradient, tiny_batch, tiny_vae

from tinyvae import to_host
from tinyvae.engine.differences import numerical_gradient, relative_error
from tinyvae.laboratory.autoregressive import AutoregressiveBernoulli, VAEWithoutMean
from tinyvae.training.evaluation import evaluate

REACH, WIDTH, N = 4, 3, 5


def likelihood(xp=np, scale=5.0):
    """With large weights, so that the context matters."""
    made = AutoregressiveBernoulli(REACH, WIDTH, rng=np.random.default_rng(0)).to(xp, np.float64)
    made.theta[...] *= scale
    return made


def test_log_prob_by_a_loop_over_pixels(xp):
    rng = np.random.default_rng(1)
    x, logits = rng.random((PIXELS, 1, N)), rng.standard_normal((PIXELS, 2, N))
    made = likelihood(xp)
    found = to_host(made.log_prob(xp.asarray(x), xp.asarray(logits)))
    state = made.state_dict()
    filters, bias = state["filters.0.weight"][:, 0, 0], state["filters.0.bias"]
    expected = np.zeros((2, N))
    for s, n, d in product(range(2), range(N), range(PIXELS)):
        seen = [x[d - back, 0, n] if back <= d else 0.0 for back in range(REACH, 0, -1)]
        h = np.maximum(filters @ seen + bias, 0)
        logit = logits[d, s, n] + (state["sum.weight"] @ h + state["sum.bias"])[0]
        p = 1 / (1 + np.exp(-logit))
        expected[s, n] += x[d, 0, n] * np.log(p) + (1 - x[d, 0, n]) * np.log(1 - p)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_it_is_a_distribution(xp):
    """For any logits the probabilities of all 2^6 binary images of 6 pixels add up to 1."""
    images = np.array(list(product([0.0, 1.0], repeat=PIXELS))).T[:, None]  # (6, 1, 64)
    logits = np.random.default_rng(2).standard_normal((PIXELS, 3, 1)) * np.ones(64)
    log_p = to_host(likelihood(xp).log_prob(xp.asarray(images), xp.asarray(logits)))
    assert log_p.std() > 1
    np.testing.assert_allclose(logsumexp(log_p, axis=1), 0, atol=1e-12)


def test_gradients_of_the_likelihood(xp):
    """With a random upstream gradient, with respect to the logits and to every weight."""
    rng = np.random.default_rng(3)
    made, x = likelihood(xp, scale=1.0), xp.asarray(rng.random((PIXELS, 1, N)))
    logits, upstream = rng.standard_normal((PIXELS, 2, N)), rng.standard_normal((2, N))

    def value():
        return float((to_host(made.log_prob(x, xp.asarray(logits))) * upstream).sum())

    value()
    dlogits = to_host(made.backward(xp.asarray(upstream), x, xp.asarray(logits)))
    grad = to_host(made.grad).copy()
    assert relative_error(numerical_gradient(value, logits), dlogits) < 1e-7
    theta = to_host(made.theta).copy()

    def value_at():
        made.theta[...] = xp.asarray(theta)
        return value()

    assert relative_error(numerical_gradient(value_at, theta), grad) < 1e-7


def test_gradient_of_a_vae_that_has_it(xp):
    model = tiny_vae()
    model.likelihood = likelihood()
    model.to(xp, np.float64)
    x, eps = tiny_batch(N, samples=2)
    _, grad = loss_and_gradient(model, x, eps, beta=0.7)
    theta = to_host(model.theta).copy()

    def value():
        model.theta[...] = xp.asarray(theta)
        return float(model.loss(x, eps, beta=0.7).total)

    assert relative_error(numerical_gradient(value, theta), grad) < 1e-6


def test_evaluation_without_a_mean_image():
    """The same numbers as those of a VAE, but for the squared error."""
    pixels = np.random.default_rng(4).integers(0, 256, (N, *SHAPE), dtype=np.uint8)
    plain = tiny_vae()
    expected = evaluate(plain, pixels)
    del expected["mse"]
    encoder, decoder = copy.deepcopy((plain.encoder, plain.decoder))
    model = VAEWithoutMean(encoder, decoder, plain.likelihood).to(np, np.float64)
    assert evaluate(model, pixels) == expected
    model.likelihood = likelihood()
    assert evaluate(model, pixels).keys() == expected.keys()
    with pytest.raises(NotImplementedError, match="no closed form"):
        model.decode(np.zeros((2, LATENT_DIM), np.float32))
