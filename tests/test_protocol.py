"""Whatever keeps the protocol of models/base.py trains, is measured, drawn and resumed.

The models are those of toy_variants.py. Training, evaluation and figures know none of them.
"""

import copy
import csv
import json
import pickle

import numpy as np
import pytest
from short_runs import after_step, assert_same_run, interrupt, without_seconds
from toy_variants import CLASSES, MODELS, LabelledVAE, SparseVAE, classifier, variant
from toys import toy_data

from tinyvae import Adam, UserError
from tinyvae.data import Dataset, to_float
from tinyvae.engine.differences import check_model
from tinyvae.gradcheck import TOLERANCE
from tinyvae.models.base import Loss
from tinyvae.models.classifier import Classifier
from tinyvae.rng import generator
from tinyvae.training import plots
from tinyvae.training.checkpoint import load_checkpoint
from tinyvae.training.config import Config
from tinyvae.training.evaluation import evaluate
from tinyvae.training.parallel import DataParallel
from tinyvae.training.profile import Profile
from tinyvae.training.report import draw_figures, loss_lines, write_metrics
from tinyvae.training.steps import Diverged
from tinyvae.training.trainer import Trainer, train

DATA = toy_data(50, 30)
STEPS = 4  # an epoch


each_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
SETTINGS = {"epochs": 3, "batch_size": 16, "threads": 2, "binarize": "dynamic"}
FOR_A_KL = {"samples": 2, "kl_anneal": 1.5, "free_bits": 0.05, "beta": 2.0}


def settings_for(model):
    return Config(**SETTINGS | (FOR_A_KL if "kl" in model.term_names else {}))


def trainer(make, folder, data=DATA):
    model = make()
    return Trainer(model, data, settings_for(model), folder)


def batch(model, n=7, samples=2, dtype=np.float64):
    rng = np.random.default_rng(2)
    x, eps = rng.random((n, 1, 28, 28)), rng.standard_normal((samples, n, model.noise_dim))
    return model.inputs(x.astype(dtype), eps.astype(dtype), rng.integers(0, CLASSES, n))


@each_model
def test_the_models_here_are_right(make):
    model = make()
    options = {"beta": 2.0} if "kl" in model.term_names else {}
    rng = np.random.default_rng(0)
    assert check_model(model, *batch(model), rng=rng, **options) < TOLERANCE
    loss = model.loss(*batch(model), **options)
    assert tuple(loss.terms) == tuple(loss.dterms) == model.term_names
    once = sum(float(term) for name, term in loss.terms.items() if name != "kl")
    assert float(loss.total) == pytest.approx(
        once + 2.0 * float(np.sum(loss.terms.get("kl", 0.0))), rel=1e-12
    )


@each_model
def test_training_writes_the_terms_and_metrics_as_columns(make, folders):
    folder = folders()
    run = trainer(make, folder)
    run.fit()
    assert run.finished and run.history[-1]["train_total"] < run.history[0]["train_total"]
    names = run.model.term_names
    metrics = {SparseVAE: ["mse"], LabelledVAE: ["mse", "accuracy"], Classifier: ["accuracy"]}
    parts = ["total", *names, *metrics[type(run.model)]]
    columns = ["dataset", "epoch", *(f"{of}_{part}" for of in ("train", "test") for part in parts)]
    if run.model.latent_dim:
        columns += ["beta", "active_units"]
    with open(folder / "history.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == [*columns, "seconds"]
    assert len(rows) == 4
    for row in run.history:
        for of in ("train", "test"):
            total = sum(row[f"{of}_{name}"] for name in names)
            assert row[f"{of}_total"] == pytest.approx(total, rel=1e-12)
    expected = evaluate(run.model, run.x_test, DATA.y_test if run.model.wants_labels else None)
    for part in parts:
        assert run.history[-1][f"test_{part}"] == expected[part]


@each_model
def test_parts_agree(make):
    """Loss and gradient in parts, with free bits, which look at the whole batch."""
    found = []
    for count in (1, 3):
        model = make().to(np, np.float64)
        free_bits, beta = (0.05, 1.5) if "kl" in model.term_names else (0.0, 1.0)
        inputs, in_parts = batch(model), DataParallel(model, count, count, free_bits)
        with in_parts.threads:
            loss = in_parts.gradient(*inputs, beta=beta)
        found.append((loss, model.grad.copy()))
        if count == 1:
            plain = model.loss(*inputs, beta=beta, free_bits=free_bits)
            model.backward()
            assert float(loss.total) == float(plain.total)
            np.testing.assert_array_equal(found[0][1], model.grad)
    (one, gradient), (three, other) = found
    assert one.terms.keys() == three.terms.keys()
    for name, term in one.terms.items():
        np.testing.assert_allclose(three.terms[name], term, rtol=1e-12)
    np.testing.assert_allclose(other, gradient, rtol=1e-10, atol=1e-13)


@each_model
def test_evaluation_by_hand(make):
    model = make().to(np, np.float64)
    labels = DATA.y_test if model.wants_labels else None
    found = evaluate(model, DATA.x_test, labels, seed=3)
    x = to_float(DATA.x_test, np.float64)
    eps = generator(3, "evaluation").standard_normal((1, 30, model.noise_dim), np.float32)
    terms = model.terms(*model.inputs(x, eps, DATA.y_test))
    for name, term in terms.items():
        assert found[name] == pytest.approx(float(np.sum(term)), rel=1e-12)
    assert found["total"] == pytest.approx(sum(found[name] for name in terms), rel=1e-12)
    if model.latent_dim:
        np.testing.assert_allclose(found["kl_per_dimension"], terms["kl"], rtol=1e-12)
        mse = np.mean((model.reconstruct(x) - x) ** 2)
        assert found["mse"] == pytest.approx(mse, rel=1e-12)
    if model.wants_labels:
        guess = (
            model.head.forward(model.embed(x).T.copy()).argmax(axis=0)
            if model.latent_dim
            else model.probabilities(x).argmax(axis=1)
        )
        assert found["accuracy"] == pytest.approx(np.mean(guess == DATA.y_test), rel=1e-12)
    for batch_size in (1, 7):
        parts = evaluate(model, DATA.x_test, labels, seed=3, batch_size=batch_size)
        assert parts.keys() == found.keys()
        for name, value in found.items():
            np.testing.assert_allclose(parts[name], value, rtol=1e-10, err_msg=name)


@each_model
@pytest.mark.parametrize("stop", [1, STEPS, STEPS + 2])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(make, folders, stop):
    whole, parts = folders(), folders()
    trainer(make, whole).fit()
    after_step(trainer(make, parts), stop, interrupt).fit()
    arrays, about = load_checkpoint(parts / "checkpoint.npz")
    assert about["step"] == stop and about["model"] is None  # make_model did not make it
    run = trainer(make, parts)
    run.restore(arrays, about)
    run.fit()
    assert_same_run(whole, parts)


@each_model
def test_metrics_and_figures(make, tmp_path, monkeypatch):
    monkeypatch.setitem(plots.STYLE, "savefig.dpi", 30)
    run = trainer(make, tmp_path)
    run.fit()
    metrics = write_metrics(run)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert set(run.model.term_names) < metrics["test"].keys()
    assert "importance_weighted" not in metrics  # these models have no log_weights
    labels = [label for label, *_ in loss_lines(run, metrics)]
    assert labels[0] == run.model.objective
    assert len(run.model.term_names) == 1 or {"sparsity", "KL"} < set(labels)
    figures = {path.stem for path in draw_figures(run, metrics).glob("*.png")}
    pictures = {"reconstructions", "samples", "interpolation", "traversal", "latent_scatter", "kl"}
    assert figures == ({"loss"} | pictures if run.model.latent_dim else {"loss"})


@each_model
def test_a_profile_of_them(make, folders):
    assert "sample, likelihood, KL" in Profile(trainer(make, folders())).fit()


@pytest.mark.parametrize("make", [MODELS["labelled"], classifier])
def test_data_without_the_labels_are_refused(make):
    bare = Dataset("bare squares", DATA.x_train, None, DATA.x_test, None)
    with pytest.raises(UserError) as error:
        trainer(make, None, bare)
    assert str(error.value) == (
        "the model learns from labels, but bare squares has none; give labels"
    )


def test_a_classifier_trains_in_one_call():
    data = toy_data(400, 100)
    history = train(classifier(), data, epochs=8, batch_size=32, lr=0.01)
    assert [row["epoch"] for row in history] == list(range(1, 9))
    assert history[-1]["test_accuracy"] > 0.5 > 0.3 > history[0]["test_accuracy"]
    assert history[-1]["test_cross_entropy"] < history[0]["test_cross_entropy"]
    assert not {"train_kl", "beta", "active_units", "test_mse"} & history[0].keys()
    again = train(classifier(), data, epochs=8, batch_size=32, lr=0.01)
    assert without_seconds(again) == without_seconds(history)


def test_the_step_of_a_trainer_is_loss_backward_and_step():
    """The loop as a reader would write it, with labels and noise, ends at the same weights."""
    run = Trainer(variant(LabelledVAE)(), DATA, Config(epochs=1, batch_size=16, threads=1))
    model = variant(LabelledVAE)()
    optimizer = Adam(model, lr=1e-3)
    run.feed.begin(0)
    for i in range(STEPS):
        model.loss(*run.feed.inputs(i))
        model.backward()
        optimizer.step()
    run.fit()
    np.testing.assert_array_equal(run.model.theta, model.theta)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@each_model
def test_a_model_that_breaks_in_its_last_step_is_named(make):
    """Its loss on the test set is not finite, which the diagnosis computes anew."""
    run = Trainer(make(), DATA, Config(epochs=1, batch_size=50, lr=1e30))
    with pytest.raises(Diverged, match=r"the (output|gradient) of \S+ is not finite"):
        run.fit()


def test_a_loss_is_copied_and_pickled_and_names_its_terms():
    loss = Loss({"reconstruction": 2.0, "kl": np.array([1.0, 0.5])}, beta=2.0)
    for copied in (copy.copy(loss), copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert copied.total == loss.total == 5.0
    with pytest.raises(AttributeError, match="reconstruction, kl, not mse"):
        loss.mse  # noqa: B018
