"""The alarm: training says so when no latent dimension tells anything of the image."""

import numpy as np
import pytest
from short_runs import resumed, trainer

from tinyvae.training.diagnosis import collapse_warning
from tinyvae.training.evaluation import evaluate

ALARM = "WARNING: posterior collapse"


def alarms(captured):
    return [line for line in captured.out.splitlines() if line.startswith(ALARM)]


@pytest.mark.parametrize(
    "kl, collapsed",
    [
        ([0.0, 0.0], True),
        ([0.099, 0.05, 0.0999], True),
        ([0.0, 0.1, 0.0], False),
        ([0.09, 2.0], False),
        ([], False),
        (np.zeros(3), True),
    ],
)
def test_warns_only_if_every_dimension_is_below(kl, collapsed):
    warning = collapse_warning(kl)
    assert (warning is not None) == collapsed
    if collapsed:
        assert warning.startswith(ALARM) and "\n" not in warning
        assert f"largest: {max(kl):.4f}" in warning


def test_a_collapsed_training_is_told_once_an_epoch(folders, capsys):
    """beta = 784: what averaging the reconstruction over the pixels comes to."""
    run = trainer(folders(), {"beta": 784.0})
    run.fit()
    assert len(alarms(capsys.readouterr())) == run.config.epochs == 3
    assert max(evaluate(run.model, run.x_test)["kl_per_dimension"]) < 0.1


@pytest.mark.parametrize(
    "settings",
    [
        {"beta": 0.01, "lr": 0.01},  # codes that are used
        {"model": "ae"},
        {"beta": 784.0, "kl_anneal": 9.0},  # beta is not there yet
    ],
    ids=["used", "autoencoder", "annealing"],
)
def test_no_alarm(folders, capsys, settings):
    trainer(folders(), settings).fit()
    captured = capsys.readouterr()
    assert "epoch 3: test" in captured.out
    assert alarms(captured) == []


def test_after_annealing_the_alarm_is_due(folders, capsys):
    """beta arrives within the second epoch, and with that epoch's end the alarm."""
    trainer(folders(), {"beta": 784.0, "kl_anneal": 1.5}).fit()
    out = capsys.readouterr().out
    assert out.index("epoch 1: test") < out.index("epoch 2: test") < out.index(ALARM)
    assert out.count(ALARM) == 2


def test_a_resumed_run_goes_on_to_warn(folders, capsys):
    folder = folders()
    trainer(folder, {"beta": 784.0, "epochs": 1}).fit()
    assert len(alarms(capsys.readouterr())) == 1
    resumed(folder, {"beta": 784.0, "epochs": 2}).fit()
    assert len(alarms(capsys.readouterr())) == 1
