"""Numbers that are none stop a run, and never reach its checkpoint."""

import numpy as np
import pytest
from short_runs import DATA, STEPS, after_step, interrupt, resumed, trainer

from tinyvae import Bernoulli, UserError
from tinyvae.training import report
from tinyvae.training import trainer as trainer_module
from tinyvae.training.checkpoint import load_checkpoint
from tinyvae.training.steps import Diverged, Steps


def diverges(run, folder):
    """The sentence of Diverged; the folder is as the last save left it."""
    save, saved = run.save, {}

    def files():
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    def noted_save():
        save()
        saved.update(files())

    run.save = noted_save
    with pytest.raises(Diverged) as error:
        run.fit()
    assert saved == files()
    return str(error.value)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("value", [np.inf, np.nan])
@pytest.mark.parametrize("name", ["encoder.trunk.1.weight", "decoder.2.bias", "likelihood.logvar"])
def test_a_broken_parameter_stops_training(folders, name, value):
    folder = folders()
    run = trainer(folder, {"likelihood": "gaussian"})
    parameter = dict(run.model.named_parameters())[name].value
    after_step(run, STEPS + 2, lambda: parameter.fill(value))
    sentence = diverges(run, folder)
    assert sentence.startswith(
        f"training stopped at step {STEPS + 2}: the parameter {name} is not finite; "
    )
    assert load_checkpoint(folder / "checkpoint.npz")[1]["step"] == STEPS
    assert np.isfinite(resumed(folder, {"likelihood": "gaussian"}).model.theta).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_broken_gradient_stops_training(folders, monkeypatch):
    """The loss is finite; the update that would spoil all weights does not happen."""
    folder, theta = folders(), []
    run = trainer(folder)
    after_step(run, STEPS + 2, lambda: theta.append(run.model.theta.copy()))
    backward = Bernoulli.backward

    def breaking(self, dlog_prob, x, logits):
        return backward(self, dlog_prob * (np.nan if theta else 1.0), x, logits)

    monkeypatch.setattr(Bernoulli, "backward", breaking)
    sentence = diverges(run, folder)
    assert "the gradient of decoder.3 is not finite" in sentence
    np.testing.assert_array_equal(run.model.theta, theta[0])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_gradient_broken_in_another_threads_part_is_found(folders, monkeypatch, small_parts):
    """By one image, the last of its batch: the diagnosis looks at the whole batch."""
    folder, begun = folders(), []
    run = after_step(trainer(folder, {"threads": 2}), STEPS + 2, lambda: begun.append(True))
    run.feed.begin(epoch=1)
    last = DATA.x_train[run.feed.order[2, -1]] / np.float32(255)
    backward = Bernoulli.backward

    def breaking(self, dlog_prob, x, logits):
        dlogits = backward(self, dlog_prob, x, logits)
        if begun:
            broken = np.isclose(x.sum(axis=0, dtype=np.float64), last.sum(dtype=np.float64))
            dlogits[:, broken.reshape(dlogits.shape[1:])] = np.nan
        return dlogits

    monkeypatch.setattr(Bernoulli, "backward", breaking)
    assert "the gradient of decoder.3 is not finite" in diverges(run, folder)


def test_a_gradient_too_long_for_its_square_stops_training(folders, monkeypatch):
    """It would leave Adam's sums of squares infinite, and the weights where they are for good."""
    backward = Bernoulli.backward

    def large(self, dlog_prob, x, logits):
        return backward(self, dlog_prob * 1e25, x, logits)

    monkeypatch.setattr(Bernoulli, "backward", large)
    folder = folders()
    assert "the length of the gradient is not finite" in diverges(trainer(folder), folder)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("stop", [None, STEPS + 2], ids=["end of the epoch", "Ctrl-C"])
def test_what_breaks_while_nobody_looks_is_not_saved(folders, monkeypatch, stop):
    """As on a GPU, where looking at every step would cost time."""
    monkeypatch.setattr(Steps, "_may_wait", lambda self, step: False)
    folder = folders()
    run = after_step(trainer(folder), STEPS + 2, lambda: run.model.theta.fill(np.nan))
    if stop:
        after_step(run, stop, interrupt)
    sentence = diverges(run, folder)
    assert "the parameter encoder.trunk.1.weight is not finite" in sentence
    assert load_checkpoint(folder / "checkpoint.npz")[1]["step"] == STEPS


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_learning_rate_far_too_large_stops_training(folders):
    folder = folders()
    sentence = diverges(trainer(folder, {"lr": 1e30}), folder)
    assert "the output of encoder." in sentence
    assert load_checkpoint(folder / "checkpoint.npz")[1]["step"] == 0


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("epochs", [1, 2])
def test_a_last_step_that_breaks_the_model_is_not_saved(folders, epochs):
    """One step an epoch, and the first one already ruins the weights."""
    folder = folders()
    with pytest.raises(Diverged):
        trainer(folder, {"lr": 1e30, "batch_size": 50, "epochs": epochs}).fit()
    assert load_checkpoint(folder / "checkpoint.npz")[1]["step"] == 0


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ["bound", "elbo"])
def test_metrics_that_are_not_finite_are_told_and_not_written(folders, monkeypatch, name):
    folder = folders()
    run = trainer(folder, {"epochs": 1})
    run.fit()
    draws = iter([np.inf] if name == "bound" else [0.0, np.nan])
    monkeypatch.setattr(
        report, "importance_weighted_bound", lambda *a, **k: np.full(3, next(draws))
    )
    monkeypatch.setattr(report, "_elbo", lambda *a: float(next(draws, 0.0)))
    with pytest.raises(UserError, match=f"not finite on the test set: {name}; float32 cannot"):
        report.write_metrics(run)
    assert not (folder / "metrics.json").exists()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_any_number_of_an_epoch_that_is_not_finite_stops_training(folders, monkeypatch):
    """The loss may be finite where the squared error overflows."""
    folder, measure = folders(), trainer_module.evaluate
    monkeypatch.setattr(
        trainer_module, "evaluate", lambda *a, **k: measure(*a, **k) | {"mse": float("inf")}
    )
    diverges(trainer(folder), folder)
