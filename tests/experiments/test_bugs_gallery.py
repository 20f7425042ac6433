import json
from pathlib import Path

import numpy as np
import pytest

from examples import bugs


@pytest.fixture
def found(capsys):
    assert bugs.main(["--dataset", "digits", "--epochs", "2"]) == 0
    output = Path("runs/bugs")
    assert (output / "bugs.png").stat().st_size > 10_000
    return json.loads((output / "bugs.json").read_text()), capsys.readouterr().out


def test_every_mistake_has_its_symptom(found):
    numbers, printed = found
    assert numbers["dataset"] == "synthetic digits" and numbers["train_images"] == 400
    said, true = ({name: numbers[name][key] for name in bugs.TRAINED} for key in ("said", "true"))
    assert said["right code"] == true["right code"]
    one, other = said["std for variance"], true["std for variance"]
    assert one["reconstruction"] != other["reconstruction"] and one["kl"] == other["kl"]
    assert said["mean over pixels"]["total"] < 1 < true["right code"]["kl"]
    assert true["mean over pixels"]["kl"] < 0.1 and true["mean over pixels"]["active_units"] == 0
    assert said["sigmoid twice"]["total"] > 500  # 784 log(2) = 543.4
    assert true["overwritten in the VAE"]["kl"] < 0.2 * true["right code"]["kl"]

    watched, right = numbers["evaluating the mean"], true["right code"]
    assert watched["true"] == right and watched["said"]["kl"] == right["kl"]
    assert watched["said"]["reconstruction"] != right["reconstruction"]
    assert numbers["forgotten sigmoid"]["said"]["mse"] > 2 * right["mse"]

    bounds = numbers["bounds"]
    excess = np.subtract(bounds["sum of the weights"], bounds["right"])
    np.testing.assert_allclose(excess, np.log(bounds["samples"]), rtol=1e-9, atol=1e-9)
    assert (np.diff(bounds["right"]) > 0).all()
    skip, relu = (numbers["curves"][name] for name in (bugs.SKIP, bugs.RELU))
    assert len(skip) == len(relu) == 2 and skip != relu
    assert f"{said['std for variance']['total']:.2f}" in printed


def test_a_mistake_of_the_user_is_one_sentence(capsys):
    with pytest.raises(SystemExit) as stop:
        bugs.main(["--dataset", "digits", "--epochs", "0"])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "epochs" in error and error.count("\n") == 1
