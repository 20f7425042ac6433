import json
from functools import partial

import numpy as np
import pytest
import reference

from examples import verify
from tinyvae import Bernoulli, make_model
from tinyvae.training.config import Config
from tinyvae.training.trainer import train

SEEDS, EPOCHS = range(3), 4


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """The reference curves of a small model on few digits."""
    monkeypatch.setattr(reference, "FILE", tmp_path / "reference.json")
    monkeypatch.setattr(reference, "SEEDS", SEEDS)
    monkeypatch.setattr(verify, "REFERENCE", tmp_path / "reference.json")
    for module in (reference, verify):
        monkeypatch.setattr(module, "make_model", partial(make_model, network="mlp", latent_dim=3))
    monkeypatch.setattr(reference, "train", partial(train, epochs=EPOCHS))
    assert reference.main(["--dataset", "digits"]) == 0
    return json.loads((tmp_path / "reference.json").read_text())["synthetic digits"]


def test_a_run_as_it_should_be(measured, capsys):
    assert verify.main(["--dataset", "digits", "--epochs", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:9] for line in lines if " (" in line and "±" in line] == [
        "epoch  1:",
        "epoch  2:",
        "epoch  3:",
    ]
    assert lines[-1] == "it learns as it should"


def test_a_bug_is_seen(measured, capsys, monkeypatch):
    """A gradient averaged over the pixels, with a KL that is summed: nothing is learned."""
    backward = Bernoulli.backward
    monkeypatch.setattr(Bernoulli, "backward", lambda *arguments: backward(*arguments) / 784)
    assert verify.main(["--dataset", "digits", "--epochs", str(EPOCHS)]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("wrong: ") and f"loss in epoch {EPOCHS}" in last


def test_what_is_measured_is_kept(measured, monkeypatch):
    assert measured.keys() == {str(seed) for seed in SEEDS}
    monkeypatch.setattr(reference, "train", lambda *_: pytest.fail("was measured already"))
    assert reference.main(["--dataset", "digits"]) == 0


def test_the_tolerance_is_six_deviations_of_the_epochs_around():
    runs = {"0": {"test_kl": [0.0, 10.0, 20.0, 30.0]}, "1": {"test_kl": [0.0, 12.0, 20.0, 30.0]}}
    mean, tolerance = verify.expected(runs, "test_kl")
    np.testing.assert_allclose(mean, [0, 11, 20, 30])
    # a variance of 2 in the second epoch: among two epochs, three, three; not in the last two
    np.testing.assert_allclose(tolerance[:3], 6 * np.sqrt([2 / 2, 2 / 3, 2 / 3]))
    assert tolerance[3] == 0.2  # the least


def test_the_committed_curves_are_whole():
    curves = json.loads(verify.REFERENCE.read_text("utf-8"))
    assert curves.keys() == {"MNIST", "synthetic digits"}
    for own in curves.values():
        assert own.keys() == set("01234")
        for run in own.values():
            assert {len(run[column]) for column in verify.NAMES} == {Config.epochs}


@pytest.mark.parametrize(
    "argv, sentence",
    [
        (["--epochs", "5"], "the reference has epochs 1 to 4 of all images"),
        (["--train-size", "60"], "the reference has epochs 1 to 4 of all images"),
    ],
)
def test_what_was_not_measured_cannot_be_verified(measured, capsys, argv, sentence):
    capsys.readouterr()
    assert verify.main(["--dataset", "digits", *argv]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
