import json

import numpy as np
import pytest

from examples import hvae
from tinyvae import make_model
from tinyvae.laboratory import hierarchy


def three_layers(decoder_layer):
    """z_1 = z_2 + 2 noise, z_2 = 3 z_3 + noise, each (2,); x = z_1, (2,)."""
    model = make_model("hvae", "mlp", 2, "gaussian", hidden=(8,), shape=(2,), upper=(2, 2))
    for prior, slope, std in zip(model.priors, (1.0, 3.0), (2.0, 1.0), strict=True):
        through(prior.trunk.layers[0], prior.mu, slope)
        prior.logvar.weight.value *= 0
        prior.logvar.bias.value = np.full(2, 2 * np.log(std))
    through(model.decoder.layers[0], model.decoder.layers[decoder_layer], 1.0)
    return model


def through(first, second, slope):
    """Make second(ReLU(first(v))) = slope v, by v = max(v, 0) - max(-v, 0)."""
    for layer in (first, second):
        layer.weight.value *= 0
        layer.bias.value *= 0
    first.weight.value[:4] = [[1, 0], [-1, 0], [0, 1], [0, -1]]
    second.weight.value[:, :4] = [[slope, -slope, 0, 0], [0, 0, slope, -slope]]


def test_the_share_of_variance_in_a_linear_hierarchy(monkeypatch):
    monkeypatch.setattr(hierarchy, "GROUPS", 4000)
    shares = hierarchy.share_of_variance(three_layers(2), np.random.default_rng(0))
    assert shares == pytest.approx([1, 10 / 14, 9 / 14], abs=0.02)


def test_held_layers_stay():
    model, rng = three_layers(2), np.random.default_rng(0)
    assert hierarchy.redrawn(model, [], 3, 4, rng).shape == (3, 4, 2)
    same = hierarchy.redrawn(model, [0, 1, 2], 3, 4, rng)
    np.testing.assert_array_equal(same, np.broadcast_to(same[:, :1], same.shape))
    assert (same[0] != same[1]).all()
    top = hierarchy.redrawn(model, [1, 2], 200, 50, rng)
    assert top.std(axis=1).mean() == pytest.approx(2, rel=0.05)  # the noise of z_1 alone


def test_hvae(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(hierarchy, "GROUPS", 5)
    monkeypatch.setattr(hierarchy, "SAMPLES", 2)
    monkeypatch.setitem(hvae.SETTINGS, "hidden", (30,))
    assert hvae.main(["--dataset", "digits", "--epochs", "1", "--seeds", "2"]) == 0
    with open("runs/hvae/hvae.json") as file:
        found = json.load(file)
    assert found["dataset"] == "synthetic digits" and found["epochs"] == 1
    assert found["cases"].keys() == hvae.cases(1).keys()
    for name, rows in found["cases"].items():
        layers = int(name.split()[0])
        assert len(rows) == 2 and rows[0]["total"] != rows[1]["total"]
        for row in rows:
            assert {len(row[key]) for key in ("kl", "active_units", "share_of_variance")} == {
                layers
            }
            assert row["total"] == pytest.approx(row["reconstruction"] + sum(row["kl"]))
            assert row["nll"] < row["total"] and row["share_of_variance"][0] == 1
    out = capsys.readouterr().out
    assert (
        sum(line.startswith(tuple(found["cases"])) and "±" in line for line in out.splitlines())
        == 12
    )
    assert (tmp_path / "runs/hvae/hvae.png").stat().st_size > 3000
