"""The conditional VAE in training: labels that are refused, figures, and its use from the host."""

import re
from dataclasses import replace

import numpy as np
import pytest
from short_runs import trainer
from toys import toy_data

from tinyvae import UserError, make_model, to_host
from tinyvae.data import Dataset, to_float
from tinyvae.training import on_host
from tinyvae.training.config import Config
from tinyvae.training.evaluation import evaluate, importance_weighted_bound
from tinyvae.training.program import start
from tinyvae.training.ranks import ALONE
from tinyvae.training.report import draw_figures, write_metrics
from tinyvae.training.trainer import Trainer

DATA = toy_data(50, 30)


@pytest.mark.parametrize("part", ["y_train", "y_test"])
def test_training_refuses_labels_out_of_range(part):
    labels = getattr(DATA, part).copy()
    labels[3] = 12
    data = replace(DATA, **{part: labels})
    with pytest.raises(UserError) as error:
        trainer(None, {"model": "cvae"}, data=data)
    assert str(error.value) == (
        f"expected labels from 0 to 9 in {part} of toy squares, found 12; make the model with "
        "--classes 13, or correct the labels"
    )
    trainer(None, {"model": "cvae", "classes": 13}, data=data)
    trainer(None, {"model": "vae"}, data=data)  # takes no labels


def test_training_refuses_data_without_labels():
    bare = replace(DATA, y_train=None, y_test=None)
    with pytest.raises(UserError) as error:
        trainer(None, {"model": "cvae"}, data=bare)
    assert str(error.value) == (
        "the model learns from labels, but toy squares has none; give labels"
    )
    for call in (evaluate, lambda model, x: importance_weighted_bound(model, x, 2)):
        with pytest.raises(ValueError, match="CVAE needs labels beside the examples; give labels"):
            call(make_model("cvae", "mlp", 3), DATA.x_test)


@pytest.mark.parametrize("train, test, classes", [([0, 2], [2, 0], 3), ([0, 1], [5, 1], 6)])
def test_the_command_line_counts_the_classes(tmp_path, train, test, classes):
    """Also where a class has no example, or none in the training set."""
    rng, path = np.random.default_rng(0), tmp_path / "table.npz"
    x = rng.standard_normal((2, 2, 3)).astype(np.float32)
    np.savez(path, x_train=x[0], y_train=train, x_test=x[1], y_test=test)
    given = {"model": "cvae", "dataset": str(path), "epochs": 1}
    run = start(given, None, np, ALONE)
    assert run.model.classes == run.model.settings["classes"] == classes
    assert start(given | {"classes": 8}, None, np, ALONE).model.classes == 8
    with pytest.raises(UserError, match=re.escape("expected labels from 0 to 1 in y_")):
        start(given | {"classes": 2}, None, np, ALONE)


def test_what_the_figures_show(tmp_path, drawn):
    run = trainer(tmp_path, {"model": "cvae", "latent_dim": 5, "epochs": 1})
    run.fit()
    draw_figures(run, write_metrics(run))
    x, labels, model = to_float(DATA.x_test), DATA.y_test, run.model
    codes = model.embed(x, labels)
    expected = model.reconstruct(x[:20], labels[:20])
    np.testing.assert_allclose(drawn["reconstructions"]["reconstructed"], expected, atol=1e-5)
    shown = drawn["samples"]
    assert list(shown["names"]) == [f"y = {k}" for k in range(10)]
    assert shown["images"].shape == (100, 1, 28, 28)
    for column in range(10):  # a class for each row, a code for each column
        same = shown["images"][column::10].reshape(10, -1)
        assert len(np.unique(same, axis=0)) == 10
    assert "a row for each class y" in shown["title"]
    assert drawn["loss"]["objective"] == "negative ELBO given y"
    pictures = model.decode(codes, labels).reshape(30, -1)
    walks = drawn["interpolation"]["images"]
    for walk in walks.reshape(len(walks), 11, -1):
        distance = np.abs(pictures - walk[0]).max(axis=1)
        assert distance.min() < 1e-5
        first = labels[distance.argmin()]
        ends = model.decode(codes, np.full(30, first)).reshape(30, -1)
        assert np.abs(ends - walk[-1]).max(axis=1).min() < 1e-5
    images = drawn["traversal"]["images"].reshape(400, 1, 28, 28)
    assert f"class {labels[0]}" in drawn["traversal"]["title"]
    middle = np.zeros((1, 5), np.float32)
    nearest = model.decode(middle, labels[:1])
    assert np.abs(images - nearest).max(axis=(1, 2, 3)).min() < 0.01


@pytest.mark.parametrize("classes, rows", [(2, 2), (30, 20)])
def test_samples_of_few_and_of_many_classes(tmp_path, drawn, classes, rows):
    data = replace(DATA, y_train=DATA.y_train % classes, y_test=DATA.y_test % classes)
    run = trainer(tmp_path, {"model": "cvae", "classes": classes, "epochs": 1}, data=data)
    draw_figures(run, write_metrics(run))
    assert len(drawn["samples"]["names"]) == rows
    assert len(drawn["samples"]["images"]) == 10 * rows


def test_figures_of_a_table(tmp_path, drawn):
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    x = (rng.standard_normal((300, 4)) + 50 * labels[:, None]).astype(np.float32)
    data = Dataset("table", x[:200], labels[:200], x[200:], labels[200:]).standardized()
    model = make_model("cvae", "mlp", 2, "gaussian", hidden=(16,), shape=(4,), classes=3)
    run = Trainer(model, data, Config(epochs=20, batch_size=10, lr=0.01), tmp_path)
    run.fit()
    draw_figures(run, write_metrics(run))
    samples = drawn["histograms"]["samples"]
    assert samples.shape == (100, 4)
    nearest = abs(samples.mean(axis=1)[:, None] - [0, 50, 100]).argmin(axis=1)
    np.testing.assert_array_equal(nearest, data.y_test)


def test_on_host_with_labels(xp, monkeypatch):
    monkeypatch.setattr(on_host, "BATCH", 4)
    images, labels = DATA.x_test[:11], DATA.y_test[:11]
    model = make_model("cvae", "mlp", 3).to(xp)
    mu, logvar = (to_host(a) for a in model.encode(to_float(images), labels))
    np.testing.assert_allclose(on_host.embed(model, images, labels), mu, atol=1e-5)
    for part, expected in zip(on_host.posteriors(model, images, labels), (mu, logvar), strict=True):
        np.testing.assert_allclose(part, expected, atol=1e-5)
    drawn = on_host.draws(model, images, np.random.default_rng(1), labels)
    eps = np.random.default_rng(1).standard_normal((11, 3), dtype=np.float32)
    np.testing.assert_allclose(drawn, mu + np.exp(0.5 * logvar) * eps, atol=1e-5)
    expected = to_host(model.decode(mu, labels))
    np.testing.assert_allclose(on_host.decode(model, mu, labels), expected, atol=1e-5)
    pairs = on_host.decode(model, mu[:10].reshape(5, 2, 3), labels[:10].reshape(5, 2))
    np.testing.assert_allclose(pairs.reshape(expected[:10].shape), expected[:10], atol=1e-5)
    log_prob = on_host.log_prob(model, images, mu, labels)
    x = to_float(images, np.float64)
    p = expected.astype(np.float64)
    by_hand = (x * np.log(p) + (1 - x) * np.log1p(-p)).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(log_prob, by_hand, rtol=1e-5)
