"""What a training run does, and what it leaves in its folder."""

import csv
import json

import numpy as np
import pytest
from short_runs import DATA, EVERYTHING, STEPS, assert_same_run, each_run, trainer
from toys import toy_data

from tinyvae.data import binarize, to_float
from tinyvae.rng import generator
from tinyvae.training import trainer as trainer_module
from tinyvae.training.checkpoint import load_checkpoint
from tinyvae.training.config import Config
from tinyvae.training.evaluation import evaluate


@each_run
def test_training_lowers_the_loss(xp, folders, settings):
    run = trainer(folders(), settings | {"epochs": 4, "beta": 1.0, "kl_anneal": 0.0}, xp)
    run.fit()
    assert run.finished and run.step == 4 * STEPS
    for name in ("train_total", "test_total"):
        losses = [row[name] for row in run.history]
        assert losses[-1] < losses[0]


def test_folder_of_a_run(folders):
    folder = folders()
    run = trainer(folder, EVERYTHING)
    run.fit()
    assert {path.name for path in folder.iterdir()} == {
        "checkpoint.npz",
        "config.json",
        "history.csv",
    }
    about = json.loads((folder / "config.json").read_text())
    assert Config(**about["config"]) == run.config
    assert about["dataset"] == "toy squares"
    assert about["dataset_sha256"] == DATA.fingerprint
    assert (about["train_examples"], about["test_examples"]) == (50, 30)
    assert about["versions"].keys() == {"tinyvae", "numpy", "python"}

    with open(folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    for text, row in zip(rows, run.history, strict=True):
        assert text == {key: str(value) for key, value in row.items()}
        assert text["dataset"] == "toy squares"
    parts = ("total", "reconstruction", "kl", "mse")
    columns = {f"{of}_{part}" for of in ("train", "test") for part in parts}
    assert rows[0].keys() == columns | {"dataset", "epoch", "beta", "active_units", "seconds"}

    arrays, about = load_checkpoint(folder / "checkpoint.npz")
    assert about["step"] == 3 * STEPS and about["epoch"] == 3
    assert about["history"] == run.history
    assert Config(**about["config"]) == run.config
    for name, value in run.model.state_dict().items():
        np.testing.assert_array_equal(arrays[f"model/{name}"], value)
    assert {"optimizer/M", "optimizer/V", "optimizer/step"} < arrays.keys()
    assert arrays["optimizer/step"] == 3 * STEPS


def test_a_row_holds_the_test_numbers_of_its_epoch(folders):
    run = trainer(folders(), EVERYTHING | {"epochs": 1})
    run.fit()
    x_test = binarize(DATA.x_test, "dynamic", generator(0, "binarize test"))
    expected = evaluate(run.model, x_test, seed=0)
    (row,) = run.history
    for name in ("total", "reconstruction", "kl", "mse"):
        assert row[f"test_{name}"] == expected[name]
    assert row["active_units"] == expected["active_units"]
    assert row["epoch"] == 1 and row["seconds"] > 0


def test_a_row_of_a_large_data_set_is_measured_on_a_share_of_it(folders, monkeypatch):
    """Evenly spaced test images: one for every 10 that are trained on, but 4 at the least."""
    monkeypatch.setattr(trainer_module, "TRAINED_PER_TEST", 10)
    monkeypatch.setattr(trainer_module, "LEAST", 4)
    for train, every in ((100, 3), (60, 5), (20, 7)):  # 10 of 30 images, 6, and 4
        run = trainer(folders(), {"epochs": 1}, data=toy_data(train, 30))
        run.fit()
        expected = evaluate(run.model, run.x_test[::every], seed=0)
        assert run.history[0]["test_total"] == expected["total"]


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_row_holds_the_means_over_all_training_images(folders, epoch):
    """With a step too small to change a weight, they are the loss of all images at once."""
    settings = EVERYTHING | {"optimizer": "sgd", "lr": 1e-30, "epochs": epoch + 1}
    run = trainer(folders(), settings)
    run.fit()
    images = binarize(DATA.x_train, "dynamic", generator(0, "binarize", epoch))
    noise = generator(0, "noise", epoch).standard_normal((2, 50, 3), np.float32)
    loss = run.model.loss(to_float(images), noise)
    row = run.history[epoch]
    assert row["train_reconstruction"] == pytest.approx(float(loss.reconstruction), rel=1e-6)
    assert row["train_kl"] == pytest.approx(float(loss.kl.sum()), rel=1e-6)
    assert row["train_total"] == row["train_reconstruction"] + row["train_kl"]


def test_beta_of_a_row_is_that_of_its_last_step(folders):
    run = trainer(folders(), {"kl_anneal": 1.5, "beta": 2.0})
    run.fit()
    assert [row["beta"] for row in run.history] == [2.0 * 3 / 6, 2.0, 2.0]


def training_losses(run):
    """Train, and return the arguments of the gradient of every step."""
    gradient, calls = run.parallel.gradient, []

    def noted(x, eps, *, beta, examples):
        calls.append((x.copy(), eps.copy(), beta))
        return gradient(x, eps, beta=beta, examples=examples)

    run.parallel.gradient = noted
    run.fit()
    return calls


def test_settings_reach_the_loss(folders):
    run = trainer(folders(), EVERYTHING | {"epochs": 2})
    calls = training_losses(run)
    sizes = [16, 16, 16, 2] * 2
    assert [x.shape for x, _, _ in calls] == [(n, 1, 28, 28) for n in sizes]
    assert [eps.shape for _, eps, _ in calls] == [(2, n, 3) for n in sizes]
    assert [beta for *_, beta in calls] == [2.0 * min(1.0, step / 6) for step in range(8)]
    assert run.parallel.free_bits == 0.05


def test_each_epoch_has_its_own_order_and_noise(folders):
    calls = training_losses(trainer(folders(), {"epochs": 2}))
    images = [np.concatenate([x for x, *_ in calls[i : i + STEPS]]) for i in (0, STEPS)]
    noise = [np.concatenate([eps[0] for _, eps, *_ in calls[i : i + STEPS]]) for i in (0, STEPS)]
    assert (images[0] != images[1]).any() and not np.isin(noise[0], noise[1]).any()
    expected = np.unique(to_float(DATA.x_train), axis=0)
    for epoch in images:  # every training image once
        assert len(epoch) == len(expected) == 50
        np.testing.assert_array_equal(np.unique(epoch, axis=0), expected)
    for epoch in noise:  # and every image has its own noise
        assert len(np.unique(epoch, axis=0)) == 50


def test_dynamic_binarization_is_fresh_every_epoch(folders):
    calls = training_losses(trainer(folders(), {"epochs": 2, "binarize": "dynamic"}))
    white = [sum(x.sum(dtype=np.float64) for x, *_ in calls[i : i + STEPS]) for i in (0, STEPS)]
    assert {value for x, *_ in calls for value in np.unique(x)} == {0.0, 1.0}
    assert white[0] != white[1]


def test_train_and_test_error_are_of_the_same_kind_of_image(folders):
    """On white and black images both, when the model is trained on those."""
    run = trainer(folders(), {"epochs": 1, "binarize": "threshold"})
    run.fit()
    expected = evaluate(run.model, binarize(DATA.x_train, "threshold"))["mse"]
    assert run.history[0]["train_mse"] == pytest.approx(expected, rel=1e-6)


@each_run
def test_same_run_twice(xp, folders, settings):
    one, two = folders(), folders()
    for folder in (one, two):
        trainer(folder, settings | {"epochs": 2}, xp).fit()
    assert_same_run(one, two)


@pytest.mark.parametrize("lr", [1e-3, 1e-30])
def test_another_seed_is_another_run(folders, lr):
    """Weights from the start, and noise: with equal weights that never change, too."""
    runs = [trainer(folders(), {"epochs": 1, "seed": seed, "lr": lr}) for seed in (0, 1)]
    assert (runs[0].model.theta != runs[1].model.theta).any()
    if lr < 1e-20:
        runs[1].model.theta[...] = runs[0].model.theta
    for run in runs:
        run.fit()
    rows = [run.history[0] for run in runs]
    assert rows[0]["train_reconstruction"] != rows[1]["train_reconstruction"]
    assert rows[0]["test_reconstruction"] != rows[1]["test_reconstruction"]
