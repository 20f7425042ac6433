"""Vectors (N, D) go into models, training, evaluation, checkpoints and figures as they are."""

import json

import numpy as np
import pytest
import scipy.stats
from short_runs import after_step, assert_same_run, interrupt, resumed, trainer

from tinyvae import make_model, to_host
from tinyvae.data import Dataset
from tinyvae.engine.differences import check_model
from tinyvae.gradcheck import TOLERANCE
from tinyvae.rng import generator
from tinyvae.training import plots, report
from tinyvae.training.evaluation import evaluate, importance_weighted_bound
from tinyvae.training.report import draw_figures, loss_lines, write_metrics

D, L, COLUMNS = 5, 2, ("length", "mass", "charge", "spin", "sum")
UNITS, CENTRES = np.array([20.0, 0.01, 3.0, 1e4, 1.0]), np.array([100.0, 0.0, -7.0, 2e5, 0.0])


def measurements(train=100, test=40, seed=0):
    """Five columns of different units that two numbers explain, and noise in all."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((train + test, 2)) @ rng.standard_normal((2, D))
    x += np.array([0.1, 0.2, 0.3, 0.4, 0.5]) * rng.standard_normal(x.shape)
    x, labels = UNITS * x + CENTRES, rng.integers(0, 3, train + test)
    arrays = x[:train], labels[:train], x[train:], labels[train:]
    return Dataset.from_arrays(*arrays, name="measurements", columns=COLUMNS)


DATA = measurements().standardized()
BITS = Dataset.from_arrays(
    *(np.random.default_rng(seed).random((n, D)) < 0.3 for seed, n in ((1, 100),)),
    x_test=np.random.default_rng(2).random((40, D)) < 0.3,
    name="bits",
)
SMALL = {"latent_dim": L, "hidden": (8, 7), "epochs": 4, "batch_size": 25, "lr": 0.01}
CASES = {
    "vae, gaussian": ({"model": "vae", "likelihood": "gaussian"}, DATA),
    "vae, bernoulli": ({"model": "vae", "likelihood": "bernoulli"}, BITS),
    "ae, gaussian": ({"model": "ae", "likelihood": "gaussian"}, DATA),
    "ae, bernoulli": ({"model": "ae", "likelihood": "bernoulli"}, BITS),
}
each_case = pytest.mark.parametrize("settings, data", CASES.values(), ids=CASES)


def run_on(data, settings, folder=None, xp=np):
    return trainer(folder, SMALL | settings, xp, data)


@each_case
def test_a_table_is_learned(xp, settings, data):
    run = run_on(data, settings, xp=xp)
    run.fit()
    assert run.model.shape == (D,)
    for name in ("train_total", "test_total", "test_mse"):
        assert run.history[-1][name] < run.history[0][name]
    x = data.x_test[:7]
    for out in (run.model.reconstruct(x), run.model.sample(7, np.random.default_rng(0))):
        assert out.shape == (7, D) and out.dtype == np.float32
    assert run.model.embed(x).shape == (7, L)


def sigma2_of(model):
    model.likelihood.logvar.value = np.log([0.1, 0.5, 1.0, 2.0, 3.0])
    return np.array([0.1, 0.5, 1.0, 2.0, 3.0])


def test_loss_with_a_sigma_for_each_column_by_hand(xp):
    model = make_model("vae", "mlp", L, "gaussian", (8,), (D,)).to(xp, np.float64)
    sigma2, rng = sigma2_of(model), np.random.default_rng(0)
    x, eps = rng.standard_normal((6, D)), rng.standard_normal((3, 6, L))
    mu, logvar = (to_host(part) for part in model.encode(x))
    z = mu + np.sqrt(np.exp(logvar)) * eps
    means = np.array([to_host(model.decode(codes)) for codes in z])  # (S, N, D)
    log_px = scipy.stats.norm(means, np.sqrt(sigma2)).logpdf(x).sum(axis=-1)
    loss = model.loss(x, eps)
    assert float(loss.reconstruction) == pytest.approx(-log_px.mean(), rel=1e-12)


@pytest.mark.parametrize("kind", ["vae", "ae"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_gradient_of_models_of_tables(kind, likelihood):
    model, rng = make_model(kind, "mlp", L, likelihood, (8, 7), (D,)), np.random.default_rng(0)
    if likelihood == "gaussian":
        sigma2_of(model)
    inputs = model.inputs(rng.random((6, D)), rng.standard_normal((3, 6, L)))
    assert check_model(model, *inputs, rng=rng) < TOLERANCE


def test_the_best_sigma2_of_a_column_is_its_mean_squared_error():
    """There the gradient of each logvar is zero: Rybkin, Daniilidis and Levine 2021."""
    model = make_model("ae", "mlp", L, "gaussian", (8,), (D,)).to(np, np.float64)
    x = np.random.default_rng(0).standard_normal((6, D)) * [1, 2, 3, 4, 5]
    error = ((model.reconstruct(x) - x) ** 2).mean(axis=0)
    assert error.max() > 5 * error.min()
    model.likelihood.logvar.value = np.log(error)
    best = model.loss(x).total
    model.backward()
    np.testing.assert_allclose(model.likelihood.logvar.grad, 0, atol=1e-14)
    for column in range(D):
        for factor in (0.9, 1.1):
            other = error.copy()
            other[column] *= factor
            model.likelihood.logvar.value = np.log(other)
            assert model.loss(x).total > best


def test_training_moves_each_sigma_towards_its_column():
    run = run_on(DATA, {"model": "ae", "likelihood": "gaussian", "epochs": 30})
    run.fit()
    error = ((run.model.reconstruct(DATA.x_train) - DATA.x_train) ** 2).mean(axis=0)
    sigma2 = np.exp(run.model.likelihood.logvar.value)
    assert (np.argsort(sigma2)[-1] == np.argsort(error)[-1]) and (sigma2 < 1).all()
    assert len(np.unique(sigma2)) == D


# Evaluation.


def test_r2_of_a_column_by_hand(xp):
    model = make_model("vae", "mlp", L, "gaussian", (8,), (D,), seed=1).to(xp, np.float64)
    found = evaluate(model, DATA.x_test)
    x = DATA.x_test.astype(np.float64)
    squared = (x - to_host(model.reconstruct(DATA.x_test))) ** 2
    around_mean = (x - x.mean(axis=0)) ** 2
    expected = 1 - squared.sum(axis=0) / around_mean.sum(axis=0)
    np.testing.assert_allclose(found["r2_per_column"], expected, rtol=1e-10)
    assert found["mse"] == pytest.approx(squared.mean(), rel=1e-10)
    assert [type(value) for value in found["r2_per_column"]] == [float] * D


def test_a_column_that_does_not_vary_has_no_r2():
    x = DATA.x_test.copy()
    x[:, 3] = 7.5
    found = evaluate(make_model("ae", "mlp", L, "gaussian", (8,), (D,)), x)["r2_per_column"]
    assert found[3] is None and None not in found[:3] + found[4:]
    json.dumps(found, allow_nan=False)


@each_case
def test_batch_size_does_not_matter(settings, data):
    model = make_model(network="mlp", latent_dim=L, hidden=(8,), shape=(D,), **settings)
    whole = evaluate(model, data.x_test, batch_size=40)
    for batch_size in (1, 7, 1000):
        parts = evaluate(model, data.x_test, batch_size=batch_size)
        assert parts.keys() == whole.keys()
        for name, value in whole.items():
            np.testing.assert_allclose(parts[name], value, rtol=2e-5, atol=1e-6, err_msg=name)


def test_importance_weighted_bound_of_a_table(xp):
    """Of a model whose codes say nothing, log p(x) is known: then every weight is exact."""
    model = make_model("vae", "mlp", L, "gaussian", (8,), (D,)).to(xp, np.float64)
    model.load_state_dict({k: np.zeros_like(v) for k, v in model.state_dict().items()})
    mean, sigma2 = np.arange(D, dtype=np.float64), sigma2_of(model)
    model.decoder.layers[2].bias.value = mean
    found = importance_weighted_bound(model, DATA.x_test, 3)
    expected = scipy.stats.norm(mean, np.sqrt(sigma2)).logpdf(DATA.x_test).sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


# Runs, and what they leave.


@each_case
@pytest.mark.parametrize("stop", [3, 4, 9])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(settings, data, folders, stop):
    whole, parts = folders(), folders()
    run_on(data, settings, whole).fit()
    after_step(run_on(data, settings, parts), stop, interrupt).fit()
    resumed(parts, SMALL | settings, data=data).fit()
    assert_same_run(whole, parts)


def test_a_run_remembers_the_units_of_its_columns(tmp_path):
    run = run_on(DATA, CASES["vae, gaussian"][0], tmp_path)
    run.fit(1)
    columns = json.loads((tmp_path / "config.json").read_text())["columns"]
    raw = measurements().x_train.astype(np.float64)
    np.testing.assert_allclose(columns["mean"], raw.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(columns["std"], raw.std(axis=0), rtol=1e-9)
    assert "columns" not in run_on(BITS, CASES["vae, bernoulli"][0]).about()


def test_a_standardized_table_is_not_the_raw_one(folders):
    """Nor one that was standardized by other numbers."""
    folder = folders()
    settings = CASES["vae, gaussian"][0]
    run_on(DATA, settings, folder).fit(1)
    for other in (measurements(), measurements(seed=1).standardized()):
        with pytest.raises(Exception, match="give the same data"):
            resumed(folder, SMALL | settings, data=other)


def test_nats_are_told_in_the_units_of_the_data(tmp_path):
    """The density of x is the density of (x - mean) / std, divided by std."""
    run = run_on(DATA, CASES["vae, gaussian"][0], tmp_path)
    run.fit(1)
    metrics = write_metrics(run)
    label, value, note = next(loss_lines(run, metrics))
    total = metrics["test"]["total"]
    assert (label, value) == ("negative ELBO", f"{total:.2f}")
    assert f"{total + np.log(DATA.std).sum():.2f} in the units of the data" in note


def test_what_the_figures_of_a_table_show(tmp_path, drawn):
    run = run_on(DATA, CASES["vae, gaussian"][0] | {"seed": 3}, tmp_path)
    run.fit(1)
    metrics = write_metrics(run)
    draw_figures(run, metrics)
    assert drawn.keys() == {"loss", "column_r2", "histograms", "latent_scatter", "kl"}
    bars = drawn["column_r2"]
    assert list(bars["r2"]) == metrics["test"]["r2_per_column"]
    assert tuple(bars["columns"]) == COLUMNS
    shown = drawn["histograms"]
    assert tuple(shown["columns"]) == COLUMNS
    raw = measurements()
    np.testing.assert_allclose(shown["data"], raw.x_test, rtol=1e-4, atol=1e-4)
    samples = run.model.sample(len(raw.x_test), generator(3, "figures"))  # draws, not means
    np.testing.assert_allclose(shown["samples"], DATA.std * samples + DATA.mean, rtol=1e-6)
    np.testing.assert_array_equal(drawn["latent_scatter"]["labels"], DATA.y_test)


@each_case
def test_figures_are_pictures(tmp_path, monkeypatch, settings, data):
    monkeypatch.setitem(plots.STYLE, "savefig.dpi", 40)
    monkeypatch.setattr(report, "BOUND_SAMPLES", 5)
    run = run_on(data, settings, tmp_path)
    run.fit(1)
    folder = draw_figures(run, write_metrics(run))
    expected = {"loss", "column_r2", "histograms", "latent_scatter"}
    expected |= {"kl"} if settings["model"] == "vae" else set()
    assert {path.stem for path in folder.iterdir()} == expected
    for path in folder.iterdir():
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
