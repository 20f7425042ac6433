"""train(model, data): a whole training in one call, for a notebook."""

from pathlib import Path

import numpy as np
import pytest
from short_runs import after_step, interrupt, trainer, without_seconds
from toys import toy_data

from tinyvae import UserError, make_model
from tinyvae.data import Dataset
from tinyvae.training import trainer as trainer_module
from tinyvae.training.trainer import Trainer, train

DATA = toy_data(50, 30)


def small(shape=(1, 28, 28), **settings):
    return make_model(**{"network": "mlp", "latent_dim": 3, "hidden": (8,)} | settings, shape=shape)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_it_returns_the_history_of_a_trainer():
    settings = {"batch_size": 16, "lr": 0.01, "beta": 2.0, "seed": 3}
    history = train(small(), DATA, epochs=2, **settings)
    run = trainer(None, settings | {"hidden": (8,), "epochs": 2, "seed": 3}, data=DATA)
    run.model.load_state_dict(small().state_dict())  # weights of seed 0
    run.fit()
    assert without_seconds(history) == without_seconds(run.history)
    assert [row["epoch"] for row in history] == [1, 2]
    assert history[1]["train_total"] < history[0]["train_total"]
    assert list(Path.cwd().iterdir()) == []  # without a folder nothing is written


def test_the_model_has_learned():
    model = small()
    before = model.theta.copy()
    train(model, DATA, epochs=1)
    assert (model.theta != before).mean() > 0.5


def test_a_folder_keeps_the_run():
    history = train(small(), DATA, epochs=1, folder="here/and/there")
    names = {path.name for path in Path("here/and/there").iterdir()}
    assert names == {"checkpoint.npz", "config.json", "history.csv"}
    assert f"{history[0]['test_total']}" in Path("here/and/there/history.csv").read_text()


def test_progress_is_shown(capsys):
    train(small(), DATA, epochs=2)
    out, err = capsys.readouterr()
    assert "epoch 1: test" in out and "epoch 2: test" in out and "epoch 2/2" in err


ARRAYS = {
    "bytes": np.random.default_rng(0).integers(0, 256, (30, 9, 13), dtype=np.uint8),
    "floats": np.random.default_rng(0).random((30, 9, 13)),
    "colour": np.random.default_rng(0).random((30, 9, 13, 3), dtype=np.float32),
    "table": np.random.default_rng(0).random((30, 5)),
    "list": np.random.default_rng(0).random((30, 5)).tolist(),
}


@pytest.mark.parametrize("x", ARRAYS.values(), ids=ARRAYS)
def test_a_bare_array_is_split(x, capsys):
    """It is the training of the Dataset that from_arrays makes, and its split is told."""
    data = Dataset.from_arrays(x)
    assert (len(data.x_train), len(data.x_test)) == (24, 6)
    history = train(small(data.shape), x, epochs=2, batch_size=10)
    assert "6 of its 30 examples" in capsys.readouterr().err
    expected = train(small(data.shape), data, epochs=2, batch_size=10)
    assert without_seconds(history) == without_seconds(expected)
    assert history[0]["dataset"] == "arrays"


@pytest.mark.parametrize("stop, done", [(1, 0), (5, 1)])
def test_ctrl_c_raises_after_saving(stop, done, monkeypatch):
    """Whoever calls train expects a trained model; the run in the folder can be resumed."""
    init = Trainer.__init__

    def stopping(self, *arguments):
        init(self, *arguments)
        after_step(self, stop, interrupt)

    monkeypatch.setattr(trainer_module.Trainer, "__init__", stopping)
    with pytest.raises(KeyboardInterrupt, match=f" after {done} of 3 epochs"):
        train(small(), DATA, epochs=3, batch_size=16, folder="run")
    assert Path("run/checkpoint.npz").exists()


WRONG = {
    "beta of an autoencoder": (
        lambda: train(small(model="ae"), DATA, beta=2.0),
        "--beta means nothing to the model Autoencoder, because its loss has no KL; leave it out",
    ),
    "no epochs": (lambda: train(small(), DATA, epochs=0), "--epochs must be at least 1, got 0"),
    "another shape": (
        lambda: train(small((1, 9, 13)), DATA),
        "the model takes examples of shape (1, 9, 13), but toy squares has examples of shape "
        "(1, 28, 28); make the model with shape=(1, 28, 28)",
    ),
    "values beyond [0, 1]": (
        lambda: train(small((5,)), 3 * np.ones((30, 5))),
        "expected values from 0 to 1 in x_train of arrays, found 3 to 3; rescale them or choose "
        "the gaussian likelihood",
    ),
    "nan": (
        lambda: train(small((5,)), np.full((30, 5), np.nan)),
        "expected finite values that float32 can hold in x_train of arrays, found nan at "
        "x_train[0, 0]; fill in or leave out such examples",
    ),
}


@pytest.mark.parametrize("call, sentence", WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_refused_before_training(call, sentence):
    with pytest.raises(UserError) as error:
        call()
    assert str(error.value) == sentence


def test_a_setting_of_the_model_is_no_setting_of_training():
    with pytest.raises(TypeError, match="latent_dim"):
        train(small(), DATA, latent_dim=3)
