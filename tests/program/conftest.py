"""What the tests of the command line share: small runs, in a folder of their own."""

import sys

import pytest
from command_line import make_small

from tinyvae.data import load
from tinyvae.training import plots, program, report


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    """Small runs in an empty current folder."""
    for module, name in (
        (load, "DIGITS_TRAIN"),
        (load, "DIGITS_TEST"),
        (report, "BOUND_EXAMPLES"),
        (report, "BOUND_SAMPLES"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))  # so that it is put back
    make_small()
    monkeypatch.setitem(plots.STYLE, "savefig.dpi", 40)
    monkeypatch.setattr(sys, "argv", ["train_mnist.py"])
    monkeypatch.delenv("TINYVAE_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_figures(monkeypatch):
    def draw(trainer, metrics):
        folder = trainer.folder / "figures"
        folder.mkdir(exist_ok=True)
        return folder

    monkeypatch.setattr(program, "draw_figures", draw)
