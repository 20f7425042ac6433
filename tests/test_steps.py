"""On a device: a loss that is not finite is found, although the loss is seldom read."""

import numpy as np
import pytest
from short_runs import STEPS, after_step, trainer

from tinyvae import UserError
from tinyvae.training import steps as steps_module
from tinyvae.training.checkpoint import load_checkpoint
from tinyvae.training.steps import Diverged, Steps


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
