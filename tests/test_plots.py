import subprocess
import sys
from itertools import groupby

import matplotlib
import matplotlib.style
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Circle
from matplotlib.text import Text

from tinyvae.training import plots


def rows(epochs, kl=5.0):
    return [
        {
            "epoch": epoch,
            "train_total": 100.0 - epoch + kl,
            "train_reconstruction": 100.0 - epoch,
            "train_kl": kl,
            "test_total": 110.0 - epoch + kl,
            "test_reconstruction": 110.0 - epoch,
            "test_kl": kl,
        }
        for epoch in range(1, epochs + 1)
    ]


RNG = np.random.default_rng(0)
GOOD = {
    plots.loss_curves: (rows(3),),
    plots.reconstructions: (RNG.random((13, 1, 9, 7)), RNG.random((13, 1, 9, 7))),
    plots.image_grid: (RNG.random((5, 1, 9, 7)),),
    plots.interpolation: (RNG.random((2, 4, 1, 9, 7)),),
    plots.traversal: (RNG.random((4, 4, 1, 9, 7)), np.array([-1.5, -0.5, 0.5, 1.5])),
    plots.latent_scatter: (RNG.standard_normal((50, 2)), np.arange(50) % 10),
    plots.kl_bars: (np.array([0.5, 3.0, 0.001, 2.0]), np.array([True, True, False, True])),
}


@pytest.fixture
def draw(monkeypatch, tmp_path):
    """Call a function of plots and return the figure that it saved and the pixels of its file."""
    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a: (drawn.append(self), save(self, *a)))

    def call(function, *data, **options):
        path = tmp_path / "figure.png"
        assert function(*data, path, "the title", **options) is None
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        return drawn[-1], imread(path)[..., :3].mean(axis=2)

    return call


def labels_of(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


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
    subprocess.run([sys.executable, "-c", script], check=True)
    assert imread(tmp_path / "kl.png").ndim == 3


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
            r"originals.*\(n, 1, H, W\), got \(4, 8, 8",
        ),
        (plots.reconstructions, (IMAGES, IMAGES[:3]), r"\(4, 1, 8, 8\), got \(3, 1, 8, 8\)"),
        (plots.image_grid, (IMAGES[:0],), r"\(n, 1, H, W\), got \(0, 1, 8, 8\)"),
        (plots.image_grid, (np.zeros((4, 3, 8, 8)),), r"got \(4, 3, 8, 8\)"),
        (plots.interpolation, (IMAGES,), r"\(rows, steps, 1, H, W\), got \(4, 1, 8, 8\)"),
        (plots.traversal, (GRID, [0.0, 1.0]), r"\(2, 2, 1, H, W\), got \(3, 3, 1, 8, 8\)"),
        (plots.traversal, (GRID, [1.0, 0.0, -1.0]), "must increase"),
        (plots.latent_scatter, (np.zeros((4, 3)), np.zeros(4)), r"\(n, 2\), got \(4, 3\)"),
        (plots.latent_scatter, (np.zeros((4, 2)), np.zeros(3)), r"labels.*\(4\), got \(3,\)"),
        (plots.latent_scatter, (np.zeros((2, 2)), [3, 10]), "from 0 to 9, got .*10"),
        (plots.kl_bars, (np.zeros((2, 2)), [True]), r"kl .*\(L\), got \(2, 2\)"),
    ],
)
def test_wrong_data_are_refused_and_nothing_is_written(function, data, message, tmp_path):
    path = tmp_path / "figure.png"
    with pytest.raises(ValueError, match=message):
        function(*data, path, "title")
    assert not path.exists()


def test_kl_bars_refuses_activity_of_another_length(tmp_path):
    with pytest.raises(ValueError, match=r"active .*\(3\), got \(2,\)"):
        plots.kl_bars(np.ones(3), [True, False], tmp_path / "figure.png", "title")


def test_loss_curves_show_train_and_test_in_three_panels(draw):
    figure, _ = draw(plots.loss_curves, rows(4))
    assert [axes.get_title() for axes in figure.axes] == ["negative ELBO", "reconstruction", "KL"]
    expected = {"train (mean over the epoch)": [104, 103, 102, 101], "test": [114, 113, 112, 111]}
    shown = {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].lines}
    assert shown == expected
    assert {text.get_text() for text in figure.legends[0].get_texts()} == set(expected)


def test_autoencoder_has_one_panel(draw):
    figure, _ = draw(plots.loss_curves, rows(3, kl=0.0))
    assert [axes.get_title() for axes in figure.axes] == ["loss = reconstruction"]


@pytest.mark.parametrize("epochs", [1, 20])
def test_epoch_ticks_are_whole_numbers(draw, epochs):
    figure, _ = draw(plots.loss_curves, rows(epochs))
    low, high = figure.axes[0].get_xlim()
    ticks = [tick for tick in figure.axes[0].get_xticks() if low <= tick <= high]
    assert ticks and all(tick == round(tick) and 1 <= tick <= epochs for tick in ticks)


def bands(pixels, level):
    """Rows of the picture where a fifth or more of the pixels have this grey level."""
    return np.flatnonzero((abs(pixels - level) < 0.02).mean(axis=1) > 0.2)


def test_originals_stand_above_their_reconstructions(draw):
    ones = np.ones((13, 1, 8, 8))
    figure, pixels = draw(plots.reconstructions, ones, 0.5 * ones)
    blocks = [axes.images[0].get_array().shape for axes in figure.axes]
    assert blocks == [(8 + 2 + 8, 7 * (8 + 2) - 2)] * 2  # 13 images: 7, then 6 and a blank
    for axes in figure.axes:
        assert labels_of(axes.yaxis) == ["original", "reconstructed"]
    half = matplotlib.colormaps["gray_r"](0.5)[0]
    kinds = np.full(len(pixels), " ")
    kinds[bands(pixels, 0.0)] = "o"
    kinds[bands(pixels, half)] = "r"
    assert [kind for kind, _ in groupby(kinds) if kind != " "] == ["o", "r", "o", "r"]


def darkest(pixels, skip_top=0.12):
    """Centre of the black area below the title, as fractions of width and height."""
    y, x = np.nonzero(pixels < 0.02)
    below = y > skip_top * len(pixels)
    return x[below].mean() / pixels.shape[1], y[below].mean() / pixels.shape[0]


def test_values_are_ink_and_the_grid_runs_along_rows(draw):
    images = np.zeros((5, 1, 8, 8))
    _, pixels = draw(plots.image_grid, images)
    assert pixels.mean() > 0.95
    images[1] = 1.0
    _, pixels = draw(plots.image_grid, images)
    x, y = darkest(pixels, skip_top=0.2)
    assert 0.4 < x < 0.6 and y < 0.5


def test_interpolation_names_its_first_and_last_column(draw):
    figure, _ = draw(plots.interpolation, np.zeros((2, 6, 1, 8, 8)))
    ticks = dict(zip(labels_of(figure.axes[0].xaxis), figure.axes[0].get_xticks(), strict=True))
    assert ticks == {"from": 3.5, "to": 3.5 + 5 * (8 + 2)}


def test_traversal_has_its_first_row_on_top_and_named_by_the_largest_value(draw):
    images = np.zeros((4, 4, 1, 8, 8))
    images[0, 3] = 1.0
    values = np.array([-3.0, -1.0, 1.0, 2.0])
    figure, pixels = draw(plots.traversal, images, values, axes_names=("a", "b"))
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("a", "b")
    y, x = np.nonzero(pixels < 0.02)
    block = np.bincount(x, minlength=pixels.shape[1]) > len(pixels) / 8
    assert np.flatnonzero(block).mean() > 0.8 * pixels.shape[1]
    assert np.median(y[block[x]]) < 0.35 * len(pixels)
    for axis, side in ((axes.xaxis, 0), (axes.yaxis, 1)):
        where = [axes.transData.transform((tick, tick))[side] for tick in axis.get_ticklocs()]
        names = [float(name.replace("\N{MINUS SIGN}", "-")) for name in labels_of(axis)]
        assert [names[i] for i in np.argsort(where)] == list(values)


def test_scatter_draws_every_code_in_the_colour_of_its_label(draw):
    codes, labels = np.random.default_rng(1).normal(0, 2, (300, 2)), np.arange(300) % 4 + 3
    figure, _ = draw(plots.latent_scatter, codes, labels, axes_names=("z[7]", "z[12]"))
    axes = figure.axes[0]
    points = axes.collections[0]
    np.testing.assert_array_equal(points.get_offsets(), codes)
    expected = [to_rgba(plots.TEN[label]) for label in labels]
    np.testing.assert_array_equal(points.get_facecolors(), expected)
    keys = [text.get_text() for text in axes.get_legend().get_texts()]
    assert keys == ["3", "4", "5", "6", "N(0, I), 1σ", "N(0, I), 2σ"]
    colours = [to_rgba(line.get_color()) for line in axes.get_legend().get_lines()[:4]]
    assert colours == [to_rgba(plots.TEN[label]) for label in (3, 4, 5, 6)]
    assert axes.get_aspect() == 1
    assert [patch.radius for patch in axes.patches if isinstance(patch, Circle)] == [1, 2]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("z[7]", "z[12]")


def test_scatter_writes_digits_on_points_of_that_label_without_overlap(draw):
    codes, labels = np.random.default_rng(2).normal(0, 2, (2500, 2)), np.arange(2500) % 10
    figure, _ = draw(plots.latent_scatter, codes, labels)
    digits = [(text.get_position(), text.get_text()) for text in figure.axes[0].texts]
    assert len(digits) > 40
    for position, digit in digits:
        assert labels[(codes == position).all(axis=1)] == int(digit)
    places = np.array([position for position, _ in digits])
    gaps = np.hypot(*(places[:, None] - places[None]).T) + 99 * np.eye(len(places))
    assert gaps.min() > 0.05 * np.ptp(codes, axis=0).max()


def test_kl_bars_are_sorted_and_keep_their_index(draw):
    kl = np.array([0.5, 3.0, 0.001, 2.0, 0.0])
    figure, _ = draw(plots.kl_bars, kl, kl > 0.01)
    axes = figure.axes[0]
    bars = [bar for container in axes.containers for bar in container]
    assert [bar.get_height() for bar in bars] == [3.0, 2.0, 0.5, 0.001, 0.0]
    assert labels_of(axes.xaxis) == ["1", "3", "0", "2", "4"]
    middle = [bar.get_x() + bar.get_width() / 2 for bar in bars]
    np.testing.assert_allclose(middle, axes.get_xticks())
    legend = figure.legends[0]
    assert legend.get_title().get_text() == "total KL 5.5 nats"
    assert [text.get_text() for text in legend.get_texts()] == ["active (3)", "inactive (2)"]


def test_kl_bars_mark_the_dimensions_that_the_caller_calls_inactive(draw):
    figure, _ = draw(plots.kl_bars, [1.0, 4.0, 2.0], [True, True, False])
    axes = figure.axes[0]
    active, inactive = ([bar.get_height() for bar in bars] for bars in axes.containers)
    assert (active, inactive) == ([4.0, 1.0], [2.0])
    hatched = [patch for patch in axes.patches if patch.get_hatch()]
    assert [(patch.get_x(), patch.get_width()) for patch in hatched] == [(0.5, 1.0)]


@pytest.mark.parametrize("length", [20, 64])
def test_kl_bar_indices_do_not_overlap(draw, length):
    figure, _ = draw(plots.kl_bars, np.linspace(3, 0, length), np.ones(length))
    axes = figure.axes[0]
    labels = axes.get_xticklabels()
    assert len(labels) == length
    x = axes.transData.transform([(0, 0), (1, 0)])[:, 0] / figure.dpi * 72  # in points
    wide = 2 * 0.64 if labels[0].get_rotation() == 0 else 0.73  # of two digits, for their size
    assert x[1] - x[0] > 1.1 * wide * labels[0].get_fontsize()
