"""Recorded steps: what a replay computes is what the step computes, bit for bit on the double.

The double of CuPy does in a replay what was asked of it while the step was recorded, with the
numbers that the arrays hold then.
"""

from threading import Event

import cupy_double
import numpy as np
import pytest
from cupy_counts import counted
from short_runs import (
    DATA,
    EVERYTHING,
    RUNS,
    STEPS,
    after_step,
    interrupt,
    resumed,
    trainer,
    without_seconds,
)
from toy_variants import classifier

from tinyvae import Bernoulli, clip_grad_norm
from tinyvae.engine.backend import array_module, to_host
from tinyvae.training.checkpoint import load_checkpoint
from tinyvae.training.config import Config
from tinyvae.training.profile import Profile
from tinyvae.training.recorded import _same_change
from tinyvae.training.steps import Steps
from tinyvae.training.trainer import Trainer

CASES = {name: settings for name, settings in RUNS.items() if name != "threads"}
CASES |= {"conv": {"network": "conv"}, "conv everything": EVERYTHING | {"network": "conv"}}
CASES |= {"whole batch": {"batch_size": 50}, "no ragged batch": {"batch_size": 10}}
each_case = pytest.mark.parametrize("settings", CASES.values(), ids=CASES)


def unrecorded(run):
    run.steps.records = False
    return run


def result(run):
    """The history, and all that the next step reads."""
    arrays = [to_host(array) for array in (run.model.theta, *run.optimizer.state.values())]
    return without_seconds(run.history), run.sums, [array.tobytes() for array in arrays]


def assert_recorded(run):
    sizes = {run.feed.size(i) for i in range(run.steps_per_epoch)}
    assert run.steps.records and run.steps.recorded.graphs.keys() == sizes


@each_case
def test_a_recorded_run_is_the_unrecorded_run(double, settings):
    recorded, plain = (trainer(None, settings, double) for _ in range(2))
    recorded.fit()
    unrecorded(plain).fit()
    assert_recorded(recorded)
    assert not plain.steps.recorded
    assert result(recorded) == result(plain)


def test_the_losses_of_a_recorded_epoch(xp):
    """On a GPU, too: to 1e-6 of themselves, with 64 bits to 1e-12."""
    if xp is np:
        pytest.skip("needs a device or its double")
    for dtype, rtol in ((np.float32, 1e-6), (np.float64, 1e-12)):
        losses = []
        for records in (True, False):
            run = trainer(None, EVERYTHING | {"network": "conv", "epochs": 1}, xp)
            run = Trainer(run.model.to(xp, dtype), DATA, run.config)
            run.steps.records = records
            run.fit()
            assert run.steps.records == records
            losses.append(run.history[0]["train_total"])
        assert losses[0] == pytest.approx(losses[1], rel=rtol)


def test_a_model_that_learns_from_labels(double):
    runs = [
        Trainer(classifier().to(double), DATA, Config(epochs=2, batch_size=16)) for _ in range(2)
    ]
    runs[0].fit()
    unrecorded(runs[1]).fit()
    assert_recorded(runs[0])
    assert result(runs[0]) == result(runs[1])


def test_float64(double):
    runs = [trainer(None, {}, double) for _ in range(2)]
    runs = [Trainer(run.model.to(double, np.float64), DATA, run.config) for run in runs]
    runs[0].fit()
    unrecorded(runs[1]).fit()
    assert_recorded(runs[0])
    assert result(runs[0]) == result(runs[1])


def test_a_replay_is_one_launch_and_waits_for_nothing(double, monkeypatch):
    run = trainer(None, EVERYTHING | {"network": "conv", "epochs": 2}, double)
    run.fit(1)
    run.steps.begin_fit()
    run.feed.begin(1)
    run.steps.begin_epoch()
    monkeypatch.setattr(Steps, "_may_wait", lambda self, step: False)
    run.steps.do(0)  # records
    for i in (1, 2):
        with counted() as counts:
            run.steps.do(i)
        assert counts.names == {"graph": 1}
        assert (counts.uploads, counts.downloads, counts.syncs) == (0, 0, 0)


def test_an_epoch_uploads_its_tables_and_downloads_the_losses(double, monkeypatch):
    """Order, noise, counter, beta and Adam's numbers; two loss terms, and whether all is finite."""
    monkeypatch.setattr(Steps, "_may_wait", lambda self, step: False)
    run = trainer(None, {"epochs": 2}, double)
    monkeypatch.setattr(run, "_end_epoch", lambda *_: None)  # the evaluation
    run.steps.begin_fit()
    run._run_epoch(Event())
    with counted() as counts:
        run._run_epoch(Event())
    assert counts.names["graph"] == STEPS and run.finished
    assert (counts.uploads, counts.downloads, counts.syncs) == (5, 3, 3)


@pytest.mark.parametrize("stops", [[1], [2], [3, 5], [STEPS + 1, 2 * STEPS + 1]], ids=str)
def test_a_run_resumed_in_the_middle_of_an_epoch(double, folders, stops):
    folder, run = folders(), None
    for stop in stops:
        run = resumed(folder, EVERYTHING, double) if run else trainer(folder, EVERYTHING, double)
        after_step(run, stop, interrupt).fit()
        assert run.step == stop == load_checkpoint(folder / "checkpoint.npz")[1]["step"]
    run = resumed(folder, EVERYTHING, double)
    run.fit()
    assert run.steps.recorded.graphs and run.finished
    plain = unrecorded(trainer(None, EVERYTHING, double))
    plain.fit()
    assert result(run) == result(plain)


def test_what_was_changed_between_two_fits_counts(double):
    """The learning rate, the schedule of beta, and a property of a layer."""
    runs = [trainer(None, {}, double), unrecorded(trainer(None, {}, double))]
    for run in runs:
        run.fit(1)
        run.optimizer.lr, run.optimizer.betas = 3e-4, (0.8, 0.99)
        run.beta_at = lambda step: 0.1 * step
        run.fit(2)
        backward = run.model.likelihood.backward
        run.model.likelihood.backward = lambda dlog_prob, *a, b=backward: b(2 * dlog_prob, *a)
        run.fit(3)
    assert_recorded(runs[0])
    assert result(runs[0]) == result(runs[1])


def test_what_is_put_around_the_optimizer_is_recorded(double):
    """Such as clipping the gradient."""
    runs = [trainer(None, {}, double), unrecorded(trainer(None, {}, double))]
    for run in runs:
        step = run.optimizer.step

        def clipped(*arguments, model=run.model, step=step):
            clip_grad_norm(model, 5.0)
            step(*arguments)

        run.optimizer.step = clipped
        run.fit()
    assert_recorded(runs[0])
    assert result(runs[0]) == result(runs[1])


# What cannot be recorded.


class Waiting(Bernoulli):
    """Python decides by a number of the device."""

    def log_prob(self, x, output):
        return super().log_prob(x, output if float(output.sum()) < 1e9 else 2 * output)


class Uploading(Bernoulli):
    def log_prob(self, x, output):
        return super().log_prob(x, output + array_module(output).asarray(np.zeros(1, np.float32)))


class Multiplying(Bernoulli):
    """By CuPy's own product."""

    def log_prob(self, x, output):
        return super().log_prob(x, output + 0 * (output[:, 0].T @ output[:, 0]).sum())


class Counting(Bernoulli):
    """Python's state changes from step to step: it would stay what it was when recorded."""

    calls = 0

    def backward(self, dlog_prob, x, output):
        self.calls += 1
        return super().backward(dlog_prob * (1 + self.calls % 2), x, output)


@pytest.mark.parametrize(
    "likelihood, reason",
    [
        (Waiting, "operation not permitted when stream is capturing"),
        (Uploading, "operation not permitted when stream is capturing"),
        (Multiplying, "calling cuBLAS API during stream capture"),
        (Counting, "a replay does not compute what the step computes"),
    ],
)
def test_what_cannot_be_recorded_is_trained_without(double, capsys, likelihood, reason):
    runs = [trainer(None, {}, double), unrecorded(trainer(None, {}, double))]
    for run in runs:
        run.model.likelihood = likelihood()
        run.fit()
    assert not runs[0].steps.records and runs[0].finished
    told = [line for line in capsys.readouterr().out.splitlines() if "cannot be recorded" in line]
    assert len(told) == 1  # in three epochs, of two sizes of batches
    assert told[0].startswith("training goes on, but slower: its steps cannot be recorded (")
    assert reason in told[0]
    if likelihood is not Counting:  # it has been called more often
        assert result(runs[0]) == result(runs[1])


def test_an_optimizer_of_ones_own(double, capsys):
    class Own:
        """Gradient descent that knows nothing of tables."""

        def __init__(self, model):
            self.model, self.state = model, {}

        def step(self, run=map, scalars=None):
            self.model.theta -= 1e-4 * self.model.grad

    run = trainer(None, {}, double)
    run.optimizer = Own(run.model)
    run.fit()
    assert run.finished and capsys.readouterr().out.count("cannot be recorded ('step')") == 1


def test_a_replay_that_computes_something_else_is_noticed(double, monkeypatch, capsys):
    """Whatever the reason: here replays that leave one operation out."""
    launch = cupy_double.cupy.cuda.Graph.launch

    def forgetful(graph, stream=None):
        graph._operations = graph._operations[:30] + graph._operations[31:]
        launch(graph, stream)

    monkeypatch.setattr(cupy_double.cupy.cuda.Graph, "launch", forgetful)
    runs = [trainer(None, {}, double), unrecorded(trainer(None, {}, double))]
    for run in runs:
        run.fit()
    assert "a replay does not compute what the step computes" in capsys.readouterr().out
    assert result(runs[0]) == result(runs[1])


@pytest.mark.parametrize("error, same", [(0, True), (0.005, True), (0.02, False), (1, False)])
def test_a_replay_may_differ_by_one_percent_of_the_change(error, same):
    before, after = np.random.default_rng(0).standard_normal((2, 3, 5))
    replayed = after + error * (after - before)
    assert _same_change((replayed, before), (None, after)) == same


def test_the_profile_sees_every_step(double):
    watch = Profile(trainer(None, {"epochs": 1}, double))
    assert "decoder.0 Linear" in watch.fit()
    assert not watch.trainer.steps.recorded and watch.steps == STEPS
