"""The importance-weighted autoencoder: its bound, its three gradients, and k = 1, the VAE."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp, softmax
from scipy.stats import norm
from short_runs import trainer
from toys import LATENT_DIM, each_likelihood, tiny_batch, tiny_vae

from tinyvae import IWAE, UserError, make_model, to_host
from tinyvae.engine.differences import numerical_gradient, relative_error
from tinyvae.laboratory.estimators import gradient
from tinyvae.laboratory.exact_bound import iw_bound, normal_grid
from tinyvae.laboratory.linear_gaussian import LinearGaussian
from tinyvae.models.iwae import ESTIMATORS, bound_and_weights
from tinyvae.training import report
from tinyvae.training.config import Config
from tinyvae.training.evaluation import evaluate, importance_weighted_bound

SHAPE, D = (2, 1, 3), 6
LABORATORY = {  # its names of the estimators
    "standard": "reparameterized",
    "stl": "sticking the landing",
    "dreg": "doubly reparameterized",
}


def iwae(vae, k, estimator="standard", xp=np):
    """The IWAE with the networks and weights of a VAE."""
    parts = copy.deepcopy([vae.encoder, vae.decoder, vae.likelihood])
    model = IWAE(*parts, k, estimator).to(xp, vae.theta.dtype)
    model.load_state_dict(vae.state_dict())  # a new model has rounded them
    return model


def noise(eps, k):
    """Noise (k S, N, L) of a VAE as the noise (S, N, k L) of an IWAE: sample k varies slowest."""
    samples, (_, n, latent_dim) = len(eps) // k, eps.shape
    return np.moveaxis(eps.reshape(k, samples, n, latent_dim), 0, 2).reshape(samples, n, -1)


@each_likelihood
@pytest.mark.parametrize("k, samples", [(1, 1), (3, 1), (2, 3)])
def test_the_bound_by_its_definition(likelihood, k, samples, xp):
    vae, (x, eps) = tiny_vae(likelihood), tiny_batch(5, k * samples)
    model = iwae(vae, k, "stl", xp)
    log_w = vae.log_weights(x, eps)
    expected = logsumexp(log_w.reshape(k, samples, 5), axis=0) - np.log(k)
    found = model.loss(xp.asarray(x), xp.asarray(noise(eps, k)))
    assert float(found.total) == pytest.approx(-expected.mean(), rel=1e-12)
    np.testing.assert_allclose(to_host(model.log_weights(x, noise(eps, k))), log_w, rtol=1e-12)


@each_likelihood
@pytest.mark.parametrize("k, samples", [(3, 1), (2, 3)])
def test_the_standard_gradient_is_the_derivative_for_fixed_noise(likelihood, k, samples):
    model, (x, eps) = iwae(tiny_vae(likelihood), k), tiny_batch(4, k * samples)
    eps = noise(eps, k)
    model.loss(x, eps)
    model.backward()
    found = model.grad.copy()
    numerical = numerical_gradient(lambda: float(model.loss(x, eps).total), model.theta)
    assert relative_error(found, numerical) < 1e-7


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_estimators_are_those_that_the_laboratory_measures(estimator):
    """tests/test_estimators.py has their bias against the exact gradient."""
    vae, (x, eps) = tiny_vae("learned gaussian"), tiny_batch(5, 4)
    model = iwae(vae, 4, estimator)
    model.loss(x, noise(eps, 4))
    model.backward()
    gradient(vae, x, eps, LABORATORY[estimator])
    np.testing.assert_allclose(model.grad, vae.grad, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_estimators_by_their_definitions(estimator):
    """Of one example, by differences of log w in z, and of log q in mu and logvar at a fixed z."""
    vae, k = tiny_vae(), 3
    x, eps = tiny_batch(1, k)
    mu, logvar = (part[0] for part in vae.encode(x))
    z = mu + np.exp(logvar / 2) * eps[:, 0]  # (K, L)

    def log_w():
        log_q = norm.logpdf(z, mu, np.exp(logvar / 2)).sum(axis=1)
        logits = np.log(vae.decode(z)) - np.log1p(-vae.decode(z))
        log_px = (x * logits - np.log1p(np.exp(logits))).reshape(k, -1).sum(axis=1)
        return log_px + norm.logpdf(z).sum(axis=1) - log_q

    def log_q():
        return norm.logpdf(fixed, mu, np.exp(logvar / 2)).sum()

    v, fixed = softmax(log_w()), None
    path = numerical_gradient(lambda: log_w().sum(), z)  # (K, L), the derivative of each log w_k
    expected = np.zeros((2, LATENT_DIM))  # of mu and logvar
    for one, noise_of_one, weight, dz in zip(z, eps[:, 0], v, path, strict=True):
        fixed = one
        score = [numerical_gradient(log_q, array) for array in (mu, logvar)]
        path_of_q = np.array([dz, dz * noise_of_one * np.exp(logvar / 2) / 2])
        expected += {
            "standard": weight * (path_of_q - score),
            "stl": weight * path_of_q,
            "dreg": weight**2 * path_of_q,
        }[estimator]
    model = iwae(vae, k, estimator)
    model.loss(x, noise(eps, k))
    model.backward()
    found = dict(model.named_parameters())
    for name, gradient_of_it in zip(("mu", "logvar"), expected, strict=True):
        grad = found[f"encoder.{name}.bias"].grad  # one example: the gradient of mu itself
        np.testing.assert_allclose(grad, -gradient_of_it, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("settings", [{}, {"samples": 3, "binarize": "dynamic"}])
def test_one_sample_is_the_vae_bit_for_bit(settings):
    """The noise, the loss, every gradient, and so the whole run."""
    vae = trainer(None, settings)
    other = trainer(None, settings | {"model": "iwae", "k": 1})
    for run in (vae, other):
        run.fit()
    np.testing.assert_array_equal(vae.model.theta, other.model.theta)
    inputs = vae.feed.inputs(0)
    assert float(vae.model.loss(*inputs).total) == float(other.model.loss(*inputs).total)
    for a, b in zip(vae.history, other.history, strict=True):  # sums over batches of other terms
        assert a["train_total"] == pytest.approx(b["train_total"], rel=1e-12)
        assert a["test_total"] == pytest.approx(b["test_total"], rel=1e-12)


@pytest.mark.parametrize("k", [1, 2, 10])
def test_the_mean_of_the_bound_is_the_exact_bound(k):
    """Of a linear model, by quadrature; the loss is a mean over 20,000 draws."""
    rng = np.random.default_rng(0)
    exact = LinearGaussian(rng.standard_normal((D, 2)), rng.standard_normal(D), 0.7)
    vae = exact.vae(SHAPE, 0.7 * exact.posterior_map(), 1.5 * exact.best_variance())
    x = rng.standard_normal((1, *SHAPE))
    eps, mass = normal_grid(2)
    log_w = vae.log_weights(x, eps[:, None])[:, 0]
    expected, n = iw_bound(log_w, mass, k), 20_000
    assert expected < exact.log_p(x)
    draws = rng.standard_normal((1, n, 2 * k))
    found = iwae(vae, k, "stl").loss(np.repeat(x, n, axis=0), draws).total
    assert -float(found) == pytest.approx(expected, abs=4 * log_w.std() / np.sqrt(n))


def test_sticking_the_landing_has_no_variance_where_q_is_exact():
    """Then every weight is p(x), and the encoder's estimate is 0 for every noise."""
    rng = np.random.default_rng(1)
    w = np.linalg.qr(rng.standard_normal((D, 2)))[0] * [2.0, 0.5]  # orthogonal columns
    exact = LinearGaussian(w, rng.standard_normal(D), 0.7)
    x, eps = rng.standard_normal((5, *SHAPE)), rng.standard_normal((1, 5, 6))
    for estimator in ESTIMATORS:
        model = iwae(exact.vae(SHAPE), 3, estimator)
        loss = model.loss(x, eps)
        model.backward()
        assert float(loss.total) == pytest.approx(-exact.log_p(x).mean(), rel=1e-12)
        encoder = [p.grad for name, p in model.named_parameters() if name.startswith("encoder")]
        largest = max(np.abs(gradient).max() for gradient in encoder)
        assert largest > 0.01 if estimator == "standard" else largest < 1e-12


@given(st.integers(1, 5), st.integers(1, 4), st.floats(0, 1e4), st.integers(0, 99))
def test_weights_of_any_spread(xp, k, n, spread, seed):
    log_w = -spread * np.random.default_rng(seed).random((k, n))
    bound, v = (to_host(array) for array in bound_and_weights(xp.asarray(log_w)))
    np.testing.assert_allclose(bound, logsumexp(log_w, axis=0) - np.log(k), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(v, softmax(log_w, axis=0), rtol=1e-10, atol=1e-300)


def test_weights_of_single_precision_stay_finite():
    log_w = np.array([[-1e5, 3.0], [-2e5, 3.0]], np.float32)
    bound, v = bound_and_weights(log_w)
    assert bound.dtype == v.dtype == np.float32
    np.testing.assert_array_equal(v, np.array([[1, 0.5], [0, 0.5]], np.float32))
    assert np.isfinite(bound).all()


@pytest.mark.parametrize("samples", [1, 7, 25])
def test_evaluation_counts_samples_of_z(samples, monkeypatch):
    """Not draws of the noise, each of which has k samples."""
    vae, x = tiny_vae(), np.random.default_rng(0).random((3, *SHAPE))
    model, weights = iwae(vae, 4), []
    of_model = model.log_weights
    monkeypatch.setattr(
        model, "log_weights", lambda *inputs: weights.append(of_model(*inputs)) or weights[-1]
    )
    found = importance_weighted_bound(model, x, samples, seed=1)
    rows = [w[:10] for w in weights]  # a chunk is 10 samples, in draws of 4
    log_w = np.concatenate(rows)[:samples]
    assert len(log_w) == samples
    np.testing.assert_allclose(found, logsumexp(log_w, axis=0) - np.log(samples), rtol=1e-12)


@pytest.mark.parametrize("k", [4, 30])
def test_evaluation_decodes_a_bounded_number_of_codes(k, monkeypatch):
    """At most ten times as many as a batch has examples, and the numbers stay the same."""
    model, x = iwae(tiny_vae(), k), np.random.default_rng(0).random((40, *SHAPE))
    found = evaluate(model, x), importance_weighted_bound(model, x, 50)
    sizes, decode = [], model._decode
    monkeypatch.setattr(model, "_decode", lambda z: sizes.append(z.shape[1]) or decode(z))
    numbers = evaluate(model, x, batch_size=6)
    bound = importance_weighted_bound(model, x, 50, batch_size=6)
    assert 6 * 10 - k < max(sizes) <= 6 * 10 or max(sizes) == 6 * k
    assert numbers["bound"] == pytest.approx(found[0]["bound"], rel=1e-12)
    np.testing.assert_allclose(bound, found[1], rtol=1e-12)


def test_the_report_tells_the_elbo_from_the_bound_of_the_loss(monkeypatch):
    """The ELBO has one weight, the loss k, and the bound for comparison 100."""
    monkeypatch.setattr(report, "BOUND_SAMPLES", 12)
    run = trainer(None, {"model": "iwae", "k": 3, "epochs": 1})
    metrics = report.write_metrics(run)
    found = metrics["importance_weighted"]
    assert -found["bound"] < metrics["test"]["bound"] < -found["elbo"]
    one = importance_weighted_bound(run.model, run.x_test, 1).mean()
    assert found["elbo"] == pytest.approx(one) and found["samples"] == 12
    (_, value, note), *_ = [row for row in report.loss_lines(run, metrics) if "samples" in row[2]]
    assert value == f"{-found['bound']:.2f}" and f"negative ELBO is {-one:.2f}" in note


def test_what_is_refused():
    with pytest.raises(UserError) as error:
        make_model("iwae", "mlp", k=0)
    assert str(error.value) == "--k must be a whole number of at least 1, got 0"
    vae = make_model("vae", "mlp", LATENT_DIM)
    with pytest.raises(UserError, match="--k must be a whole number of at least 1, got 0"):
        IWAE(vae.encoder, vae.decoder, vae.likelihood, 0)
    with pytest.raises(UserError, match="--estimator must be one of standard, stl, dreg, got 'is'"):
        IWAE(vae.encoder, vae.decoder, vae.likelihood, 2, "is")
    for setting in ({"beta": 2.0}, {"kl_anneal": 1}, {"free_bits": 0.1}):
        with pytest.raises(UserError, match="means nothing to the model IWAE, because its loss"):
            Config(**setting).require_fits(make_model("iwae", "mlp"))
    model = make_model("iwae", "mlp", LATENT_DIM, k=2)
    for shape in ((1, 5, 3), (1, 4, 6), (0, 5, 6), (5, 6)):
        with pytest.raises(ValueError) as error:
            model.loss(np.zeros((5, 1, 28, 28), np.float32), np.zeros(shape, np.float32))
        assert str(error.value) == f"eps must be (samples >= 1, 5, 6), got {shape}"
