"""Means and draws of p(x|z): decode, draw, sample and sample_means return what their names say."""

import numpy as np
import pytest
from toys import LATENT_DIM, PIXELS, SHAPE, each_likelihood, each_model, make

from tinyvae import make_model, to_host
from tinyvae.rng import generator

MANY = 4000  # draws: a mean of so many is off by less than 0.04 in five standard deviations


def repeated(model, code=None):
    """One code, MANY times, and the mean image of p(x|z)."""
    z = np.random.default_rng(1).standard_normal((1, LATENT_DIM)) if code is None else code
    return np.repeat(z, MANY, axis=0), to_host(model.decode(z))[0]


@each_model
def test_bernoulli_draws_are_black_or_white_with_the_right_mean(xp, kind):
    model = make(kind, "bernoulli", xp=xp)
    z, mean = repeated(model)
    assert ((0 < mean) & (mean < 1)).all()  # which is grey
    x = to_host(model.draw(z, generator(0, "draws")))
    assert x.shape == (MANY, *SHAPE)
    assert set(np.unique(x)) == {0.0, 1.0}
    np.testing.assert_allclose(x.mean(axis=0), mean, atol=5 * 0.5 / np.sqrt(MANY))


@each_model
@pytest.mark.parametrize("likelihood", ["gaussian", "learned gaussian"])
def test_gaussian_draws_have_the_right_mean_and_variance(xp, kind, likelihood):
    model = make(kind, likelihood, xp=xp)
    z, mean = repeated(model)
    x = to_host(model.draw(z, generator(0, "draws")))
    assert x.shape == (MANY, *SHAPE)
    np.testing.assert_allclose(x.mean(axis=0), mean, atol=5 * np.sqrt(0.3 / MANY))
    np.testing.assert_allclose(x.var(axis=0), 0.3, rtol=5 * np.sqrt(2 / MANY))
    pixels = x.reshape(MANY, PIXELS)
    correlation = np.corrcoef(pixels, rowvar=False) - np.eye(PIXELS)
    assert np.abs(correlation).max() < 5 / np.sqrt(MANY)  # each pixel has noise of its own


def test_each_column_has_noise_of_its_own_size():
    sigma2 = np.array([0.1, 0.5, 1.0, 2.0])
    model = make_model("vae", "mlp", 2, "gaussian", (5,), (4,))
    model.likelihood.logvar.value = np.log(sigma2)
    x = model.draw(np.zeros((MANY, 2), np.float32), generator(0, "draws"))
    np.testing.assert_allclose(x.var(axis=0), sigma2, rtol=5 * np.sqrt(2 / MANY))


@each_model
@each_likelihood
def test_sample_draws_codes_and_then_examples(xp, kind, likelihood):
    """The codes are those of sample_means; around the means lies the noise of p(x|z)."""
    model = make(kind, likelihood, xp=xp)
    draws = to_host(model.sample(MANY, generator(3, "test")))
    means = to_host(model.sample_means(MANY, generator(3, "test")))
    z = generator(3, "test").standard_normal((MANY, LATENT_DIM), np.float32)
    np.testing.assert_array_equal(means, to_host(model.decode(z)))
    assert (draws != means).any(axis=(1, 2, 3)).all()
    noise = draws - means
    expected = (means * (1 - means)) if likelihood == "bernoulli" else np.full_like(means, 0.3)
    assert abs(noise.mean()) < 5 * np.sqrt(expected.mean() / noise.size)
    np.testing.assert_allclose(noise.var(), expected.mean(), rtol=0.1)
    assert means.reshape(MANY, -1).var(axis=0).min() > 1e-4  # and the means vary with the codes


@each_model
def test_a_draw_depends_on_the_generator_and_a_mean_does_not(kind):
    model = make(kind, "gaussian")
    z = np.random.default_rng(0).standard_normal((5, LATENT_DIM))
    one, same, other = (model.draw(z, generator(seed, "draws")) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).all()
    np.testing.assert_array_equal(model.decode(z), model.decode(z))


@each_model
def test_reconstructions_are_means(kind):
    """Of the code that embed gives: no noise is drawn."""
    model, x = make(kind, "bernoulli"), np.random.default_rng(0).random((5, *SHAPE))
    np.testing.assert_array_equal(model.reconstruct(x), model.decode(model.embed(x)))
    np.testing.assert_array_equal(model.reconstruct(x), model.reconstruct(x))
    assert len(np.unique(model.reconstruct(x))) > 5
