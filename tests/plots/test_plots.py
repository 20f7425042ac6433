import os
import subprocess
import sys

import matplotlib
import matplotlib.style
import numpy as np
import pytest
from figures import vae_history
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from tinyvae.training import plots

RNG = np.random.default_rng(0)


GOOD = {
    plots.loss_curves: (vae_history(3),),
    plots.reconstructions: (RNG.random((13, 1, 9, 7)), RNG.random((13, 1, 9, 7))),
    plots.image_grid: (RNG.random((5, 1, 9, 7)),),
    plots.interpolation: (RNG.random((2, 4, 1, 9, 7)),),
    plots.traversal: (RNG.random((4, 4, 3, 9, 7)), np.array([-1.5, -0.5, 0.5, 1.5])),
    plots.latent_scatter: (RNG.standard_normal((50, 2)), np.arange(50) % 10),
    plots.kl_bars: (np.array([0.5, 3.0, 0.001, 2.0]), np.array([True, True, False, True])),
    plots.column_r2: (np.array([0.9, -0.2, 0.5]), ["a", "b", "c"]),
    plots.histograms: (RNG.random((40, 3)), RNG.random((20, 3)), ["a", "b", "c"]),
}


@pytest.mark.parametrize("function", GOOD, ids=lambda f: f.__name__)
def test_every_figure_is_a_readable_png_whatever_the_users_settings(function, draw):
    figure, pixels = draw(function, *GOOD[function])
    assert 200 < pixels.shape[0] < 1500 and 300 < pixels.shape[1] < 1500
    assert pixels.min() < 0.5 < np.median(pixels)
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    assert "the title" in [text.get_text() for text in texts]
    assert min(text.get_fontsize() for text in texts) >= 8

    with matplotlib.style.context(["dark_background", {"font.size": 3, "savefig.dpi": 20}]):
        before = dict(matplotlib.rcParams)
        _, same = draw(function, *GOOD[function])
        assert dict(matplotlib.rcParams) == before
    np.testing.assert_array_equal(same, pixels)


def in_a_new_process(script, **environment):
    environment = {key: x for key, x in os.environ.items() if key != "MPLBACKEND"} | environment
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)


def test_import_and_drawing_leave_backend_and_pyplot_alone(tmp_path):
    script = f"""
import sys, matplotlib
matplotlib.rcParams["backend"] = "svg"
before = dict(matplotlib.rcParams)
from tinyvae.training import plots
plots.kl_bars([1.0, 0.0], [True, False], {str(tmp_path / "kl.png")!r}, "title")
assert dict(matplotlib.rcParams) == before
assert "matplotlib.pyplot" not in sys.modules
"""
    in_a_new_process(script, MPLBACKEND="pdf")
    assert imread(tmp_path / "kl.png").ndim == 3


@pytest.mark.parametrize("name", ["module://no_such_module.backend", "no_such_backend", "qt4agg"])
def test_figures_need_no_backend(name, tmp_path):
    script = f"""
import os, sys
from tinyvae.training import plots
assert os.environ["MPLBACKEND"] == {name!r}
plots.kl_bars([1.0, 0.0], [True, False], {str(tmp_path / "kl.png")!r}, "title")
assert "matplotlib.pyplot" not in sys.modules
"""
    in_a_new_process(script, MPLBACKEND=name)
    assert imread(tmp_path / "kl.png").ndim == 3


def test_import_keeps_the_backend_of_the_environment():
    script = """
from tinyvae.training import plots
import matplotlib
assert matplotlib.rcParams["backend"] == "svg"
"""
    in_a_new_process(script, MPLBACKEND="svg")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    def full_disk(self, file, **named):
        file.write(b"half")
        raise OSError("no space left on device")

    path = tmp_path / "kl.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(Figure, "savefig", full_disk)
    with pytest.raises(OSError, match="no space"):
        plots.kl_bars([1.0], [True], path, "title")
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"old"


IMAGES = np.zeros((4, 1, 8, 8))


GRID = np.zeros((3, 3, 1, 8, 8))


@pytest.mark.parametrize(
    "function, data, message",
    [
        (plots.loss_curves, ([],), "at least one epoch"),
        (plots.loss_curves, ([{"epoch": 1}],), "needs .*train_total.* got .*'epoch'"),
        (
            plots.reconstructions,
            (IMAGES[:, 0], IMAGES),
            r"originals.*\(n, 1 or 3, H, W\), got \(4, 8, 8",
        ),
        (plots.reconstructions, (IMAGES, IMAGES[:3]), r"\(4, 1, 8, 8\), got \(3, 1, 8, 8\)"),
        (plots.image_grid, (IMAGES[:0],), r"\(n, 1 or 3, H, W\), got \(0, 1, 8, 8\)"),
        (plots.image_grid, (np.zeros((4, 2, 8, 8)),), r"got \(4, 2, 8, 8\)"),
        (plots.image_grid, (IMAGES.astype(np.uint8),), r"floats in \[0, 1\], got uint8"),
        (plots.interpolation, (IMAGES,), r"\(rows, steps, 1 or 3, H, W\), got \(4, 1, 8, 8\)"),
        (plots.traversal, (GRID, [0.0, 1.0]), r"\(2, 2, 1 or 3, H, W\), got \(3, 3, 1, 8, 8\)"),
        (plots.traversal, (GRID, [1.0, 0.0, -1.0]), "must increase"),
        (plots.latent_scatter, (np.zeros((4, 3)), np.zeros(4)), r"\(n, 2\), got \(4, 3\)"),
        (plots.latent_scatter, (np.zeros((4, 2)), np.zeros(3)), r"labels.*\(4\), got \(3,\)"),
        (plots.latent_scatter, (np.zeros((2, 2)), [0.5, 1.0]), "integers, got float64"),
        (plots.kl_bars, (np.zeros((2, 2)), [True]), r"kl .*\(L\), got \(2, 2\)"),
        (plots.column_r2, (np.zeros((2, 2)), None), r"r2 .*\(D\), got \(2, 2\)"),
        (plots.column_r2, (np.zeros(3), ["a", "b"]), "columns must be 3 names, got 2"),
        (plots.histograms, (np.zeros((4, 2)), np.zeros((4, 3)), None), r"samples .*\(M, 2\)"),
        (plots.histograms, (np.zeros((4, 2)), np.zeros((4, 2)), ["a"]), "2 names, got 1"),
    ],
)
def test_wrong_data_are_refused_and_nothing_is_written(function, data, message, tmp_path):
    path = tmp_path / "figure.png"
    with pytest.raises(ValueError, match=message):
        function(*data, path, "title")
    assert not path.exists()
