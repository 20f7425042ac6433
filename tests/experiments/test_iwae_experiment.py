import json

import pytest

from examples import iwae
from tinyvae.laboratory import one_layer


def test_nll_and_active_units_by_k(capsys, monkeypatch, tmp_path):
    few = {"samples": 20, "few": 4, "every": 5}
    monkeypatch.setattr(one_layer, "SAMPLES", few)
    monkeypatch.setattr(iwae, "SAMPLES", few)
    words = ["--dataset", "digits", "--epochs", "2", "--models", "vae-1", "iwae-5"]
    assert iwae.main([*words, "--seeds", "1", "--out", "here"]) == 0  # a part of the work
    assert iwae.main([*words, "--out", "here"]) == 0
    with open("here/iwae.json") as file:
        numbers = json.load(file)
    assert numbers["dataset"] == "synthetic digits" and numbers["samples"] == 20
    rows = [(row["model"], row["k"], row["seed"]) for row in numbers["models"]]
    assert rows == [("vae", 1, 0), ("vae", 1, 1), ("iwae", 5, 0), ("iwae", 5, 1)]
    for name, mean in numbers["means"].items():
        own = [row["nll"] for row in numbers["models"] if f"{row['model']}-{row['k']}" == name]
        assert mean["nll"] == pytest.approx(sum(own) / 2)
        assert mean["half_range"] == pytest.approx(abs(own[0] - own[1]) / 2)
    table = capsys.readouterr().out
    assert "iwae   5" in table and "iwae-5  seed 1: NLL" in table
    assert (tmp_path / "here/iwae.png").stat().st_size > 3000


def test_models_of_other_names_are_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        iwae.main(["--models", "vae-7"])
    assert stop.value.code == 2 and "invalid choice: 'vae-7'" in capsys.readouterr().err
