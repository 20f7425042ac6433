import json

import numpy as np
import pytest

from examples import exact_answers


def test_training_finds_the_closed_form(capsys, monkeypatch):
    monkeypatch.setattr("tinyvae.laboratory.linear_gaussian.BATCH", 50)
    monkeypatch.setattr(exact_answers, "STEPS", 1000)
    assert exact_answers.main(["--dataset", "digits", "--out", "here"]) == 0
    with open("here/exact_answers.json") as file:
        numbers = json.load(file)
    with open("here/exact_answers.png", "rb") as file:
        assert file.read(4) == b"\x89PNG"
    assert numbers["dataset"] == "synthetic digits" and numbers["images"] == 400

    end = numbers["training"][-1]
    assert end["step"] == 1000 and len(numbers["training"]) == 25
    assert all(row["missing"] > 0 and row["gap"] > 0 for row in numbers["training"])
    assert end["missing"] + end["gap"] < 0.5 < numbers["training"][0]["missing"]
    assert numbers["gap_error"] < 1e-10
    eigenvalues, runs = np.array(numbers["eigenvalues"]), numbers["runs"]
    assert end["s2"] == pytest.approx(runs[0]["s2"], rel=0.05)
    for collapsed, run in zip((0, 0, 1, 2, 3), runs, strict=True):
        assert (eigenvalues[:3] < run["s2"]).sum() == collapsed
        formula, trained = np.array(run["formula"]), np.array(run["trained"])
        assert (formula == 0).sum() == collapsed
        np.testing.assert_allclose(trained, formula, atol=0.15)
        assert 0 < run["missing"] < 0.2
        assert (trained[3 - collapsed :] < 0.01).all()
    printed = capsys.readouterr().out
    assert f"{numbers['log_likelihood']:.6f}" in printed
    assert f"{end['missing']:.6f} below it" in printed


def test_too_few_images_are_a_mistake(capsys, monkeypatch):
    monkeypatch.setattr("tinyvae.laboratory.experiment.LEAST", 4)
    assert exact_answers.main(["--dataset", "digits", "--train-size", "4"]) == 2
    error = capsys.readouterr().err
    assert "vary in no more than 3 directions" in error and error.count("\n") == 1
