"""Short training runs on a toy data set: to start, stop, resume and compare."""

import signal
from pathlib import Path

import numpy as np
import pytest
from toys import toy_data

from tinyvae import make_model
from tinyvae.models.registry import all_options
from tinyvae.training.checkpoint import load_checkpoint
from tinyvae.training.config import Config
from tinyvae.training.trainer import Trainer

MODEL_SETTINGS = {"model", "network", "latent_dim", "likelihood", "hidden", *all_options()}
DATA = toy_data(50, 30)  # with batches of 16: three whole ones and a ragged one of 2
STEPS = 4  # an epoch
SMALL = {"network": "mlp", "latent_dim": 3, "epochs": 3, "batch_size": 16}
EVERYTHING = {"binarize": "dynamic", "samples": 2, "kl_anneal": 1.5, "free_bits": 0.05, "beta": 2.0}
RUNS = {
    "plain": {},
    "everything": EVERYTHING,
    "sgd": {"optimizer": "sgd", "lr": 1e-4, "likelihood": "gaussian"},
    "autoencoder": {"model": "ae"},
    "threads": EVERYTHING | {"network": "conv", "samples": 3, "threads": 3},  # and two parts
}
each_run = pytest.mark.parametrize("settings", RUNS.values(), ids=RUNS)


def trainer(folder, settings=None, xp=np, data=DATA):
    """settings: of make_model and of Config; the seed is the seed of both."""
    settings = SMALL | (settings or {})
    of_model = {name: settings.pop(name) for name in MODEL_SETTINGS & settings.keys()}
    config = Config(**settings)
    model = make_model(**of_model, shape=data.shape, seed=config.seed).to(xp)
    return Trainer(model, data, config, folder)


def resumed(folder, settings=None, xp=np, data=DATA):
    again = trainer(folder, settings, xp, data)
    again.restore(*load_checkpoint(folder / "checkpoint.npz"))
    return again


def after_step(run, step, action):
    """Have run call action() right after it has taken this step (from 1)."""
    do = run.steps.do

    def acting(i):
        loss = do(i)
        if run.step == step:
            action()
        return loss

    run.steps.do = acting
    return run


def interrupt():
    signal.raise_signal(signal.SIGINT)


def without_seconds(history):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


def result(folder):
    """All that a run leaves in its checkpoint but the clock."""
    arrays, about = load_checkpoint(Path(folder) / "checkpoint.npz")
    about["history"] = without_seconds(about["history"])
    del about["seconds"]
    return {name: array.tobytes() for name, array in arrays.items()}, about


def assert_same_run(folder, other):
    arrays, about = result(folder)
    other_arrays, other_about = result(other)
    assert about == other_about
    assert arrays.keys() == other_arrays.keys()
    assert [name for name in arrays if arrays[name] != other_arrays[name]] == []
