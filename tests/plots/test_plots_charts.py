import numpy as np
import pytest
from figures import labels_of, vae_history
from matplotlib.colors import to_rgba
from matplotlib.patches import Circle

from tinyvae.training import plots

RNG = np.random.default_rng(0)


def test_kl_bars_refuses_activity_of_another_length(tmp_path):
    with pytest.raises(ValueError, match=r"active .*\(3\), got \(2,\)"):
        plots.kl_bars(np.ones(3), [True, False], tmp_path / "figure.png", "title")


def test_loss_curves_show_train_and_test_in_three_panels(draw):
    figure, _ = draw(plots.loss_curves, vae_history(4), objective="negative ELBO")
    assert [axes.get_title() for axes in figure.axes] == ["negative ELBO", "reconstruction", "KL"]
    expected = {"train (mean over the epoch)": [104, 103, 102, 101], "test": [114, 113, 112, 111]}
    shown = {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].lines}
    assert shown == expected
    assert {text.get_text() for text in figure.legends[0].get_texts()} == set(expected)


def with_terms(*terms):
    """A history of two epochs; term i has the value i + 1, and the total is 10."""
    numbers = {"total": 10.0} | {term: i + 1.0 for i, term in enumerate(terms)} | {"mse": 0.1}
    parts = {f"{part}_{name}": x for part in ("train", "test") for name, x in numbers.items()}
    return [{"dataset": "toy", "epoch": epoch, **parts, "seconds": 1.0} for epoch in (1, 2)]


def test_one_term_has_one_panel(draw):
    figure, _ = draw(plots.loss_curves, with_terms("reconstruction"))
    assert [axes.get_title() for axes in figure.axes] == ["loss = reconstruction"]
    assert figure.axes[0].get_ylabel() == "nats per example"
    assert list(figure.axes[0].lines[0].get_ydata()) == [1.0, 1.0]


def test_every_term_has_a_panel_in_the_order_of_the_columns(draw):
    figure, _ = draw(plots.loss_curves, with_terms("reconstruction", "kl_top", "codebook", "prior"))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["total", "reconstruction", "kl top", "codebook", "prior"]
    values = [axes.lines[0].get_ydata()[0] for axes in figure.axes]
    assert values == [10.0, 1.0, 2.0, 3.0, 4.0]


def test_a_term_without_its_test_column_is_refused(tmp_path):
    history = with_terms("reconstruction", "kl")
    del history[1]["test_kl"]
    with pytest.raises(ValueError, match=r"needs \['test_kl'\]"):
        plots.loss_curves(history, tmp_path / "figure.png", "title")


@pytest.mark.parametrize("epochs", [1, 20])
def test_epoch_ticks_are_whole_numbers(draw, epochs):
    figure, _ = draw(plots.loss_curves, vae_history(epochs))
    low, high = figure.axes[0].get_xlim()
    ticks = [tick for tick in figure.axes[0].get_xticks() if low <= tick <= high]
    assert ticks and all(tick == round(tick) and 1 <= tick <= epochs for tick in ticks)


def test_scatter_draws_every_code_in_the_colour_of_its_label(draw):
    codes, labels = np.random.default_rng(1).normal(0, 2, (300, 2)), np.arange(300) % 4 + 3
    figure, _ = draw(plots.latent_scatter, codes, labels, axes_names=("z[7]", "z[12]"))
    axes = figure.axes[0]
    points = axes.collections[0]
    np.testing.assert_array_equal(points.get_offsets(), codes)
    expected = [to_rgba(plots.TEN[label]) for label in labels]
    np.testing.assert_array_equal(points.get_facecolors(), expected)
    legend = axes.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["3", "4", "5", "6"]
    colours = [to_rgba(line.get_color()) for line in legend.get_lines()]
    assert colours == [to_rgba(plots.TEN[label]) for label in (3, 4, 5, 6)]
    circles = [text.get_text() for text in figure.legends[0].get_texts()]
    assert circles == ["N(0, I), 1σ", "N(0, I), 2σ"]
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


def test_scatter_without_labels_has_one_colour_and_no_numbers(draw):
    figure, _ = draw(plots.latent_scatter, RNG.standard_normal((30, 2)), None)
    axes = figure.axes[0]
    assert len(axes.collections[0].get_facecolors()) == 1
    assert axes.get_legend() is None and not axes.texts


def test_scatter_takes_any_integers_as_classes(draw):
    labels = np.array([-5, 40, 1000] * 10)
    figure, _ = draw(plots.latent_scatter, RNG.standard_normal((30, 2)), labels)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["-5", "40", "1000"]
    assert len(np.unique(axes.collections[0].get_facecolors(), axis=0)) == 3


@pytest.mark.parametrize("count", [11, 26, 100])
def test_scatter_of_many_classes_has_a_readable_colour_bar(draw, count):
    labels = np.arange(1, count + 1).repeat(3)
    figure, _ = draw(plots.latent_scatter, RNG.standard_normal((3 * count, 2)), labels)
    axes, bar = figure.axes
    assert axes.get_legend() is None
    assert len(np.unique(axes.collections[0].get_facecolors(), axis=0)) == count
    named = [int(name) for name in labels_of(bar.yaxis)]
    assert named[0] == 1 and 10 < len(named) <= 26
    y = bar.transData.transform([(0, tick) for tick in bar.get_yticks()])[:, 1] / figure.dpi * 72
    assert np.diff(y).min() > 8  # points: the height of a line of text


@pytest.mark.parametrize("codes", [np.ones((1, 2)), np.full((20, 2), 0.3), np.full((9, 2), 1e4)])
@pytest.mark.parametrize("classes", [None, 1, 15])
def test_scatter_of_one_point_or_equal_points(draw, codes, classes):
    labels = None if classes is None else np.arange(len(codes)) % classes
    figure, _ = draw(plots.latent_scatter, codes, labels)
    low, high = figure.axes[0].get_xlim()
    assert low < codes[0, 0] < high
    assert len(figure.axes[0].texts) == (classes is not None)


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


@pytest.mark.parametrize("length", [1, 2, 20, 64, 200])
def test_kl_bar_indices_do_not_overlap(draw, length):
    figure, _ = draw(plots.kl_bars, np.linspace(3, 0, length), np.ones(length))
    axes = figure.axes[0]
    labels = axes.get_xticklabels()
    assert len(labels) == (length if length <= 64 else 50)
    assert ("one in 4 is named" in axes.get_xlabel()) == (length == 200)
    x = axes.transData.transform([(0, 0), (1, 0)])[:, 0] / figure.dpi * 72  # in points
    wide = 2 * 0.64 if labels[0].get_rotation() == 0 else 0.73  # of two digits, for their size
    assert (x[1] - x[0]) * (length / len(labels)) > 1.1 * wide * labels[0].get_fontsize()
