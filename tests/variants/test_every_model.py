"""What every model of the registry does: it trains, resumes, and runs on a GPU and from a shell.

A new model takes one line in RUNS, and one more for each option that changes what is computed.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from cupy_counts import counted
from short_runs import STEPS, after_step, assert_same_run, interrupt, without_seconds
from short_runs import resumed as resumed_run
from short_runs import trainer as new_trainer
from toys import toy_data

from examples import train_mnist
from tinyvae import UserError, make_model, to_host
from tinyvae.data import Dataset, load, to_float
from tinyvae.models.registry import MODELS, all_options
from tinyvae.training import plots, report
from tinyvae.training.evaluation import evaluate
from tinyvae.training.parallel import DataParallel
from tinyvae.training.state import load_model
from tinyvae.training.steps import Steps

RUNS = {  # the test's name, whose first word is the model's: settings of make_model and of Config
    "vae": {},
    "ae": {},
    "cvae": {"classes": 12, "samples": 3},
    "iwae": {"k": 3, "samples": 2},
    "iwae dreg": {"k": 3, "estimator": "dreg"},
    "hvae": {"upper": (4, 2)},
    "hvae ladder": {"upper": (4, 2), "inference": "ladder"},
    "flow": {"flow": "iaf"},
    "flow planar": {"flow": "planar", "flow_steps": 3, "samples": 2},
    "flow coupling": {"flow": "coupling", "flow_steps": 2},
    "vqvae": {"codes": 9, "commitment": 2.0},
    "vqvae ema": {"codes": 9, "codebook": "ema"},
}
# Figures of a model beside those of all models.
EXTRA_FIGURES = {"vqvae": {"code_usage"}}


def settings_of(run):
    model = run.split()[0]
    network = {} if "mlp" in MODELS[model].networks else {"network": "conv"}
    return {"model": model} | network | RUNS[run]


each_run = pytest.mark.parametrize("run", RUNS)
BIG = toy_data(50, 30)  # with batches of 16: three whole ones and a ragged one of 2
SMALL_IMAGES = [x[:, :, ::3, ::3] for x in (BIG.x_train, BIG.x_test)]  # 10x10: fast
DATA = Dataset("small squares", SMALL_IMAGES[0], BIG.y_train, SMALL_IMAGES[1], BIG.y_test)


def trainer(folder, settings, xp=np):
    return new_trainer(folder, settings, xp, DATA)


def resumed(folder, settings):
    return resumed_run(folder, settings, data=DATA)


def test_every_model_is_here():
    assert {run.split()[0] for run in RUNS} == MODELS.keys()


@each_run
def test_training_lowers_the_loss(run):
    trained = trainer(None, settings_of(run) | {"epochs": 6})
    trained.fit()
    first, *_, last = trained.history
    assert last["train_total"] < first["train_total"]


@each_run
@pytest.mark.parametrize("stop", [1, STEPS, STEPS + 2])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(folders, run, stop):
    whole, parts = folders(), folders()
    trainer(whole, settings_of(run)).fit()
    after_step(trainer(parts, settings_of(run)), stop, interrupt).fit()
    resumed(parts, settings_of(run)).fit()
    assert_same_run(whole, parts)


@each_run
def test_parts_agree(run):
    """Loss and gradient of a batch in three parts, in float64."""
    found = []
    for count in (1, 3):
        whole = trainer(None, settings_of(run) | {"batch_size": 50})
        model = whole.model.to(np, np.float64)
        whole.feed.begin(0)
        in_parts = DataParallel(model, count, count)
        with in_parts.threads:
            loss = in_parts.gradient(*whole.feed.inputs(0))
        found.append((loss.terms, model.grad.copy()))
    (one, gradient), (three, other) = found
    for name, term in one.items():
        np.testing.assert_allclose(three[name], term, rtol=1e-11, err_msg=name)
    np.testing.assert_allclose(other, gradient, rtol=1e-9, atol=1e-12)


@each_run
def test_a_recorded_run_on_a_device_is_the_unrecorded_run(double, run):
    found = []
    for records in (True, False):
        trained = trainer(None, settings_of(run), double)
        trained.steps.records = records
        trained.fit()
        assert trained.steps.records == records  # it did not have to go on without
        found.append((without_seconds(trained.history), to_host(trained.model.theta).tobytes()))
    assert found[0] == found[1]


@each_run
def test_a_run_on_a_device_is_the_run_on_the_host(double, run):
    """But for the order of sums: the host cuts batches into parts."""
    host, device = (trainer(None, settings_of(run) | {"epochs": 2}, xp) for xp in (np, double))
    for one in (host, device):
        one.fit()
    for a, b in zip(*(without_seconds(one.history) for one in (host, device)), strict=True):
        assert a.pop("dataset") == b.pop("dataset") and a == pytest.approx(b, rel=1e-4)


@each_run
def test_a_step_on_a_device_waits_for_nothing(double, monkeypatch, run):
    monkeypatch.setattr(Steps, "_may_wait", lambda self, step: False)
    trained = trainer(None, settings_of(run), double)
    trained.steps.records = False
    trained.feed.begin(0)
    trained.steps.do(0)
    with counted() as counts:
        trained.steps.do(1)
    assert (counts.syncs, counts.uploads, counts.downloads) == (0, 0, 0)


@each_run
def test_evaluation_does_not_depend_on_the_batch_size(run):
    trained = trainer(None, settings_of(run))
    model = trained.model.to(np, np.float64)
    labels = DATA.y_test if model.wants_labels else None
    found = evaluate(model, DATA.x_test, labels, seed=3)
    for batch_size in (1, 7):
        parts = evaluate(model, DATA.x_test, labels, seed=3, batch_size=batch_size)
        for name, value in found.items():
            np.testing.assert_allclose(parts[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


@each_run
def test_single_precision_stays_single(run):
    trained = trainer(None, settings_of(run))
    trained.feed.begin(0)
    loss = trained.parallel.gradient(*trained.feed.inputs(0))
    assert trained.model.grad.dtype == np.float32
    assert {np.asarray(term).dtype for term in loss.terms.values()} == {np.dtype(np.float64)}


def test_an_option_of_another_model_is_refused():
    for name, (option, models) in all_options().items():
        for model in MODELS.keys() - set(models):
            with pytest.raises(UserError) as error:
                make_model(model, **{name: option.default})
            assert f"is an option of --model {' and '.join(models)}, not of {model}" in str(
                error.value
            )
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        make_model(nonsense=1)


@pytest.mark.parametrize(
    "model, name",
    [("iwae", "k"), ("cvae", "classes"), ("vqvae", "codes"), ("flow", "flow_steps")],
)
def test_an_option_that_is_one_number_takes_no_list(model, name):
    """The first of its numbers would be used in silence."""
    for wrong in ([5, 50], (2, 9), [5]):
        with pytest.raises(UserError, match=rf"--{name.replace('_', '-')} must be a whole number"):
            make_model(model, **{name: wrong})


def test_values_of_options_are_checked():
    for name, (option, models) in all_options().items():
        wrong = ["nonsense", None, True, -1] if option.least >= 0 else ["nonsense", None, True]
        for value in wrong:
            with pytest.raises(UserError, match=f"--{name.replace('_', '-')} must be"):
                make_model(models[0], network=MODELS[models[0]].networks[-1], **{name: value})


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Small runs of the command line in an empty current folder."""
    monkeypatch.setattr(load, "DIGITS_TRAIN", 200)
    monkeypatch.setattr(load, "DIGITS_TEST", 40)
    monkeypatch.setattr(report, "BOUND_EXAMPLES", 20)
    monkeypatch.setattr(report, "BOUND_SAMPLES", 5)
    monkeypatch.setitem(plots.STYLE, "savefig.dpi", 30)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("run", {run.split()[0]: run for run in reversed(RUNS)}.values())
def test_the_command_line(small, capsys, run):
    """A run, resumed for another epoch, leaves numbers, figures and a model that can be loaded."""
    words = ["--dataset", "digits", "--epochs", "1", "--latent-dim", "3", "--out", "run"]
    for name, value in settings_of(run).items():
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        words += [f"--{name.replace('_', '-')}", text]
    assert train_mnist.main(words) == 0
    assert train_mnist.main(["--resume", "run", "--epochs", "2"]) == 0
    out, model = capsys.readouterr().out, run.split()[0]
    assert f"{model.upper()} after 2 epochs" in out
    metrics = json.loads(Path("run/metrics.json").read_text())
    settings = settings_of(run).items() & metrics["model"].items()
    assert metrics["epochs_done"] == 2 and ("model", model) in settings
    figures = {path.stem for path in Path("run/figures").glob("*.png")}
    trained = load_model("run")
    of_all = {"loss", "reconstructions"} | ({"samples"} if trained.sample_means else set())
    assert figures >= of_all | EXTRA_FIGURES.get(model, set())
    digits = load.load_dataset("digits")
    x, labels = to_float(digits.x_test), (digits.y_test,) if trained.classes else ()
    error = trained.reconstruct(x, *labels) - x
    assert np.mean(error * error) == pytest.approx(metrics["test"]["mse"], rel=1e-4)
