import json
from pathlib import Path

import numpy as np
import pytest

from examples import variants
from tinyvae import make_model
from tinyvae.data import to_float
from tinyvae.data.load import load_dataset
from tinyvae.training.evaluation import evaluate


def test_all_models_on_a_few_digits(monkeypatch, capsys):
    monkeypatch.setattr(variants, "IMAGES", 20)
    monkeypatch.setattr(variants, "SAMPLES", 3)
    monkeypatch.setattr(variants, "PRIOR", {"epochs": 1})
    words = "--dataset digits --train-size 100 --epochs 1 --out here"
    assert variants.main(words.split()) == 0
    results = json.loads(Path("here/variants.json").read_text())
    assert results["models"].keys() == variants.MODELS.keys()
    for name, row in results["models"].items():
        assert row["parameters"] > 0 and row["seconds"] > 0 and np.isfinite(row["units"])
        assert ("bound" in row) == (name != "AE")
        if {"nll", "rate"} <= row.keys():
            assert row["bound"] == pytest.approx(row["reconstruction"] + row["rate"], rel=1e-6)
    vq = results["models"]["VQ-VAE, 7x7 codes"]
    assert vq["bound"] == vq["reconstruction"] + vq["rate"] > vq["rate"] > 0
    out = capsys.readouterr().out
    assert all(name in out for name in variants.MODELS)
    assert Path("here/variants.png").read_bytes().startswith(b"\x89PNG")


def test_the_numbers_are_those_of_evaluation():
    data, model = load_dataset("digits").head(50), make_model("cvae", "mlp", 3)
    x = to_float(data.x_test)
    row, test = variants.measure(model, x, data.y_test), evaluate(model, x, data.y_test)
    assert (row["bound"], row["rate"], row["mse"]) == (test["total"], test["kl"], test["mse"])
    assert row["nll"] < row["bound"]
