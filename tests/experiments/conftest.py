"""What the tests of the experiments share: few digits, coarse pictures, a folder of their own."""

import pytest

from tinyvae.data import load
from tinyvae.training import plots


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    monkeypatch.setattr(load, "DIGITS_TRAIN", 400)
    monkeypatch.setattr(load, "DIGITS_TEST", 100)
    monkeypatch.setitem(plots.STYLE, "savefig.dpi", 40)
    monkeypatch.delenv("TINYVAE_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
