import json

import pytest

from examples import explore_latent
from tinyvae.laboratory import attributes, outliers


def test_pictures_and_numbers(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(attributes, "DIGITS", 200)
    monkeypatch.setattr(outliers, "COUNT", 50)
    monkeypatch.setattr(explore_latent, "REPAIRED", 10)
    monkeypatch.setattr(explore_latent, "EDITED", 20)
    monkeypatch.setattr(explore_latent, "GRID", 4)
    assert explore_latent.main(["--dataset", "digits", "--epochs", "2", "--out", "out"]) == 0
    for name in ("scatter", "traversal", "samples", "interpolation", "explore_latent"):
        assert (tmp_path / "out" / f"{name}.png").stat().st_size > 1000
    results = json.loads((tmp_path / "out" / "explore_latent.json").read_text())
    printed = capsys.readouterr().out
    assert results["dataset"] == "synthetic digits" and "thickness" in printed

    errors = results["squared error per pixel"]
    assert errors["noise"]["damaged"] == pytest.approx(0.25, rel=0.1)  # the noise's variance
    for damage in errors.values():
        assert damage["projected"] < damage["reconstructed"] < 1
    auc = results["AUC"]
    assert auc["all black"]["negative ELBO"] < 0.4  # the likelihood is deceived by what is simple
    for score in ("negative ELBO", "reconstruction error"):
        assert auc["black and white exchanged"][score] == 1
        assert abs(auc["synthetic digits"][score] - 0.5) < 0.2  # here they are no strangers
