import sys

import numpy as np
import pytest

from tinyvae import make_model
from tinyvae.errors import UserError
from tinyvae.laboratory.experiment import experiment_parser, run_experiment
from tinyvae.training.command_line import INTERRUPTED
from tinyvae.training.trainer import train


def run(experiment, *argv):
    parser = experiment_parser("An experiment.", "some-name")
    parser.add_argument("--seeds", type=int, default=3)
    return run_experiment("examples/some_name.py", parser, experiment, [*argv])


def test_an_experiment_gets_its_arguments_its_data_and_its_folder():
    seen = []

    def experiment(arguments, data, xp):
        seen.extend([arguments.seeds, str(arguments.out), len(data.x_train), xp])
        assert arguments.out.is_dir()

    assert run(experiment, "--dataset", "digits", "--train-size", "50", "--out", "here/it/is") == 0
    assert seen == [3, "here/it/is", 50, np]
    seen.clear()
    assert run(experiment, "--dataset", "digits", "--seeds", "7") == 0
    assert seen == [7, "runs/some-name", 400, np]


@pytest.mark.parametrize(
    "argv, sentence",
    [
        (["--dataset", "cifar"], "got 'cifar', and there is no such file"),
        (["--dataset", "digits", "--data-dir", "x"], "--data-dir is for MNIST"),
        (["--dataset", "mnist", "--data-dir", "nowhere"], "nowhere"),
        (["--dataset", "digits", "--train-size", "0"], "training size from 1"),
        (
            ["--dataset", "digits", "--train-size", "9"],
            "need at least 50 train images, of two digits",
        ),
        (["--dataset", "digits", "--out", "file"], "cannot use the file or folder file"),
        (["--backend", "cupy"], "backend cupy: "),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(capsys, monkeypatch, argv, sentence):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with open("file", "w"):
        pass
    try:
        code = run(lambda *_: pytest.fail("must not start"), *argv)
    except SystemExit as stop:
        code = stop.code
    error = capsys.readouterr().err
    assert code == 2 and sentence in error and error.count("\n") == 1


def test_an_error_inside_is_told_too(capsys):
    def experiment(*_):
        raise UserError("three words only")

    assert run(experiment, "--dataset", "digits") == 2
    assert capsys.readouterr().err == "some_name.py: three words only\n"


def test_a_model_trains_in_the_folder_of_the_experiment(capsys):
    def experiment(arguments, data, xp):
        model = make_model(network="mlp", latent_dim=2).to(xp)
        history = train(model, data, 2, folder=arguments.out / "a" / "b")
        assert len(history) == 2
        assert (arguments.out / "a" / "b" / "history.csv").exists()

    assert run(experiment, "--dataset", "digits") == 0


def test_an_interrupted_training_ends_the_experiment(monkeypatch, capsys):
    monkeypatch.setattr("tinyvae.training.trainer.Trainer.fit", lambda trainer: None)

    def experiment(arguments, data, xp):
        train(make_model(network="mlp", latent_dim=2), data, 2)

    assert run(experiment, "--dataset", "digits") == INTERRUPTED
    assert "interrupted after 0 of 2 epochs" in capsys.readouterr().err
