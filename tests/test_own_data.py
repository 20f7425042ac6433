"""The example for arrays of your own: short, without scikit-learn, two numbers, two pictures."""

import re
import sys
from pathlib import Path

import pytest

from examples import own_data
from tinyvae.training import plots


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    monkeypatch.setattr(own_data, "FOLDER", tmp_path)
    monkeypatch.setitem(plots.STYLE, "savefig.dpi", 40)
    monkeypatch.setitem(sys.modules, "sklearn", None)  # now `import sklearn` raises ImportError


def printed_numbers(capsys):
    """Those of the last line."""
    line = capsys.readouterr().out.splitlines()[-1]
    return [float(number) for number in re.findall(r"-?\d+\.\d+", line)]


def test_the_vae_of_the_table_is_better_than_independent_columns(capsys, tmp_path, monkeypatch):
    drawn, histograms = {}, plots.histograms

    def draw(data, samples, *arguments):
        drawn.update(data=data, samples=samples)
        histograms(data, samples, *arguments)

    monkeypatch.setattr(plots, "histograms", draw)
    own_data.table(epochs=20)
    loss, independent = printed_numbers(capsys)
    assert loss < independent - 1
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")
    assert drawn["data"].shape == (389, 7)
    ratio = drawn["samples"].std(axis=0) / drawn["data"].std(axis=0)  # both in percent
    assert ((0.5 < ratio) & (ratio < 2)).all()


def test_the_vae_of_the_images_is_better_than_the_mean_colour(capsys, tmp_path):
    own_data.images(epochs=1)
    error, variance = printed_numbers(capsys)
    assert error < 0.5 * variance
    assert (tmp_path / "images.png").read_bytes().startswith(b"\x89PNG")


def test_it_is_short():
    assert len(Path(own_data.__file__).read_text("utf-8").splitlines()) < 60
