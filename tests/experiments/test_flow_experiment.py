import json
from functools import partial

import numpy as np
import pytest

from examples import flow
from tinyvae.laboratory import flow_posterior, quadrature
from tinyvae.laboratory.flow_posterior import fit_flow


@pytest.fixture(autouse=True)
def small_and_rough(monkeypatch):
    monkeypatch.setattr(flow, "IMAGES", 20)
    monkeypatch.setattr(flow, "SAMPLES", 20)
    monkeypatch.setattr(flow, "SETTINGS", flow.SETTINGS | {"hidden": (20,)})
    monkeypatch.setattr(flow, "TRAINED", ("iaf",))
    monkeypatch.setattr(flow_posterior, "fit_flow", partial(fit_flow, steps=20))
    monkeypatch.setattr(flow_posterior, "STEP", 0.4)
    monkeypatch.setattr(flow_posterior, "TOLERANCE", 0.03)
    monkeypatch.setattr(quadrature, "SIDE", 0.4)


def test_flows_leave_a_smaller_gap(capsys):
    argv = ["--dataset", "digits", "--epochs", "3", "--images", "2", "--seeds", "1"]
    assert flow.main([*argv, "--out", "here"]) == 0
    with open("here/flow.json") as file:
        found = json.load(file)
    assert found["dataset"] == "synthetic digits" and found["epochs"] == 3
    assert list(found["kinds"]) == ["gaussian", "planar", "coupling", "iaf"]
    for rows in found["kinds"].values():
        (row,) = rows
        assert 0 < row["nll"] and 0 < row["kl"] < row["total"]
        assert row["parameters"] >= found["kinds"]["gaussian"][0]["parameters"]
    for numbers in found["gaps"].values():
        assert len(numbers["log_p"]) == 2
        log_p, elbo, best = (sum(numbers[k]) for k in ("log_p", "elbo", "elbo_gaussian"))
        assert elbo < best < log_p
        for name in ("", "_gaussian", "_coupling", "_iaf"):
            gap = np.subtract(numbers["log_p"], numbers[f"elbo{name}"])
            np.testing.assert_allclose(gap, numbers[f"kl{name}"], atol=0.1)
    printed = capsys.readouterr().out
    assert "best gaussian" in printed and "decoder trained with q = iaf" in printed
    with open("here/flow.png", "rb") as file:
        assert file.read(4) == b"\x89PNG"
