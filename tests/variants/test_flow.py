"""The VAE with a flow: its terms by hand, its gradient, and the VAE that it contains."""

import numpy as np
import pytest
from scipy.stats import norm
from short_runs import DATA, trainer, without_seconds
from toys import LIKELIHOODS, PIXELS, SHAPE, each_likelihood, tiny_batch, tiny_decoder, tiny_vae

from tinyvae import Flatten, Flow, FlowVAE, Linear, Sequential, Tanh, UserError, make_model, to_host
from tinyvae.engine.differences import numerical_gradient, relative_error
from tinyvae.engine.flows import STEPS
from tinyvae.engine.gaussian import kl_to_standard, reparameterize
from tinyvae.laboratory.linear_gaussian import exact_noise
from tinyvae.models.flow import ContextEncoder
from tinyvae.training.evaluation import evaluate, importance_weighted_bound

L, N, S = 3, 4, 2
each_flow = pytest.mark.parametrize("kind", STEPS)


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """Networks of few hidden units, so that finite differences of every weight are quick."""
    monkeypatch.setattr("tinyvae.engine.flows.WIDTH", 4)


def tiny_flow(kind, likelihood="bernoulli", number=2, noise=0.5, xp=np, dtype=np.float64):
    """toys.tiny_vae with a flow; `noise` is added to the flow's parameters."""
    rng = np.random.default_rng(0)
    trunk = Sequential(Flatten(), Linear(PIXELS, 5, rng=rng), Tanh())
    encoder = ContextEncoder(trunk, 5, L, rng=rng)
    decoder, flow = tiny_decoder(rng), Flow(kind, number, L, 5, rng=rng)
    model = FlowVAE(encoder, decoder, LIKELIHOODS[likelihood](), flow).to(np, dtype)
    for _, parameter in flow.named_parameters():
        parameter.value += noise * rng.standard_normal(parameter.value.shape)
    return model.to(xp, dtype)


def by_hand(model, x, eps):
    """{term: number}, and log weights (S, N): every draw of every example alone."""
    mu, logvar = model.encode(x)
    reconstruction, kl, log_w = [], [], np.empty((len(eps), len(x)))
    for n, image in enumerate(x):
        std = np.exp(logvar[n] / 2)
        h = model.encoder.trunk.forward(np.moveaxis(image[None], 0, -1))  # (features, 1)
        entropy = norm.entropy(mu[n], std).sum()
        for s, noise in enumerate(eps[:, n]):
            z, log_det = start, total = mu[n] + std * noise, 0.0
            for i, step in enumerate(model.flow.steps):
                turn = slice(None, None, -1 if i % 2 and step.ordered else 1)
                z, log_det = step.forward(z[turn, None].copy(), h)
                z, total = z[turn, 0], total + log_det[0]
            output = model.decoder.forward(z[:, None])
            log_px = model.likelihood.log_prob(image.reshape(-1, 1), output.reshape(-1, 1))[0]
            log_p = norm.logpdf(z).sum()
            reconstruction.append(-log_px)
            kl.append(-entropy - total - log_p)
            log_q = norm.logpdf(start, mu[n], std).sum() - total
            log_w[s, n] = log_px + log_p - log_q
    return {"reconstruction": np.mean(reconstruction), "kl": np.mean(kl)}, log_w


@each_flow
@each_likelihood
def test_terms_and_weights_by_hand(kind, likelihood):
    model, (x, eps) = tiny_flow(kind, likelihood, number=3), tiny_batch(N, S)
    expected, log_w = by_hand(model, x, eps)
    terms = model.terms(x, eps)
    assert terms["kl"].shape == (1,)
    for name, value in expected.items():
        assert float(np.sum(terms[name])) == pytest.approx(value, rel=1e-12), name
    np.testing.assert_allclose(model.log_weights(x, eps), log_w, rtol=1e-12)


@each_flow
@pytest.mark.parametrize("floor", [0.0, 0.5, 50.0])
def test_every_element_of_the_gradient(kind, floor):
    """The floor of 0.5 is below the KL, the floor of 50 above it."""
    model, (x, eps) = tiny_flow(kind), tiny_batch(N, S)
    options = {"beta": 1.7, "free_bits": floor}

    def f():
        return float(model.loss(x, eps, **options).total)

    f()
    model.backward()
    gradient = model.grad.copy()
    assert relative_error(numerical_gradient(f, model.theta), gradient) < 1e-7
    kl = float(model.terms(x, eps)["kl"][0])
    assert 0.5 < kl < 50
    flow = {name for name, p in model.named_parameters() if p.grad.any() and "flow" in name}
    assert len(flow) == len([*model.flow.named_parameters()])


@each_flow
def test_the_two_terms_are_the_mean_of_the_weights(kind):
    """With noise of mean 0 and covariance I, the exact part of the KL is its sampled value."""
    model, x = tiny_flow(kind), tiny_batch(N)[0]
    eps = exact_noise(N, L)
    total = float(model.loss(x, eps).total)
    assert -total == pytest.approx(model.log_weights(x, eps).mean(), rel=1e-12)


def zero(model):
    for _, parameter in model.flow.named_parameters():
        parameter.value[...] = 0


def vae_and_flow(kind, number, dtype=np.float64):
    """A VAE, and a FlowVAE with the same weights and a new flow."""
    vae, model = tiny_vae(dtype=dtype), tiny_flow(kind, number=number, noise=0, dtype=dtype)
    model.load_state_dict(model.state_dict() | vae.state_dict())
    return vae, model


def loss_and_gradients(model, x, eps):
    loss = model.loss(x, eps, beta=1.3)
    model.backward()
    return loss, {name: p.grad.copy() for name, p in model.named_parameters()}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("samples", [1, 3])
def test_without_steps_it_is_the_vae_bit_for_bit(dtype, samples):
    """Loss, terms and gradient."""
    x, eps = (array.astype(dtype) for array in tiny_batch(N, samples))
    (loss, gradients), (other, found) = (
        loss_and_gradients(model, x, eps) for model in vae_and_flow("iaf", 0, dtype)
    )
    assert loss.total == other.total and loss.reconstruction == other.reconstruction
    assert loss.kl.sum() == other.kl.sum() and other.kl.shape == (1,)
    assert gradients.keys() == found.keys()
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(found[name], gradient, err_msg=name)


@each_flow
@pytest.mark.parametrize("zero", [False, True], ids=["new", "zero"])
def test_a_flow_that_changes_nothing_is_the_vae(kind, zero):
    """Bit for bit in weights, codes and reconstruction; the KL by noise of exact moments."""
    vae, model = vae_and_flow(kind, 3)
    for _, parameter in model.flow.named_parameters():
        parameter.value *= not zero
    x, eps = tiny_batch(N, S)
    np.testing.assert_array_equal(model.log_weights(x, eps), vae.log_weights(x, eps))
    np.testing.assert_array_equal(model.embed(x), vae.embed(x))
    assert model.terms(x, eps)["reconstruction"] == vae.terms(x, eps)["reconstruction"]
    (loss, gradients), (other, found) = (
        loss_and_gradients(one, x, exact_noise(N, L)) for one in (vae, model)
    )
    assert other.total == pytest.approx(loss.total, rel=1e-14)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(found[name], gradient, rtol=1e-9, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("kind", ["coupling", "iaf"])
def test_the_kl_is_steady_where_a_flow_undoes_a_wide_q0(kind):
    """q0 = N(20, 8^2) in every dimension, and a flow back to the prior's scale.

    The closed form of KL(q0 || p) plus a sampled log p(z0) - log p(z) - log_det has the same mean
    as the model's KL, but draws of it differ by hundreds of nats: training with it broke down.
    """
    model, (x, eps) = tiny_flow(kind, noise=0), tiny_batch(N, 200)
    heads = model.encoder.mu, model.encoder.logvar
    for head, bias in zip(heads, (20, 2 * np.log(8)), strict=True):
        head.weight.value[...], head.bias.value[...] = 0, bias
    for step in model.flow.steps:
        m, r = np.split(step.network.out.bias.value, 2)
        m[...], r[...] = -20 / np.e / 2, -9  # scaled by 1 / e and moved towards 0, twice
    kl = [model.terms(x[:1], draw[None, :1])["kl"][0] for draw in eps]
    _, mu, logvar, _, z, log_det, _, _ = model._forward(x, eps)
    z0 = reparameterize(mu[:, None], logvar[:, None], np.moveaxis(eps, -1, 0))
    change = (0.5 * (z * z - z0 * z0)).sum(axis=0) - log_det
    varied = kl_to_standard(mu, logvar).sum(axis=0) + change  # (S, N)
    error = varied[:, 0].std() / np.sqrt(len(kl))
    assert abs(np.mean(kl) - varied[:, 0].mean()) < 4 * error
    assert np.std(kl) < 25 and varied[:, 0].std() > 200


@pytest.mark.parametrize("samples", [1, 2])
def test_a_run_without_steps_is_the_run_of_the_vae(samples):
    """All weights bit for bit. The KL has one number, so means of it add up in another order."""
    settings = {"binarize": "dynamic", "beta": 1.5, "kl_anneal": 1, "samples": samples}
    runs = [trainer(None, settings | {"model": "vae"})]
    runs.append(trainer(None, settings | {"model": "flow", "flow_steps": 0}))
    for run in runs:
        run.fit()
    vae, flow = (run.model for run in runs)
    np.testing.assert_array_equal(vae.theta, flow.theta)
    for a, b in zip(*(without_seconds(run.history) for run in runs), strict=True):
        assert a.pop("dataset") == b.pop("dataset") and a == pytest.approx(b, rel=1e-14)
    numbers = [evaluate(model, DATA.x_test) for model in (vae, flow)]
    assert len(numbers[0].pop("kl_per_dimension")) == 3
    assert len(numbers[1].pop("kl_per_dimension")) == 1
    for name, value in numbers[0].items():
        np.testing.assert_allclose(numbers[1][name], value, rtol=1e-14)
    bounds = [importance_weighted_bound(model, DATA.x_test, 7) for model in (vae, flow)]
    np.testing.assert_array_equal(*bounds)


def test_the_weights_of_the_vae_are_drawn_first():
    """So a model with a new flow starts as the VAE with the same seed."""
    vae = make_model("vae", "mlp", 3, seed=5).state_dict()
    for kind in STEPS:
        flow = make_model("flow", "mlp", 3, seed=5, flow=kind).state_dict()
        for name, value in vae.items():
            np.testing.assert_array_equal(flow[name], value)


def test_the_code_of_an_example_is_the_mean_of_q0_after_the_flow(xp):
    for kind in STEPS:
        model, (x, _) = tiny_flow(kind, xp=xp), tiny_batch(N)
        x = xp.asarray(x)
        mu, _ = model.encode(x)
        h = model.encoder.trunk.forward(xp.moveaxis(x, 0, -1))
        z, _ = model.flow.forward(xp.moveaxis(mu, -1, 0)[:, None], h)
        code = to_host(model.embed(x))
        np.testing.assert_allclose(code, to_host(z[:, 0]).T, rtol=1e-12)
        assert relative_error(code, to_host(mu)) > 0.01
        decoded = to_host(model.decode(model.embed(x)))
        np.testing.assert_array_equal(to_host(model.reconstruct(x)), decoded)


def test_samples_are_draws_of_the_posterior():
    """S draws of an example share its context: S = 3 at once is 3 times S = 1."""
    for kind in STEPS:
        model, (x, eps) = tiny_flow(kind), tiny_batch(N, 3)
        single = np.concatenate([model.log_weights(x, eps[s : s + 1]) for s in range(3)])
        np.testing.assert_allclose(model.log_weights(x, eps), single, rtol=1e-12)
        model.loss(x, eps)
        model.backward()
        together, parts = model.grad.copy(), []
        for s in range(3):
            model.loss(x, eps[s : s + 1])
            model.backward()
            parts.append(model.grad.copy())
        np.testing.assert_allclose(together, np.mean(parts, axis=0), rtol=1e-9, atol=1e-12)


def test_one_latent_dimension_trains(recwarn):
    for kind in STEPS:
        run = trainer(None, {"model": "flow", "flow": kind, "latent_dim": 1, "epochs": 4})
        run.fit()
        assert run.history[-1]["train_total"] < run.history[0]["train_total"]


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_wrong_noise_is_told_in_a_sentence(likelihood):
    model, (x, eps) = tiny_flow("iaf", likelihood), tiny_batch(N)
    with pytest.raises(ValueError) as error:
        model.loss(x, eps[:, :, :2])
    assert str(error.value) == "eps must be (samples >= 1, 4, 3), got (1, 4, 2)"
    with pytest.raises(RuntimeError, match="FlowVAE.backward: call loss first"):
        model.backward()


@pytest.mark.parametrize(
    "model, options, sentence",
    [
        ("flow", {"flow": "radial"}, "--flow must be one of planar, coupling, iaf, got 'radial'"),
        ("flow", {"flow_steps": -1}, "--flow-steps must be a whole number of at least 0, got -1"),
        (
            "vae",
            {"flow": "iaf"},
            "--flow is an option of --model flow, not of vae; leave it out",
        ),
        (
            "ae",
            {"flow_steps": 3},
            "--flow-steps is an option of --model flow, not of ae; leave it out",
        ),
    ],
)
def test_wrong_options_are_told_in_a_sentence(model, options, sentence):
    with pytest.raises(UserError) as error:
        make_model(model, **options)
    assert str(error.value) == sentence


def test_shape_of_the_toy():
    assert tiny_flow("iaf").reconstruct(tiny_batch(2)[0]).shape == (2, *SHAPE)
