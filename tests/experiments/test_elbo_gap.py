import json
from functools import partial

import numpy as np
import pytest

from examples import elbo_gap
from tinyvae import make_model
from tinyvae.laboratory import quadrature

TOLERANCE = 0.003


@pytest.fixture(autouse=True)
def small_and_rough(monkeypatch):
    monkeypatch.setattr(elbo_gap, "make_model", partial(make_model, network="mlp"))
    monkeypatch.setattr(elbo_gap, "SAMPLES", (1, 20, 400))
    monkeypatch.setattr(elbo_gap, "PANELS", 2)
    monkeypatch.setattr(quadrature, "SIDE", 0.25)
    monkeypatch.setattr(quadrature, "TOLERANCE", TOLERANCE)


def test_the_gap_is_a_divergence_and_the_bounds_close_it(capsys):
    argv = ["--dataset", "digits", "--epochs", "10", "--images", "2", "--out", "here"]
    assert elbo_gap.main(argv) == 0
    with open("here/elbo_gap.json") as file:
        found = json.load(file)
    assert found["dataset"] == "synthetic digits" and found["images"] == 2
    each = {name: np.array(values) for name, values in found["each"].items()}
    for q in ("", "_best"):
        residual = each["log_p"] - each[f"elbo{q}"] - each[f"kl{q}"]
        np.testing.assert_allclose(residual, 0, atol=2 * TOLERANCE)
        np.testing.assert_allclose(residual, each[f"residual{q}"])
        assert (each[f"kl{q}"] > 5 * TOLERANCE).all()
    gap = each["log_p"] - each["elbo"]
    np.testing.assert_allclose(each["approximation_gap"] + each["amortization_gap"], gap)
    assert (each["amortization_gap"] > 0.1).all()
    bounds = [found["summary"][f"bound_{samples}"]["mean"] for samples in (1, 20, 400)]
    assert (np.diff(bounds) > 0).all()
    assert bounds[0] == pytest.approx(each["elbo"].mean(), abs=1)
    log_p = each["log_p"].mean()
    assert abs(log_p - bounds[-1]) < 0.5 * (log_p - bounds[0])
    assert found["summary"]["log_p"]["mean"] == pytest.approx(log_p)
    table = {
        line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()[-13:]
    }
    assert float(table["log_p"][0]) == pytest.approx(log_p, abs=1e-2)
    with open("here/elbo_gap.png", "rb") as file:
        assert len(file.read()) > 10_000


@pytest.mark.parametrize("images", ["1", "101"])
def test_a_wrong_number_of_images_is_told_in_a_sentence(images, capsys):
    assert elbo_gap.main(["--dataset", "digits", "--images", images]) == 2
    error = capsys.readouterr().err
    assert f"--images must be 2 to 100, got {images}" in error and error.count("\n") == 1
