"""Recorded steps: what a replay computes is what the step computes, bit for bit on the double.

The double of CuPy does in a replay what was asked of it while the step was recorded, with the
numbers that the arrays hold then.
"""

import ctypes
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

from tinyvae import Bernoulli, Linear, UserError, clip_grad_norm
from tinyvae.engine.backend import array_module, matmul, products_by, to_host
from tinyvae.training import steps as steps_module
from tinyvae.training.checkpoint import load_checkpoint
from tinyvae.training.config import Config
from tinyvae.training.cublas import KINDS, Cublas
from tinyvae.training.profile import Profile
from tinyvae.training.steps import Diverged, Steps
from tinyvae.training.trainer import Trainer

CASES = {name: settings for name, settings in RUNS.items() if name != "threads"}
CASES |= {"conv": {"network": "conv"}, "conv everything": EVERYTHING | {"network": "conv"}}
CASES |= {"whole batch": {"batch_size": 50}, "no ragged batch": {"batch_size": 10}}
each_case = pytest.mark.parametrize("settings", CASES.values(), ids=CASES)


@pytest.fixture
def double(monkeypatch):
    return cupy_double.install(monkeypatch)


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
        graph._operations = graph._operations[:40] + graph._operations[41:]
        launch(graph, stream)

    monkeypatch.setattr(cupy_double.cupy.cuda.Graph, "launch", forgetful)
    runs = [trainer(None, {}, double), unrecorded(trainer(None, {}, double))]
    for run in runs:
        run.fit()
    assert "a replay does not compute what the step computes" in capsys.readouterr().out
    assert result(runs[0]) == result(runs[1])


def test_the_profile_sees_every_step(double):
    watch = Profile(trainer(None, {"epochs": 1}, double))
    assert "decoder.0 Linear" in watch.fit()
    assert not watch.trainer.steps.recorded and watch.steps == STEPS


# Looking at the loss.


@pytest.mark.parametrize("name", ["encoder.trunk.1.weight", "decoder.2.bias"])
@pytest.mark.parametrize("step", [2, STEPS + 2])
def test_a_loss_that_is_not_finite_is_found(double, folders, name, step):
    folder = folders()
    run = trainer(folder, {}, double)
    parameter = dict(run.model.named_parameters())[name].value
    after_step(run, step, lambda: parameter.fill(np.nan))
    with pytest.raises(Diverged, match="is not finite; the last checkpoint is untouched"):
        run.fit()
    assert load_checkpoint(folder / "checkpoint.npz")[1]["step"] == step // STEPS * STEPS


def test_a_loss_that_is_not_finite_while_nobody_looks(double, folders, monkeypatch):
    monkeypatch.setattr(Steps, "_may_wait", lambda self, step: False)
    run = trainer(folders(), {"lr": 1e30}, double)
    with pytest.raises(Diverged, match="the parameter encoder.trunk.1.weight is not finite"):
        run.fit()
    assert run.step == STEPS


@pytest.mark.parametrize("seconds", [0.001, 0.01, 0.2, 5.0], ids=str)
def test_the_loss_is_read_a_few_times_a_second(double, monkeypatch, seconds):
    """However long a step takes."""
    clock, looks = [0.0], []
    monkeypatch.setattr(steps_module.time, "perf_counter", lambda: clock[0])
    run = trainer(None, {}, double)
    while run.step < 2000:
        looked = run.steps._may_wait(run.step)
        clock[0] += seconds
        run.step += 1
        if looked:
            looks.append(clock[0])
            run.steps._plan_next_look()
    apart, least = np.diff(looks[2:]), max(0.3, seconds)
    assert apart.size > 2
    assert apart.min() > least - seconds * 1.01 and apart.max() < least + 0.01


class OutOfMemoryError(MemoryError):
    """As CuPy raises it."""


def test_a_full_memory_while_a_step_is_recorded(double, monkeypatch):
    def begin_capture(self):
        raise OutOfMemoryError("Out of memory allocating 4,096 bytes")

    monkeypatch.setattr(double.cuda.Stream, "begin_capture", begin_capture)
    with pytest.raises(UserError, match="out of memory at a batch size of 16"):
        trainer(None, {}, double).fit()


# Products.


LAYOUTS = {
    "rows": lambda x: x,
    "columns": lambda x: x.T.copy().T,
    "neither": lambda x: x.repeat(2, axis=1)[:, ::2],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("left", LAYOUTS)
@pytest.mark.parametrize("right", LAYOUTS)
@pytest.mark.parametrize("sizes", [(5, 3, 4), (1, 3, 4), (5, 1, 4), (5, 3, 1), (1, 1, 1)], ids=str)
def test_cublas_multiplies_matrices_of_every_layout(double, sizes, left, right, dtype):
    (m, k, n), rng = sizes, np.random.default_rng(0)
    a = LAYOUTS[left](double.asarray(rng.standard_normal((m, k)), dtype=dtype))
    b = LAYOUTS[right](double.asarray(rng.standard_normal((k, n)), dtype=dtype))
    out, cublas = double.empty((m, n), dtype=dtype), Cublas(double)
    with cublas.stream, products_by(cublas):
        assert matmul(a, b, out=out) is out
        np.testing.assert_allclose(matmul(a, b).get(), out.get())
        vector = matmul(a, b[:, 0])
        assert (vector.shape, vector.dtype) == ((m,), dtype)
    np.testing.assert_allclose(out.get(), to_host(a) @ to_host(b), rtol=1e-6)
    np.testing.assert_allclose(vector.get(), out.get()[:, 0], rtol=1e-6)


def test_the_functions_of_cublas_are_found_in_the_real_library():
    """Which needs no GPU, but NVIDIA's library."""
    pytest.importorskip("cupy")
    try:
        from cupy.cuda import cublas
    except ImportError as error:
        pytest.skip(str(error))
    library = ctypes.CDLL(cublas.__file__)
    assert cublas.create
    for name in (
        "cublasSetStream_v2",
        "cublasSetWorkspace_v2",
        *(name for name, _ in KINDS.values()),
    ):
        assert getattr(library, name)


def test_what_cublas_does_not_multiply(double):
    x, cublas = double.ones((2, 2), dtype=np.float32), Cublas(double)
    for a, b, out in (
        (x.astype(np.int64), x.astype(np.int64), None),
        (x, x.astype(np.float64), None),
        (x, x, double.ones((2, 2))),
        (x, x, double.ones((2, 4), dtype=np.float32)[:, ::2]),
        (x[None], x, None),
    ):
        with cublas.stream, pytest.raises(NotImplementedError, match="a product of"):
            cublas(a, b, out)


def test_products_on_the_host_are_numpys(monkeypatch):
    def refuse(a, b, out):
        raise AssertionError

    x = np.random.default_rng(0).random((3, 4), dtype=np.float32)
    with products_by(refuse):
        assert matmul(x, x.T).tobytes() == (x @ x.T).tobytes()
        Linear(4, 2, rng=np.random.default_rng(0)).forward(x.T)
    with pytest.raises(KeyError), products_by(refuse):
        raise KeyError
    assert matmul(x, x[0]).tobytes() == (x @ x[0]).tobytes()
