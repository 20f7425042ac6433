"""Training on a device: a step waits for nothing and launches so many kernels; it learns the same.

The device is the double of CuPy, which counts and computes what NumPy does.
"""

import copy
from threading import Event

import cupy_double
import numpy as np
import pytest
from cupy_counts import counted
from short_runs import EVERYTHING, STEPS, after_step, trainer, without_seconds

from tinyvae.engine import layers
from tinyvae.engine.backend import array_module
from tinyvae.errors import UserError
from tinyvae.training import report
from tinyvae.training.checkpoint import load_checkpoint
from tinyvae.training.steps import Steps

CALLS = 98  # of an unrecorded step of the convolutional VAE; make it less, never more


def unrecorded(run):
    run.steps.records = False
    return run


def counts_after_each_step(run):
    """Train, and return what has been counted when the optimizer's steps were done."""
    step, seen = run.optimizer.step, []
    with counted() as counts:

        def noted(*arguments):
            step(*arguments)
            seen.append(copy.deepcopy(counts))

        run.optimizer.step = noted
        run.fit()
    return seen


def test_a_step_waits_for_nothing_and_is_so_many_calls(double, folders, monkeypatch):
    """From the end of the second step to the end of the third."""
    monkeypatch.setattr(Steps, "_may_wait", lambda self, step: False)
    run = unrecorded(trainer(folders(), {"network": "conv", "epochs": 1}, double))
    _, before, after, _ = counts_after_each_step(run)
    assert after.syncs - before.syncs == after.downloads - before.downloads == 0
    assert after.uploads - before.uploads == 0
    names = after.names - before.names
    assert names.total() == CALLS, names.most_common()


def test_an_epoch_uploads_order_and_noise_and_downloads_the_losses(double, folders, monkeypatch):
    """And it asks once whether the weights are finite. The images went up in the first epoch."""
    monkeypatch.setattr(Steps, "_may_wait", lambda self, step: False)
    run = unrecorded(trainer(folders(), {"epochs": 2}, double))
    monkeypatch.setattr(run, "_end_epoch", lambda *_: None)  # the evaluation
    run._run_epoch(Event())
    with counted() as counts:
        run._run_epoch(Event())
    assert run.finished
    assert (counts.uploads, counts.downloads, counts.syncs) == (2, 3, 3)


def test_images_are_bytes_on_the_device(double, folders):
    run = trainer(folders(), {"epochs": 1}, double)
    run.fit()
    for images in (run.feed.x, run.x_test):
        assert isinstance(images, double.ndarray) and images.dtype == np.uint8


@pytest.mark.parametrize("network", ["conv", "mlp"])
@pytest.mark.parametrize("settings", [{}, EVERYTHING], ids=["plain", "everything"])
def test_a_run_is_the_run_on_the_host_bit_for_bit(double, folders, monkeypatch, network, settings):
    """With weight gradients of convolutions summed in the device's order on the host, too."""

    def product(y, p, out):
        array_module(y).matmul(y.reshape(len(y), -1), p.T, out=out)

    monkeypatch.setattr(layers, "product_with_patches", product)
    settings = settings | {"network": network, "epochs": 2, "threads": 1}
    histories, weights = [], []
    for xp in (np, double):
        run = trainer(folders(), settings, xp)
        run.fit()
        histories.append(without_seconds(run.history))
        weights.append({name: value.tobytes() for name, value in run.model.state_dict().items()})
    assert histories[0] == histories[1]
    assert weights[0] == weights[1]


def test_metrics_and_figures_of_a_run_on_the_device(double, folders, monkeypatch):
    """The figures on both; the variance of codes is summed in another order."""
    monkeypatch.setattr(report, "BOUND_SAMPLES", 12)
    metrics, figures = [], []
    for xp in (np, double):
        run = trainer(folders(), {"epochs": 1}, xp)
        run.fit()
        metrics.append(report.write_metrics(run))
        figures.append({path.name for path in report.draw_figures(run, metrics[-1]).iterdir()})
    host, device = ([m["test"].pop("variance_per_dimension"), m["test"]] for m in metrics)
    assert device[0] == pytest.approx(host[0], rel=1e-12)
    assert device[1] == host[1]
    assert metrics[1]["importance_weighted"] == metrics[0]["importance_weighted"]
    assert figures[1] == figures[0] != set()
    assert metrics[1]["versions"]["cupy"] == double.__version__


class OutOfMemoryError(MemoryError):
    """As CuPy's memory pool raises it."""


@pytest.mark.parametrize("kind", [OutOfMemoryError, cupy_double.CUDARuntimeError])
def test_a_full_device_stops_training_in_one_sentence(double, folders, kind):
    """The last checkpoint stays, the sentence says what to lower."""
    folder = folders()
    run = trainer(folder, {"epochs": 2}, double)

    def fill():
        raise kind("out of memory allocating 4,096 bytes (allocated so far: 512 bytes)")

    after_step(run, STEPS + 2, fill)
    with pytest.raises(UserError) as refusal:
        run.fit()
    sentence = str(refusal.value)
    assert sentence.startswith("out of memory at a batch size of 16 (out of memory allocating")
    assert sentence.endswith("; lower --batch-size, --samples or --train-size and train anew")
    assert load_checkpoint(folder / "checkpoint.npz")[1]["step"] == STEPS
