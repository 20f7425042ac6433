"""A trained model comes back from the folder of its run."""

import json

import numpy as np
import pytest
from short_runs import trainer
from toys import toy_data

from tinyvae import Gaussian, ReLU, Tanh, UserError, make_model
from tinyvae.training.config import Config
from tinyvae.training.state import load_model
from tinyvae.training.trainer import Trainer


@pytest.mark.parametrize("settings", [{}, {"model": "ae"}, {"likelihood": "gaussian"}])
def test_a_loaded_model_computes_what_the_trained_model_computes(tmp_path, settings):
    run = trainer(tmp_path, {"epochs": 1} | settings)
    run.fit()
    loaded, x = load_model(tmp_path), np.random.default_rng(0).random((3, 1, 28, 28), np.float32)
    assert loaded.settings == run.model.settings
    np.testing.assert_array_equal(loaded.reconstruct(x), run.model.reconstruct(x))


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(UserError, match="there is no checkpoint"):
        load_model(tmp_path)


def test_a_model_that_make_model_did_not_build_is_refused(tmp_path):
    model = make_model(network="mlp", latent_dim=2)
    model.settings = None
    Trainer(model, toy_data(20, 10), Config(epochs=1), tmp_path).fit()
    with pytest.raises(UserError, match="not built by make_model"):
        load_model(tmp_path)


def other_activation(model):
    model.decoder.layers = tuple(
        Tanh() if isinstance(layer, ReLU) else layer for layer in model.decoder.layers
    )


def other_likelihood(model):
    model.likelihood = Gaussian(0.1)


def other_class(model):
    model.__class__ = type("MyVAE", (type(model),), {})


def other_objective(model):
    model.noise_dim = model.latent_dim = 2
    model.term_names = ("kl", "reconstruction")


CHANGES = other_activation, other_likelihood, other_class, other_objective


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("late", [False, True], ids=["before training", "after an epoch"])
def test_a_model_that_was_changed_after_make_model_is_refused(tmp_path, change, late):
    """make_model would build it as it was, and its weights would fit."""
    model = make_model(network="mlp", latent_dim=2, hidden=(8,))
    if not late:
        change(model)
    run = Trainer(model, toy_data(20, 10), Config(epochs=1), tmp_path)
    run.fit()
    if late:
        change(model)
        run.save()
    with pytest.raises(UserError, match="not built by make_model, or was changed afterwards"):
        load_model(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model"] is None


def test_a_model_in_float64_comes_back_in_float64(tmp_path):
    model = make_model(network="mlp", latent_dim=2, hidden=(8,)).to(dtype=np.float64)
    Trainer(model, toy_data(20, 10), Config(epochs=1), tmp_path).fit()
    loaded = load_model(tmp_path)
    assert loaded.theta.dtype == np.float64
    np.testing.assert_array_equal(loaded.theta, model.theta)


def test_another_models_weights_are_refused(tmp_path):
    run = trainer(tmp_path, {"epochs": 1})
    run.model.settings["latent_dim"] += 1
    run.fit()
    with pytest.raises(UserError, match="does not fit"):
        load_model(tmp_path)
