import json

import pytest

from examples import gradient_estimators


def test_bias_spread_and_signal_to_noise(capsys, monkeypatch):
    monkeypatch.setattr(gradient_estimators, "SAMPLES", [1, 4, 16, 64])
    monkeypatch.setattr(gradient_estimators, "DRAWS", 2000)
    assert gradient_estimators.main(["--dataset", "digits", "--out", "here"]) == 0
    with open("here/gradient_estimators.json") as file:
        numbers = json.load(file)
    with open("here/gradient_estimators.png", "rb") as file:
        assert file.read(4) == b"\x89PNG"
    assert numbers["dataset"] == "synthetic digits" and numbers["draws"] == 2000

    table = capsys.readouterr().out
    for name, one in numbers["estimators"].items():
        assert f"\n{name} " in table
        biased = [row["bias"] > 4 * row["error"] for row in one["rows"]]
        samples = [row["samples"] for row in one["rows"]]
        assert samples == ([4, 16, 64] if name == "leave-one-out" else [1, 4, 16, 64])
        if name == "sticking the landing":
            assert biased == [False, True, True, True]
            assert one["rows"][-1]["exact_bias"] > one["rows"][-1]["gradient"]
        else:
            assert not any(biased)
    slopes = {name: one["slope"] for name, one in numbers["estimators"].items()}
    assert slopes["score function"] == pytest.approx(-1.5, abs=0.2)
    assert slopes["leave-one-out"] == pytest.approx(-0.5, abs=0.2)
    assert slopes["reparameterized"] == pytest.approx(-0.5, abs=0.2)
    assert slopes["doubly reparameterized"] > 0.1
    silent = [name for name, one in numbers["estimators"].items() if one["spread_exact_q"] < 1e-12]
    assert silent == ["sticking the landing", "doubly reparameterized"]
