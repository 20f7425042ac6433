import sys

import numpy as np
import pytest
from toys import toy_data

from tinyvae import make_model
from tinyvae.errors import UserError
from tinyvae.laboratory.experiment import experiment_parser, run_experiment, train, train_vae
from tinyvae.training.command_line import INTERRUPTED
from tinyvae.training.config import Config

TINY = Config(network="mlp", latent_dim=2, epochs=2)


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
        (["--dataset", "cifar"], "invalid choice: 'cifar'"),
        (["--dataset", "digits", "--data-dir", "x"], "--data-dir is for MNIST"),
        (["--dataset", "mnist", "--data-dir", "nowhere"], "nowhere"),
        (["--dataset", "digits", "--train-size", "0"], "training size from 1"),
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


def test_train_returns_what_has_trained_to_the_end(tmp_path, capsys):
    def experiment(arguments, data, xp):
        trainer = train(TINY, data, arguments.out / "a" / "b", xp)
        assert trainer.finished and len(trainer.history) == 2
        assert (arguments.out / "a" / "b" / "history.csv").exists()

    assert run(experiment, "--dataset", "digits") == 0


def test_an_interrupted_training_ends_the_experiment(monkeypatch, capsys):
    monkeypatch.setattr("tinyvae.training.trainer.Trainer.fit", lambda trainer: None)
    assert run(lambda arguments, data, xp: train(TINY, data, arguments.out), "--dataset", "digits")
    assert run(lambda arguments, data, xp: train(TINY, data, arguments.out)) == INTERRUPTED
    assert "interrupted while training in runs/some-name" in capsys.readouterr().err


@pytest.mark.parametrize("settings", [{}, {"kl_anneal": 1.5, "free_bits": 0.05, "beta": 2.0}])
def test_train_vae_takes_the_steps_of_a_trainer(settings, tmp_path, capsys):
    """Bit for bit, with a weight of the KL that changes; and it stops after every epoch."""
    config = Config(network="mlp", latent_dim=3, epochs=2, batch_size=16, seed=4, **settings)
    data = toy_data(50, 30)
    trainer = train(config, data, tmp_path)
    model = make_model("vae", "mlp", 3, seed=4)
    steps = train_vae(model, data.x_train, 2, trainer.beta_at, config.free_bits, 16, seed=4)
    assert next(steps) == 1
    assert (model.theta != trainer.model.theta).any()
    assert list(steps) == [2]
    np.testing.assert_array_equal(model.theta, trainer.model.theta)
