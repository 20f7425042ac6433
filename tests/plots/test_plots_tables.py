import numpy as np
import pytest
from figures import labels_of
from matplotlib.figure import Figure

from tinyvae.training import plots

RNG = np.random.default_rng(0)


def bars_of(axes):
    """{name: (length of the bar, text beside it)} from top to bottom."""
    names, texts = labels_of(axes.yaxis), [text.get_text() for text in axes.texts]
    lengths = [bar.get_width() for bar in axes.containers[0]]
    assert axes.yaxis_inverted()
    return dict(zip(names, zip(lengths, texts, strict=True), strict=True))


def test_r2_bars_run_from_best_to_worst_and_name_their_columns(draw):
    figure, _ = draw(plots.column_r2, [0.25, -7.5, 1.0, -0.5], ["a", "b", "c", "d"])
    (axes,) = figure.axes
    minus = "\N{MINUS SIGN}"
    assert list(bars_of(axes).items()) == [
        ("c", (1.0, "1.00")),
        ("a", (0.25, "0.25")),
        ("d", (-0.5, f"{minus}0.50")),
        ("b", (-1.0, f"{minus}7.50")),
    ]
    assert f"bars end at {minus}1" in axes.get_xlabel()
    low, high = axes.get_xlim()
    assert low <= -1 and high > 1


@pytest.mark.parametrize("count", [1, 5, 30, 100])
def test_r2_names_do_not_overlap(draw, count):
    figure, _ = draw(plots.column_r2, np.linspace(0, 0.9, count), None)
    names = [name for axes in figure.axes for name in bars_of(axes)]
    assert names == [f"column {i}" for i in range(count)][::-1]
    for axes in figure.axes:
        y = axes.transData.transform([(0, 1), (0, 0)])[:, 1] / figure.dpi * 72  # in points
        assert y[1] - y[0] > 8
    assert (figure.get_size_inches() < (7, 9.1)).all()
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    assert all(a.x1 <= b.x0 for a, b in zip(boxes, boxes[1:], strict=False))


def test_r2_of_very_many_columns_shows_the_lowest_and_says_so(monkeypatch, tmp_path):
    titles, drawn = [], []
    monkeypatch.setattr(Figure, "suptitle", lambda self, title: titles.append(title))
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: drawn.append(self))
    plots.column_r2(np.linspace(0, 0.9, 250), None, tmp_path / "r2.png", "title")
    assert titles == ["title\n(the 100 lowest of 250 columns)"]
    names = [name for axes in drawn[0].axes for name in labels_of(axes.yaxis)]
    assert names == [f"column {i}" for i in range(99, -1, -1)]


def test_r2_of_constant_columns_stands_first_and_is_called_constant(draw):
    figure, _ = draw(plots.column_r2, [0.25, None, -0.5, float("nan")], ["a", "b", "c", "d"])
    (axes,) = figure.axes
    assert list(bars_of(axes)) == ["b", "d", "a", "c"]
    texts = [text for _, text in bars_of(axes).values()]
    assert texts == ["constant", "constant", "0.25", "\N{MINUS SIGN}0.50"]


def test_a_dollar_in_a_name_is_a_dollar(draw):
    """Matplotlib would take $...$ for a formula, and fail on most."""
    names = ["$x", "$a$ and $b$", r"$\frac$", "price in US$"]
    for function, values in (
        (plots.column_r2, [np.ones(4)]),
        (plots.histograms, [RNG.random((5, 4))] * 2),
    ):
        figure, _ = draw(function, *values, names)
        drawn = [axes.get_title() for axes in figure.axes]
        drawn += labels_of(figure.axes[0].yaxis)
        assert {name.replace("$", r"\$") for name in names} <= set(drawn)


def test_long_column_names_keep_both_ends(draw):
    name = "a" * 40 + "b" * 39 + "1"
    figure, _ = draw(plots.column_r2, [0.5], [name])
    (short,) = labels_of(figure.axes[0].yaxis)
    assert len(short) == 40 and short.startswith("aaa") and short.endswith("b1") and "…" in short


@pytest.mark.filterwarnings("error")  # constrained layout warns if there is no room
def test_long_names_leave_room_for_the_bars(draw):
    names = [f"{i} {'a long name ' * 9}" for i in range(60)]
    figure, _ = draw(plots.column_r2, np.linspace(0, 0.9, 60), names)
    assert len(figure.axes) == 2
    for axes in figure.axes:
        assert axes.get_position().width * figure.get_size_inches()[0] > 1.2  # inches


def test_histograms_hold_all_examples_in_the_same_bins(draw):
    data = np.random.default_rng(3).normal(5, 2, (500, 3))
    samples = np.concatenate([data[:50], [[1e6, -1e6, 5]]])
    figure, _ = draw(plots.histograms, data, samples, ["a", "b", "c"])
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c"]
    for axes in figure.axes:
        (of_data, edges, _), (of_samples, same, _) = [patch.get_data() for patch in axes.patches]
        np.testing.assert_array_equal(edges, same)
        assert data.min() - 2 < edges[0] and edges[-1] < data.max() + 2
        np.testing.assert_allclose([of_data.sum(), of_samples.sum()], 1.0)
        assert edges[of_data.argmax()] == pytest.approx(5, abs=2)
    first, second, _ = [axes.patches[1].get_data().values for axes in figure.axes]
    assert first[-1] >= 1 / 51 and second[0] >= 1 / 51
    keys = [text.get_text() for text in figure.legends[0].get_texts()]
    assert keys == ["data", "samples"]


def test_histograms_of_many_columns_show_the_first_and_say_so(draw, monkeypatch):
    titles = []
    monkeypatch.setattr(Figure, "suptitle", lambda self, title: titles.append(title))
    monkeypatch.setitem(plots.STYLE, "savefig.dpi", 40)
    figure, _ = draw(plots.histograms, RNG.random((9, 40)), RNG.random((5, 40)), None)
    assert titles == ["the title\n(the first 32 of 40 columns)"]
    assert [axes.get_title() for axes in figure.axes] == [f"column {i}" for i in range(32)]


def test_histograms_take_constant_columns_and_single_rows(draw):
    data = np.stack([np.full(6, 7.0), np.arange(6.0)], axis=1)
    figure, _ = draw(plots.histograms, data, data[:1], ["constant", "b"])
    values, edges, _ = figure.axes[0].patches[0].get_data()
    assert values.max() == 1.0 and edges[0] < 7 < edges[-1]
