import json

import numpy as np
import pytest
from toys import toy_data

from examples import beta_sweep
from tinyvae.laboratory.disentanglement import mig


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(beta_sweep, "BETAS", [0.1, 30.0])
    monkeypatch.setattr(beta_sweep, "SCORED", 300)


def sweep(*argv):
    assert beta_sweep.main([*argv, "--out", "here"]) == 0
    with open("here/beta_sweep.json") as file:
        return json.load(file)


def test_a_larger_beta_buys_rate_with_distortion(tmp_path, capsys):
    found = sweep("--dataset", "digits", "--epochs", "8", "--seeds", "2")
    assert found["dataset"] == "synthetic digits" and found["train_images"] == 400
    assert [(row["beta"], row["seed"]) for row in found["rows"]] == [
        (beta, seed) for beta in (0.1, 30.0) for seed in (0, 1)
    ]
    small, large = found["rows"][:2], found["rows"][2:]
    for row, other in zip(small, large, strict=True):
        assert row["kl"] > 10 * other["kl"]
        assert row["reconstruction"] < other["reconstruction"]
        assert row["active_units"] > other["active_units"]
        assert row["R² of all"] > other["R² of all"]
    assert small[0]["kl"] != small[1]["kl"]
    table = capsys.readouterr().out.splitlines()[-2:]
    for line, beta, rows in zip(table, (0.1, 30.0), (small, large), strict=True):
        kl = [row["kl"] for row in rows]
        assert line.split()[0] == str(beta)
        assert f" {np.mean(kl):.3f} ± {np.std(kl, ddof=1):.3f} " in line
    assert (tmp_path / "here/beta_sweep.png").stat().st_size > 3000


def test_scores_are_of_sampled_codes_and_known_factors(monkeypatch):
    """The digits are of another seed than any that is trained on; MIG stands for all three."""
    seen = []

    def noted(codes, factors):
        seen.append((codes, factors))
        return mig(codes, factors)

    monkeypatch.setitem(beta_sweep.SCORES, "MIG", noted)
    (row, _) = sweep("--dataset", "digits", "--epochs", "1", "--seeds", "1")["rows"]
    codes, factors = seen[0]
    assert codes.shape == (300, 20)
    assert factors.keys() == {"label", *beta_sweep.FACTORS} == row["of_factors"]["MIG"].keys()
    assert row["MIG"] == pytest.approx(np.mean(list(row["of_factors"]["MIG"].values())))
    assert row["of_factors"]["R² of all"].keys() == set(beta_sweep.FACTORS)
    spread = codes.var(axis=0)
    assert (spread > row["variance_per_dimension"]).all()  # those are the means' alone


def test_mnist_has_no_factors_to_score(monkeypatch, tmp_path):
    data = toy_data(60, 50)
    monkeypatch.setattr("tinyvae.laboratory.experiment.load_data", lambda *_: data)
    found = sweep("--epochs", "1", "--seeds", "1")
    assert found["dataset"] == "toy squares"
    assert all("MIG" not in row for row in found["rows"])
    assert (tmp_path / "here/beta_sweep.png").exists()
    assert found["rows"][0]["total"] > 0
