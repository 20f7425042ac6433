"""A trained model comes back from the folder of its run."""

import numpy as np
import pytest
from short_runs import trainer
from toys import toy_data

from tinyvae import UserError, make_model
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


def test_another_models_weights_are_refused(tmp_path):
    run = trainer(tmp_path, {"epochs": 1})
    run.model.settings["latent_dim"] += 1
    run.fit()
    with pytest.raises(UserError, match="does not fit"):
        load_model(tmp_path)
