import json

import numpy as np
import pytest

from examples import compare_ae_vae
from tinyvae.laboratory import comparison


@pytest.fixture
def results(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(comparison, "COUNT", 30)
    monkeypatch.setattr(comparison, "PATHS", 4)
    arguments = ["--dataset", "digits", "--epochs", "1", "--seeds", "2", "--train-size", "200"]
    assert compare_ae_vae.main([*arguments, "--out", "out"]) == 0
    results = json.loads((tmp_path / "out" / "compare_ae_vae.json").read_text())
    printed = capsys.readouterr().out
    assert all(row in printed for row in results["rows"])
    assert (tmp_path / "out" / "compare_ae_vae.png").stat().st_size > 1000
    return results


def test_every_row_for_both_models_and_all_seeds(results):
    assert results["dataset"] == "synthetic digits" and results["epochs"] == 1
    rows = results["rows"]
    assert len(rows) == 3 + 5 * 3 + 5
    for row, values in rows.items():
        assert values.keys() == {"ae", "vae"}, row
        assert np.isfinite([values["ae"], values["vae"]]).all() and len(values["ae"]) == 2
        assert len({*values["ae"], *values["vae"]}) > 1, row
    # an autoencoder's codes have nothing around them to draw from, a VAE's have
    at, drawn = rows["cross-entropy at the code"], rows["cross-entropy, z drawn"]
    assert at["ae"] == drawn["ae"] and at["vae"] != drawn["vae"]
    assert all(1 <= n <= 10 for n in rows["N(0, I): digits"]["vae"])
    # what real images and true draws of the prior get is on the good side of what models get
    real = results["references"]
    assert real["real test images: digits"] > 9
    assert real["draws of N(0, I) to N(0, I)"] < min(rows["codes to N(0, I)"]["ae"])


def test_beyond_is_beyond():
    codes = np.random.default_rng(0).standard_normal((500, 2)) + [3, -1]
    places = comparison.codes_to_decode(codes, np.random.default_rng(1))
    assert {z.shape for z in places.values()} == {(comparison.COUNT, 2)}
    centre = codes.mean(axis=0)
    out, there = (np.linalg.norm(places[p] - centre, axis=1) for p in ("beyond", "test codes"))
    np.testing.assert_allclose(out, 2 * there)
    np.testing.assert_allclose(places["N fitted to codes"].mean(axis=0), centre, atol=0.2)
