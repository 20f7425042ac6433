import json

import numpy as np
import pytest
from short_runs import trainer
from toys import toy_data

from tinyvae.data import binarize, to_float
from tinyvae.rng import generator
from tinyvae.training import plots, report
from tinyvae.training.config import Config
from tinyvae.training.evaluation import evaluate, importance_weighted_bound
from tinyvae.training.latent import quantile_grid
from tinyvae.training.report import draw_figures, write_metrics

DATA = toy_data(40, 30)
SMALL = {"latent_dim": 20, "epochs": 1, "batch_size": 20, "seed": 3}
EVERY_FIGURE = {"loss", "reconstructions", "samples", "interpolation"}
FIGURES = {
    "vae, z = 1": ({"latent_dim": 1}, EVERY_FIGURE | {"kl"}),
    "vae, z = 2": ({"latent_dim": 2}, EVERY_FIGURE | {"kl", "latent_scatter", "traversal"}),
    "vae, z = 5": ({"latent_dim": 5}, EVERY_FIGURE | {"kl", "latent_scatter", "traversal"}),
    "ae, z = 1": ({"latent_dim": 1, "model": "ae"}, EVERY_FIGURE),
    "ae, z = 5": ({"latent_dim": 5, "model": "ae"}, EVERY_FIGURE | {"latent_scatter"}),
}


def trained(folder, **settings):
    run = trainer(folder, SMALL | settings, data=DATA)
    run.fit()
    return run


@pytest.fixture(autouse=True)
def few_importance_samples(monkeypatch):
    monkeypatch.setattr(report, "BOUND_EXAMPLES", 20)
    monkeypatch.setattr(report, "BOUND_SAMPLES", 12)


@pytest.mark.parametrize("binarization", ["none", "dynamic"])
def test_metrics_of_a_vae(tmp_path, binarization):
    run = trained(tmp_path, latent_dim=3, binarize=binarization)
    metrics = write_metrics(run)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    images = binarize(DATA.x_test, binarization, generator(3, "binarize test"))
    assert metrics["test"] == evaluate(run.model, images, seed=3)
    assert metrics["importance_weighted"] == {
        "examples": 20,
        "samples": 12,
        "bound": importance_weighted_bound(run.model, images[:20], 12, seed=3).mean(),
        "elbo": -evaluate(run.model, images[:20], seed=3)["total"],
    }
    assert metrics["dataset"] == "toy squares"
    assert metrics["epochs_done"] == 1
    assert Config(**metrics["config"]) == run.config


def test_metrics_of_an_autoencoder(tmp_path):
    run = trained(tmp_path, latent_dim=3, model="ae")
    metrics = write_metrics(run)
    assert metrics["test"] == evaluate(run.model, DATA.x_test, seed=3)
    assert "importance_weighted" not in metrics


def test_metrics_of_fewer_images_than_wanted(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "BOUND_EXAMPLES", 1000)
    assert write_metrics(trained(tmp_path, latent_dim=2))["importance_weighted"]["examples"] == 30


def test_metrics_before_the_first_epoch(tmp_path):
    run = trainer(tmp_path, SMALL, data=DATA)
    assert write_metrics(run)["epochs_done"] == 0


@pytest.mark.parametrize("settings, expected", FIGURES.values(), ids=FIGURES)
def test_which_figures(tmp_path, drawn, settings, expected):
    run = trained(tmp_path, **settings)
    folder = draw_figures(run, write_metrics(run))
    assert folder == tmp_path / "figures" and folder.is_dir()
    assert drawn.keys() == expected
    for name, arguments in drawn.items():
        assert arguments["path"] == folder / f"{name}.png"
        assert "toy squares" in arguments["title"]


def test_no_curves_before_the_first_epoch(tmp_path, drawn):
    run = trainer(tmp_path, SMALL, data=DATA)
    draw_figures(run, write_metrics(run))
    assert "loss" not in drawn and "samples" in drawn


@pytest.mark.parametrize("model", ["vae", "ae"])
def test_what_the_figures_show(tmp_path, drawn, model):
    """Every picture from the model's public methods."""
    run = trained(tmp_path, latent_dim=5, model=model, binarize="threshold")
    draw_figures(run, write_metrics(run))
    test = to_float(binarize(DATA.x_test, "threshold"))
    codes = run.model.embed(test)

    assert drawn["loss"]["history"] is run.history
    shown = drawn["reconstructions"]
    np.testing.assert_array_equal(shown["originals"], test[:20])
    expected = run.model.reconstruct(test[:20])
    np.testing.assert_allclose(shown["reconstructed"], expected, atol=1e-5)
    expected = run.model.sample_means(100, generator(3, "figures"))
    np.testing.assert_array_equal(drawn["samples"]["images"], expected)

    walks = drawn["interpolation"]["images"]
    assert walks.shape == (8, 11, 1, 28, 28)
    pictures = run.model.decode(codes).reshape(30, -1)
    for walk in walks.reshape(8, 11, -1):  # from one test image's reconstruction to another's
        start, end = (np.abs(pictures - walk[i]).max(axis=1) for i in (0, -1))
        assert start.min() < 1e-5 and end.min() < 1e-5 and start.argmin() != end.argmin()

    i, j = sorted(np.argsort(-codes.var(axis=0))[:2])
    scatter = drawn["latent_scatter"]
    np.testing.assert_allclose(scatter["codes"], codes[:, [i, j]], atol=1e-5)
    np.testing.assert_array_equal(scatter["labels"], DATA.y_test)
    assert scatter["axes_names"] == (f"z[{i}]", f"z[{j}]")


def test_the_traversal_moves_the_two_most_active_units(tmp_path, drawn):
    run = trained(tmp_path, latent_dim=5)
    metrics = write_metrics(run)
    draw_figures(run, metrics)
    codes = run.model.embed(to_float(DATA.x_test))
    i, j = sorted(np.argsort(-codes.var(axis=0))[:2])
    values, points = quantile_grid(20)
    z = np.zeros((400, 5), np.float32)
    z[:, [i, j]] = points
    shown = drawn["traversal"]
    expected = run.model.decode(z).reshape(20, 20, 1, 28, 28)
    np.testing.assert_allclose(shown["images"], expected, atol=1e-5)
    np.testing.assert_array_equal(shown["values"], values)
    assert shown["axes_names"] == (f"z[{i}]", f"z[{j}]")
    bars = drawn["kl"]
    assert list(bars["kl"]) == metrics["test"]["kl_per_dimension"]
    np.testing.assert_array_equal(bars["active"], codes.var(axis=0) > 0.01)


@pytest.mark.parametrize("settings, expected", FIGURES.values(), ids=FIGURES)
def test_figures_are_pictures(tmp_path, monkeypatch, settings, expected):
    monkeypatch.setitem(plots.STYLE, "savefig.dpi", 40)  # coarse, so that it is soon done
    run = trained(tmp_path, **settings)
    folder = draw_figures(run, write_metrics(run))
    assert {path.name for path in folder.iterdir()} == {f"{name}.png" for name in expected}
    for path in folder.iterdir():
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n") and content.endswith(b"IEND\xaeB`\x82")
