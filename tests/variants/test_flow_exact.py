"""Flows where log p(x) has a closed form: no flow is above it, and the right flow reaches it."""

import math

import numpy as np
import pytest
from linear_toy import SHAPE, D, L
from scipy.stats import norm

from tinyvae import Flatten, Flow, FlowVAE, Gaussian, Linear, Reshape, Sequential
from tinyvae.engine.flows import STEPS
from tinyvae.engine.optim import Adam
from tinyvae.laboratory.linear_gaussian import LinearGaussian
from tinyvae.models.flow import ContextEncoder

each_flow = pytest.mark.parametrize("kind", STEPS)


def linear_model(orthogonal, seed=0):
    """LinearGaussian and four examples of it; M is diagonal if the columns of W are orthogonal."""
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((D, L))
    w = np.linalg.qr(w)[0] * [2.0, 0.7] if orthogonal else w + [[1.0, 1.0]]
    exact = LinearGaussian(w, rng.standard_normal(D), 0.3)
    x = rng.standard_normal((4, L)) @ w.T + exact.m + 0.5 * rng.standard_normal((4, D))
    return exact, x.reshape(4, *SHAPE)


def flow_vae(exact, kind, number, v, variance, noise=0.0, seed=0):
    """The FlowVAE with the decoder of `exact`, q0 = N(V (x - m), diag variance) and h = x."""
    rng = np.random.default_rng(seed)
    encoder = ContextEncoder(Flatten(), D, L, rng=rng)
    decoder = Sequential(Linear(L, D, rng=rng), Reshape(*SHAPE))
    flow = Flow(kind, number, L, D, rng=rng)
    model = FlowVAE(encoder, decoder, Gaussian(exact.s2), flow).to(np, np.float64)
    same = exact.vae(SHAPE, v, variance).state_dict()
    model.load_state_dict(model.state_dict() | same)
    for _, parameter in flow.named_parameters():
        parameter.value += noise * rng.standard_normal(parameter.value.shape)
    return model


@each_flow
def test_without_a_change_the_flow_has_the_exact_posterior_of_orthogonal_columns(kind):
    """Every weight is p(x): the bound is log p(x), and it has no variance."""
    exact, x = linear_model(orthogonal=True)
    model = flow_vae(exact, kind, 3, exact.posterior_map(), exact.best_variance())
    eps = np.random.default_rng(1).standard_normal((50, len(x), L))
    expected = np.broadcast_to(exact.log_p(x), (50, len(x)))
    np.testing.assert_allclose(model.log_weights(x, eps), expected, rtol=1e-12)


@each_flow
@pytest.mark.parametrize("orthogonal", [True, False])
def test_no_flow_is_above_log_p(kind, orthogonal):
    """The mean of the weights' logs, by many draws, for flows that are far from the identity."""
    exact, x = linear_model(orthogonal)
    for seed in range(3):
        model = flow_vae(exact, kind, 3, exact.posterior_map(), exact.best_variance(), 0.1, seed)
        eps = np.random.default_rng(seed).standard_normal((2000, len(x), L))
        gap = exact.log_p(x) - model.log_weights(x, eps)  # (S, N)
        error = gap.std(axis=0) / math.sqrt(len(eps))
        assert (gap.mean(axis=0) > 3 * error).all() and (error > 0).all()


@each_flow
def test_the_density_of_q_integrates_to_one(kind):
    """The mean over q of r / q is 1, here for a Gaussian r that is narrow and inside of q."""
    exact, x = linear_model(orthogonal=False)
    model = flow_vae(exact, kind, 3, exact.posterior_map(), 9 * exact.best_variance(), 0.1)
    eps = np.random.default_rng(0).standard_normal((10_000, len(x), L))
    *_, z, _, _, log_px = model._forward(x, eps)
    log_q = log_px + norm.logpdf(z).sum(axis=0) - model.log_weights(x, eps)  # (S, N)
    centre, std = np.median(z, axis=1, keepdims=True), 0.3 * z.std(axis=1, keepdims=True)
    ratio = np.exp(norm.logpdf(z, centre, std).sum(axis=0) - log_q)
    error = ratio.std(axis=0) / math.sqrt(len(eps))
    assert (error < 0.05).all() and (np.abs(ratio.mean(axis=0) - 1) < 4 * error).all()


@pytest.mark.parametrize("kind", ["coupling", "iaf"])
def test_a_flow_can_represent_a_correlated_gaussian(kind):
    """Weights by hand: z = mean + A eps with a triangular A. The bound reaches log p(x).

    A diagonal Gaussian stays below by LinearGaussian.gap(). z'[1] = z[1] + c z[0] is linear, and a
    tanh is linear near 0: c / t * tanh(t z) with a small t.
    """
    exact, x = linear_model(orthogonal=False)
    covariance = exact.s2 * np.linalg.inv(exact.precision)
    a, t = np.linalg.cholesky(covariance), 1e-5
    c = a[1, 0] / a[0, 0]
    v = np.linalg.solve([[1, 0], [c, 1]], exact.posterior_map())  # of q0: the flow adds c z[0]
    model = flow_vae(exact, kind, 1, v, np.diag(a) ** 2)
    network = model.flow.steps[0].network
    for _, parameter in network.named_parameters():
        parameter.value[...] = 0
    network.from_z.weight.value[1, 0] = t  # hidden unit 1 sees z[0] in both kinds
    network.out.weight.value[0 if kind == "coupling" else 1, 1] = c / t  # m of z[1]
    eps = np.random.default_rng(1).standard_normal((50, len(x), L))
    log_w = model.log_weights(x, eps)
    np.testing.assert_allclose(log_w, np.broadcast_to(exact.log_p(x), log_w.shape), atol=1e-6)
    assert exact.gap() > 0.1


@each_flow
def test_training_closes_the_gap_of_a_diagonal_gaussian(kind):
    """From the best diagonal Gaussian, with p fixed. A planar flow bends, and closes a part."""
    exact, x = linear_model(orthogonal=False)
    model = flow_vae(exact, kind, 4, exact.posterior_map(), exact.best_variance())
    before, rng = exact.gap(), np.random.default_rng(2)
    fixed = {name: p for name, p in model.named_parameters() if name.startswith("decoder")}
    optimizer = Adam(model, lr=0.01)
    x = np.repeat(x, 25, axis=0)
    for step in range(250):
        model.loss(x, rng.standard_normal((1, len(x), L)))
        model.backward()
        for parameter in fixed.values():
            parameter.grad[...] = 0
        optimizer.lr = 0.01 * (1 - step / 250)
        optimizer.step()
    log_w = model.log_weights(x, rng.standard_normal((200, len(x), L)))
    gap = (exact.log_p(x) - log_w.mean(axis=0)).mean()
    assert 0 < gap < (0.75 if kind == "planar" else 0.15) * before
