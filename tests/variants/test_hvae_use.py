"""What people see of the hierarchical VAE: numbers of each layer, codes, options, refusals."""

import json
import re

import numpy as np
import pytest
from short_runs import DATA, trainer

from tinyvae import UserError, make_model
from tinyvae.models.ladder import Ladder
from tinyvae.training.evaluation import evaluate
from tinyvae.training.report import loss_lines, write_metrics

each_inference = pytest.mark.parametrize("inference", ["bottom-up", "ladder"])


def model_and_inputs(inference):
    rng, options = np.random.default_rng(0), {"upper": (3, 2), "inference": inference}
    model = make_model("hvae", "mlp", 4, hidden=(7,), shape=(5,), **options)
    return model, rng.random((3, 5)), rng.standard_normal((2, 3, 9))


def test_numbers_of_each_layer():
    run = trainer(None, {"model": "hvae", "upper": (4, 2), "epochs": 1})
    run.fit()
    found = evaluate(run.model, DATA.x_test, seed=3)
    kl, variance = (np.array(found[f"{one}_per_dimension"]) for one in ("kl", "variance"))
    for i, part in enumerate((slice(0, 3), slice(3, 7), slice(7, 9)), 1):
        assert found[f"kl_{i}"] == pytest.approx(kl[part].sum())
        assert found[f"active_units_{i}"] == (variance[part] > 0.01).sum()
    assert sum(found[f"kl_{i}"] for i in (1, 2, 3)) == pytest.approx(found["kl"])
    assert {"train_kl_1", "test_kl_3"} <= run.history[0].keys()
    notes = {label: note for label, _, note in loss_lines(run, write_metrics(run))}
    assert re.fullmatch(r"layers, bottom first: \d+, \d+, \d+", notes["active units"])
    assert re.fullmatch(r"layers, bottom first: -?\d+\.\d\d, -?\d+\.\d\d, -?\d+\.\d\d", notes["KL"])
    assert notes["reconstruction"] == ""


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"upper": (10, 0)}, "--upper must be whole numbers of at least 1, got 10,0"),
        ({"upper": ()}, "--upper must be whole numbers of at least 1, got nothing"),
        (
            {"inference": "sideways"},
            "--inference must be one of bottom-up, ladder, got 'sideways'",
        ),
        (
            {"model": "vae", "upper": (3,)},
            "--upper is an option of --model hvae, not of vae; leave it out",
        ),
    ],
)
def test_refusals(options, sentence):
    with pytest.raises(UserError) as error:
        make_model(**{"model": "hvae"} | options)
    assert str(error.value) == sentence


@each_inference
def test_noise_of_another_shape_is_refused(inference):
    model, x, eps = model_and_inputs(inference)
    for wrong in (eps[0], eps[:0], eps[:, :2], eps[:, :, :4]):
        with pytest.raises(ValueError) as error:
            model.loss(x, wrong)
        assert str(error.value) == f"eps must be (samples >= 1, 3, 9), got {wrong.shape}"


@each_inference
def test_a_code_has_all_layers(inference):
    """The decoder takes z_1 alone, and would take a code that has only z_1."""
    model, _, _ = model_and_inputs(inference)
    for call in (model.decode, model.codes_from):
        with pytest.raises(ValueError, match=r"codes must be \(N, 9\), got \(2, 4\)"):
            call(np.zeros((2, 4), np.float32))


def test_a_call_between_loss_and_backward_is_refused():
    model, x, eps = model_and_inputs("ladder")
    for call in (lambda: model.embed(x), lambda: model.draw_codes(2, np.random.default_rng(0))):
        model.loss(x, eps)
        call()
        with pytest.raises(RuntimeError, match="call loss first"):
            model.backward()


def test_the_options_make_the_folder_and_the_checkpoint():
    settings = make_model("hvae", upper=(4, 2), inference="ladder").settings
    assert settings["upper"] == [4, 2] and settings["inference"] == "ladder"
    again = make_model(**json.loads(json.dumps(settings)))
    assert again.latent_layers == (20, 4, 2) and type(again.encoder) is Ladder
