"""The best q(z|x) with a flow, and what is integrated over the plane."""

from functools import partial

import numpy as np
import pytest

from tinyvae import make_model
from tinyvae.laboratory import flow_posterior, quadrature
from tinyvae.laboratory.flow_posterior import (
    Posterior,
    fit_flow,
    posterior_of,
    split_gap,
    without_flow,
)
from tinyvae.laboratory.quadrature import integrate

D = 5
KINDS = ("planar", "coupling", "iaf")


@pytest.fixture(autouse=True)
def rough(monkeypatch):
    monkeypatch.setattr("tinyvae.engine.flows.WIDTH", 8)
    monkeypatch.setattr(quadrature, "SIDE", 0.25)


def flow_model(kind="iaf", number=2, noise=0.3, seed=0):
    """A FlowVAE for vectors of five numbers, in float64, whose flow changes something."""
    rng = np.random.default_rng(seed)
    model = make_model("flow", "mlp", 2, "gaussian", (6,), (D,), seed, flow=kind, flow_steps=number)
    model.to(np, np.float64)
    for _, parameter in model.flow.named_parameters():
        parameter.value += noise * rng.standard_normal(parameter.value.shape)
    return model, rng.standard_normal((3, D))


@pytest.mark.parametrize("kind", ["coupling", "iaf"])
def test_the_density_of_a_posterior_is_that_of_its_draws(kind):
    """log q(z|x) at draws, from log_weights; and over the plane it integrates to one."""
    model, x = flow_model(kind)
    q, eps = posterior_of(model, x), np.random.default_rng(1).standard_normal((4, 3, 2))
    _, _, _, _, z, _, _, _ = model._forward(x, eps)  # z (L, S, N)
    for n in range(3):
        log_joint = quadrature.log_joint(model, x[n : n + 1], z[:, :, n].T)[0]
        log_q = log_joint - model.log_weights(x, eps)[:, n]
        np.testing.assert_allclose(q.log_density(n, z[:, :, n].T), log_q, rtol=1e-9)
        lattice = integrate(lambda z, n=n: q.log_density(n, z)[None], z[:, :, n].T, 0.25, 1e-3)
        assert lattice.log_integrals[0] == pytest.approx(0, abs=1e-3)


def test_only_flows_with_an_inverse_have_a_density():
    for kind, has in zip(KINDS, (False, True, True), strict=True):
        model, x = flow_model(kind)
        assert posterior_of(model, x).has_density == has
    assert Posterior(np.zeros((1, 2)), np.zeros((1, 2))).has_density


def test_without_its_flow_a_model_is_the_vae_of_q0():
    model, x = flow_model()
    vae = without_flow(model)
    for found, expected in zip(vae.encode(x), model.encode(x), strict=True):
        np.testing.assert_array_equal(found, expected)
    z = np.random.default_rng(0).standard_normal((4, 2))
    np.testing.assert_array_equal(vae.decode(z), model.decode(z))


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_begins_at_the_given_gaussian_and_improves_it(kind):
    """It changes neither the decoder nor the given arrays, and the likelihood stays too."""
    vae, (_, x) = without_flow(flow_model()[0]), flow_model()
    mu, logvar = (np.array(part) for part in vae.encode(x))
    before, given = vae.state_dict(), mu.copy()
    start = fit_flow(vae, x, mu, logvar, kind, 2, steps=0)
    q = posterior_of(start, x)
    np.testing.assert_allclose(q.mu, mu, rtol=1e-6)
    np.testing.assert_allclose(q.logvar, logvar, rtol=1e-6)
    elbo = [quadrature.elbo(one, x, 0.4) for one in (vae, start)]
    np.testing.assert_allclose(*elbo, rtol=1e-5)
    fitted = fit_flow(vae, x, mu, logvar, kind, 2, steps=100)
    assert (quadrature.elbo(fitted, x, 0.4) > elbo[0]).all()
    np.testing.assert_array_equal(mu, given)
    for name, value in fitted.state_dict().items():
        if name.startswith(("decoder", "likelihood")):
            np.testing.assert_allclose(value, before[name], rtol=1e-6, err_msg=name)


def test_the_split_is_consistent(monkeypatch):
    """log p(x) = ELBO + KL for every q that has a density; a flow is better than a Gaussian."""
    monkeypatch.setattr(flow_posterior, "fit_flow", partial(fit_flow, steps=200))
    model, x = flow_model()
    x = x[:2]
    numbers, lattices = split_gap(model, x, KINDS, 2)
    names = ("", "_gaussian", "_planar", "_coupling", "_iaf")
    assert numbers.keys() == {"log_p"} | {f"elbo{name}" for name in names} | {
        f"kl{name}" for name in names if name != "_planar"
    }
    for name in names:
        gap = numbers["log_p"] - numbers[f"elbo{name}"]
        assert (gap > -3e-3).all(), name
        if name != "_planar":
            np.testing.assert_allclose(numbers[f"kl{name}"], gap, atol=3e-3)
    assert (numbers["elbo_gaussian"] > numbers["elbo"]).all()
    for kind in KINDS:
        assert numbers[f"elbo_{kind}"].mean() > numbers["elbo_gaussian"].mean()
    assert len(lattices) == 2 and len(lattices[0].log_f) == 5
