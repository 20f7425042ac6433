"""The hierarchical VAE on linear hierarchies z2 -> z1 -> x, in which everything is known.

There x ~ N(W1 c + b, W1 (W2 W2' + diag s1) W1' + s2 I), and the posterior is a Gaussian.
"""

import numpy as np
import pytest
from linear_toy import gaussian_kl

from tinyvae import HVAE, Gaussian, Linear, Sequential
from tinyvae.engine.layers import Flatten
from tinyvae.laboratory.linear_gaussian import LinearGaussian, exact_noise
from tinyvae.models.bottom_up import BottomUp
from tinyvae.models.ladder import Ladder
from tinyvae.models.latent_layer import GaussianLayer
from tinyvae.models.vae import GaussianEncoder
from tinyvae.training.evaluation import importance_weighted_bound

each_inference = pytest.mark.parametrize("inference", ["bottom-up", "ladder"])


class Hierarchy:
    """z2 ~ N(0, I), z1 ~ N(W2 z2 + c, diag s1), x ~ N(W1 z1 + b, s2 I), W1 (5, 3), W2 (3, 2)."""

    s2 = 0.3

    def __init__(self, w1, w2, s1, rng):
        self.w1, self.w2, self.s1 = w1, w2, s1
        self.b, self.c = rng.standard_normal(5), rng.standard_normal(3)

    def model(self, inference, first, second):
        """The HVAE with this p; first and second: (weight, bias, variance) of q's two layers."""
        rng, ladder = np.random.default_rng(0), inference == "ladder"
        bottom = GaussianEncoder(Flatten(), 5, 3, rng=rng)
        top = GaussianEncoder(Flatten(), 5, 2, rng=rng) if ladder else self.layer(3, 2, rng)
        encoder = (Ladder if ladder else BottomUp)([bottom, top])
        prior, decoder = self.layer(2, 3, rng), Sequential(Linear(3, 5, rng=rng))
        model = HVAE(encoder, [prior], decoder, Gaussian(self.s2)).to(np, np.float64)
        for layer, (weight, bias, variance) in (
            (bottom, first),
            (top, second),
            (prior, (self.w2, self.c, self.s1)),
        ):
            layer.mu.weight.value, layer.mu.bias.value = weight, bias
            layer.logvar.weight.value, layer.logvar.bias.value = 0 * weight, np.log(variance)
        decoder.layers[0].weight.value, decoder.layers[0].bias.value = self.w1, self.b
        return model

    @staticmethod
    def layer(inside, outside, rng):
        return GaussianLayer(Flatten(), inside, outside, rng=rng)

    def log_p(self, x):
        """x ~ N(W1 c + b, W1 (W2 W2' + diag s1) W1' + s2 I): probabilistic PCA."""
        w = self.w1 @ np.linalg.cholesky(self.w2 @ self.w2.T + np.diag(self.s1))
        return LinearGaussian(w, self.w1 @ self.c + self.b, self.s2).log_p(x)

    def posterior(self, x):
        """Mean (5,) and covariance (5, 5) of (z2, z1) given one x, by conditioning."""
        mean, covariance = chain(np.zeros(2), np.eye(2), self.w2, self.c, self.s1)
        mean, covariance = chain(
            mean, covariance, np.hstack([np.zeros((5, 2)), self.w1]), self.b, self.s2 * np.ones(5)
        )
        gain = covariance[:5, 5:] @ np.linalg.inv(covariance[5:, 5:])
        return mean[:5] + gain @ (x - mean[5:]), covariance[:5, :5] - gain @ covariance[5:, :5]


def chain(mean, covariance, weight, bias, variance):
    """Of (u, v) where u ~ N(mean, covariance) and v ~ N(weight u + bias, diag variance)."""
    cross = weight @ covariance
    corner = cross @ weight.T + np.diag(variance)
    both = np.block([[covariance, cross.T], [cross, corner]])
    return np.concatenate([mean, weight @ mean + bias]), both


def linear(rows, columns, rng):
    """Any q of one layer."""
    return rng.standard_normal((rows, columns)), rng.standard_normal(rows), rng.random(rows) + 0.1


def orthogonal(rows, columns, rng):
    return np.linalg.qr(rng.standard_normal((rows, columns)))[0] * (0.5 + rng.random(columns))


def exact(inference, rng):
    """A hierarchy whose true posterior is of the form that q has, and the model with this q."""
    w1, s1 = orthogonal(5, 3, rng), 0.2 + rng.random(3)
    length2 = (w1**2).sum(axis=0)  # of W1's columns
    seen = Hierarchy.s2 / length2  # the variance of z1 seen from x alone
    back = (w1 / length2).T  # z1 = back (x - b)
    if inference == "ladder":
        e = 1 / (s1 + seen)
        one = Hierarchy(w1, orthogonal(3, 2, rng) / np.sqrt(e)[:, None], s1, rng)
        first = back, -back @ one.b, seen
        v = 1 / (1 + np.diag(one.w2.T * e @ one.w2))
        a = v[:, None] * (one.w2.T * e)
        second = a @ back, -a @ (back @ one.b + one.c), v
    else:
        w2 = np.zeros((3, 2))
        w2[2, 0], w2[0, 1] = 0.7, -1.3
        one = Hierarchy(w1, w2, s1, rng)
        m = s1 + (w2**2).sum(axis=1)  # the variance of z1
        v = 1 / (1 / seen + 1 / m)
        a = (v / seen)[:, None] * back
        first = a, -a @ one.b + v / m * one.c, v
        v = 1 / (1 + (w2.T / s1 * w2.T).sum(axis=1))
        a = v[:, None] * w2.T / s1
        second = a, -a @ one.c, v
    return one, one.model(inference, first, second)


@each_inference
def test_with_the_exact_posterior_every_weight_is_p_of_x(inference):
    """log p(x, z) - log q(z|x) = log p(x) for every z: no variance, and the ELBO is log p(x)."""
    rng = np.random.default_rng(0)
    one, model = exact(inference, rng)
    x, eps = 3 * rng.standard_normal((7, 5)), rng.standard_normal((11, 7, 5))
    log_w = model.log_weights(x, eps)
    np.testing.assert_allclose(log_w, np.broadcast_to(one.log_p(x), (11, 7)), rtol=1e-11)
    total = model.loss(x, exact_noise(7, 5)).total
    assert -total == pytest.approx(one.log_p(x).mean(), rel=1e-11)


def any_model(inference, rng):
    one = Hierarchy(
        rng.standard_normal((5, 3)), rng.standard_normal((3, 2)), 0.2 + rng.random(3), rng
    )
    first, second = linear(3, 5, rng), linear(2, 5 if inference == "ladder" else 3, rng)
    return one, one.model(inference, first, second), first, second


def joint(one, inference, first, second, x):
    """Mean and covariance of (z2, z1) under q, for one x."""
    (a, a0, v), (b, b0, u) = first, second
    if inference == "ladder":
        share = one.s1 / (one.s1 + v)  # of x's own precision
        weight, bias = (1 - share)[:, None] * one.w2, share * (a @ x + a0) + (1 - share) * one.c
        return chain(b @ x + b0, np.diag(u), weight, bias, v * one.s1 / (v + one.s1))
    mean, covariance = chain(a @ x + a0, np.diag(v), b, b0, u)  # of (z1, z2)
    order = [3, 4, 0, 1, 2]
    return mean[order], covariance[np.ix_(order, order)]


@each_inference
@pytest.mark.parametrize("seed", range(3))
def test_the_elbo_of_any_q(inference, seed):
    """ELBO = log p(x) - KL(q || p(z1, z2 | x)). The noise makes the means over q exact."""
    rng = np.random.default_rng(seed)
    one, model, *q = any_model(inference, rng)
    x = rng.standard_normal((4, 5))
    gap = [gaussian_kl(*joint(one, inference, *q, each), *one.posterior(each)) for each in x]
    expected, noise = one.log_p(x) - gap, exact_noise(4, 5)
    np.testing.assert_allclose(model.log_weights(x, noise).mean(axis=0), expected, rtol=1e-10)
    assert -model.loss(x, noise).total == pytest.approx(expected.mean(), rel=1e-10)


@each_inference
def test_the_importance_weighted_bound_tends_to_log_p(inference):
    rng = np.random.default_rng(0)
    one, model = exact(inference, rng)
    layer = model.encoder.layers[0]
    layer.mu.bias.value += 0.3
    layer.logvar.bias.value += 0.4
    x = one.w1 @ rng.standard_normal((3, 20)) + one.b[:, None]
    x = x.T.astype(np.float32)
    log_p = one.log_p(x).mean()
    bounds = [importance_weighted_bound(model, x, k, seed=1).mean() for k in (1, 10, 2000)]
    assert bounds[0] < bounds[1] - 0.1 < bounds[2] < log_p + 0.02
    assert bounds[2] == pytest.approx(log_p, abs=0.02)


def test_the_model_draws_from_its_distribution():
    rng = np.random.default_rng(0)
    one, model, *_ = any_model("bottom-up", rng)
    x = model.sample(100_000, rng)
    inside = one.w2 @ one.w2.T + np.diag(one.s1)
    covariance = one.w1 @ inside @ one.w1.T + one.s2 * np.eye(5)
    error = np.abs(np.cov(x.T) - covariance).max() / np.abs(covariance).max()
    assert error < 0.02
    np.testing.assert_allclose(x.mean(axis=0), one.w1 @ one.c + one.b, atol=0.05)


def test_a_part_of_the_kl_may_be_negative():
    """Only the sum over the layers is a KL: z2 may know z1 better than x does."""
    rng = np.random.default_rng(0)
    one = Hierarchy(np.ones((5, 3)), np.eye(3, 2), 0.01 * np.ones(3), rng)
    first = np.zeros((3, 5)), one.c, np.ones(3)
    second = np.eye(2, 3), -one.c[:2], 0.01 * np.ones(2)
    model = one.model("bottom-up", first, second)
    kl = model.loss(rng.standard_normal((4, 5)), exact_noise(4, 5)).kl
    assert (kl[:2] < -1).all() and kl.sum() > 0
