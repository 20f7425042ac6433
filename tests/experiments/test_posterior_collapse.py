import json

import numpy as np
import pytest

from examples import posterior_collapse

STRONG = "strong decoder"
ALARM = "WARNING: posterior collapse"


@pytest.fixture
def watched(monkeypatch, capsys):
    """All cases on a few digits, with a cheap context: the JSON and what was printed."""
    monkeypatch.setattr(posterior_collapse, "REACH", 30)
    monkeypatch.setattr(posterior_collapse, "WIDTH", 4)
    assert posterior_collapse.main(["--dataset", "digits", "--epochs", "5", "--out", "here"]) == 0
    with open("here/posterior_collapse.json") as file:
        return json.load(file), capsys.readouterr().out


def test_what_collapses_and_what_does_not(watched, tmp_path):
    found, out = watched
    assert found["dataset"] == "synthetic digits" and found["train_images"] == 400
    cases = found["cases"]
    assert len(cases) == 8
    for case in cases.values():
        kl = np.array(case["kl_by_epoch"])
        assert kl.shape == (6, 20) and (kl >= 0).all()  # before the first epoch, and after each
        np.testing.assert_allclose(kl[-1], case["kl_per_dimension"], rtol=1e-5)
        assert case["kl"] == pytest.approx(case["information"] + case["aggregate_kl"])
        assert 0 < case["information"] <= np.log(100)  # of 100 test images
    assert cases["σ² = 10"]["kl"] < cases["σ² = 1"]["kl"] < cases["σ² learned"]["kl"]
    assert cases["σ² = 10"]["active_units"] == 0 < cases["σ² learned"]["active_units"]
    assert cases["strong, free bits"]["kl"] > cases[STRONG]["kl"]
    assert cases[STRONG]["total"] < cases["plain"]["total"]
    titles = [f"{case}:" for case in cases]
    alarmed = [line for line in out[: out.index(ALARM)].splitlines() if line in titles]
    assert alarmed[-1] == "σ² = 10:"
    assert len([line for line in out.splitlines() if line in titles]) == 8
    assert (tmp_path / "here/posterior_collapse.png").stat().st_size > 3000


def test_schedules_are_what_their_names_say():
    steps = 80
    cases = posterior_collapse.cases(steps)
    betas = {
        name: [beta_at(step) for step in range(steps)] for name, (_, beta_at, _) in cases.items()
    }
    assert set(betas["plain"]) == set(betas[STRONG]) == {1.0}
    ramp = betas["strong, annealed"]
    assert ramp[0] == 0 and ramp[20] == 0.5 and set(ramp[40:]) == {1.0}
    assert betas["strong, cyclical"] == 4 * betas["strong, cyclical"][:20]
    assert [name for name, (*_, floor) in cases.items() if floor] == ["strong, free bits"]
    strong = [likelihood for name, (likelihood, *_) in cases.items() if name.startswith("strong")]
    assert len({id(likelihood) for likelihood in strong}) == 4  # none learns from another
    for likelihood in strong[1:]:
        for name, value in likelihood.state_dict().items():
            np.testing.assert_array_equal(value, strong[0].state_dict()[name])
