import numpy as np
import pytest
from linear_toy import LinearToy, gaussian_kl
from toys import each_likelihood, on_host, tiny_batch, tiny_vae

from tinyvae import (
    VAE,
    Flatten,
    Gaussian,
    GaussianEncoder,
    Linear,
    ReLU,
    Reshape,
    Sequential,
)
from tinyvae.engine.differences import numerical_gradient, relative_error
from tinyvae.laboratory.free_posterior import (
    FreePosterior,
    best_posteriors,
    fit_posteriors,
    split_gap,
    with_posteriors,
)


@each_likelihood
def test_gradient_of_every_mu_and_logvar(likelihood):
    """Against finite differences. The theta of the encoder is not a part of the model's theta."""
    model, (x, eps) = tiny_vae(likelihood), tiny_batch(5, samples=2)
    mu, logvar = np.random.default_rng(1).standard_normal((2, 3, 5))
    model.encoder = FreePosterior(mu, logvar).to(np, np.float64)
    numerical = numerical_gradient(lambda: model.loss(x, eps).total, model.encoder.theta)
    model.loss(x, eps)
    model.backward()
    assert model.encoder.theta.shape == (30,)
    assert relative_error(numerical, model.encoder.grad) < 1e-7


def toy(xp=np):
    rng = np.random.default_rng(0)
    made = LinearToy(rng.standard_normal((5, 2)), rng.standard_normal(5), 0.3, xp=xp)
    x = rng.standard_normal((3, 2)) @ made.w.T + made.m + 0.5 * rng.standard_normal((3, 5))
    return made, x.reshape(3, 1, 5, 1)


def best_variance(covariance):
    """The variance of the diagonal Gaussian with the smallest KL to a Gaussian posterior."""
    return 1 / np.diag(np.linalg.inv(covariance))


def test_fit_finds_the_best_q_of_the_closed_form(xp):
    """The search starts far from the optimum, and it does not change the model."""
    made, x = toy(xp)
    before = made.model.state_dict()
    means, covariance = made.posterior(x)
    variance = best_variance(covariance)
    start = means + 3 * np.sqrt(variance), np.log(variance) + np.ones((3, 1)) * [1, -1]
    mu, logvar = fit_posteriors(made.model, x, *start)
    assert (np.abs(mu - means) / np.sqrt(variance) < 0.03).all()
    assert (np.abs(logvar - np.log(variance)) < 0.06).all()
    for name, value in made.model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_a_copy_has_the_q_that_it_is_given(xp):
    """And the decoder of the model: with the encoder's q it has the encoder's ELBO."""
    made, x = toy(xp)
    mu, logvar = on_host(made.model.encode(x))
    copied = with_posteriors(made.model, mu, logvar)
    for given, found in zip((mu, logvar), on_host(copied.encode(x)), strict=True):
        np.testing.assert_array_equal(found, given)
    eps = np.random.default_rng(1).standard_normal((4, 3, 2))
    expected, found = on_host([model.log_weights(x, eps) for model in (made.model, copied)])
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    with pytest.raises(ValueError, match="expected the 3 images that it has a q for, got 2"):
        copied.encode(x[:2])


def test_the_split_agrees_with_the_closed_form():
    """The approximation gap is the same for all images, (sum log M_ii - log |M|) / 2."""
    made, x = toy()
    numbers, lattices = split_gap(made.model, x)
    means, covariance = made.posterior(x)
    best = gaussian_kl(means[0], np.diag(best_variance(covariance)), means[0], covariance)
    mu, logvar = on_host(made.model.encode(x))
    gap = [gaussian_kl(mu[n], np.diag(np.exp(logvar[n])), means[n], covariance) for n in range(3)]
    gap, log_p = np.array(gap), made.log_p(x)
    assert gap.min() > best + 0.02 > 0.05
    exact = {"log_p": log_p, "elbo": log_p - gap, "kl": gap}
    fitted = {"elbo_best": log_p - best, "kl_best": np.full(3, best)}
    gaps = {"approximation_gap": np.full(3, best), "amortization_gap": gap - best}
    for expected, tolerance in ((exact, 1e-4), (fitted, 1e-3), (gaps, 1e-3)):
        for name, values in expected.items():
            np.testing.assert_allclose(numbers[name], values, atol=tolerance, err_msg=name)
    assert numbers.keys() == exact.keys() | fitted.keys() | gaps.keys() | {"change"}
    assert (numbers["change"] < 1e-4).all()
    assert len(lattices) == 3 and lattices[0].log_f.shape[0] == 3


def test_the_best_q_may_be_at_another_mode():
    """x determines |z0| = 1.5 and, weakly, z0 > 0; the encoder's q is at the mode with z0 < 0."""
    rng = np.random.default_rng(0)
    fold, add = Linear(2, 2, rng=rng), Linear(2, 3, rng=rng)
    fold.weight.value[...], fold.bias.value[...] = [[1, 0], [-1, 0]], 0
    add.weight.value[...], add.bias.value[...] = [[1, 1], [1, 1], [1, 0.8]], 0
    encoder = GaussianEncoder(Flatten(), 3, 2, rng=rng)
    for head, bias in ((encoder.mu, [-1.4, 0.1]), (encoder.logvar, [-5, -0.2])):
        head.weight.value[...], head.bias.value[...] = 0, bias
    decoder = Sequential(fold, ReLU(), add, Reshape(1, 3, 1))
    model = VAE(encoder, decoder, Gaussian(0.01)).to(np, np.float64)
    mu, logvar = best_posteriors(model, np.full((1, 1, 3, 1), 1.5))
    np.testing.assert_allclose(mu, [[1.495, 0]], atol=0.02)
    np.testing.assert_allclose(logvar, [[-np.log(301), 0]], atol=0.1)
