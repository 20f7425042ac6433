from itertools import groupby

import matplotlib
import matplotlib.style
import numpy as np
import pytest
from figures import labels_of
from matplotlib.image import imread

from tinyvae.training import plots

RNG = np.random.default_rng(0)


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


@pytest.mark.parametrize("n", [1, 2, 5, 11])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 33, 20), (3, 10, 60)], ids=str)
def test_any_number_of_images_of_any_size_is_drawn(draw, n, shape):
    images = RNG.random((n, *shape))
    for function, data in (
        (plots.reconstructions, (images, images)),
        (plots.image_grid, (images,)),
        (plots.interpolation, (images[:, None],)),
        (plots.traversal, (np.broadcast_to(images, (n, n, *shape)), np.arange(n))),
    ):
        figure, pixels = draw(function, *data)
        assert (figure.get_size_inches() <= (6.6, 9.1)).all()
        assert pixels.std() > 0.1


def test_colours_are_drawn_as_they_are_on_white_paper(draw, tmp_path):
    red = np.zeros((3, 3, 8, 8))
    red[:, 0] = 1.0
    figure, _ = draw(plots.image_grid, red)
    sheet = figure.axes[0].images[0].get_array()
    assert sheet.shape == (18, 18, 3)
    for image in (sheet[:8, :8], sheet[:8, 10:], sheet[10:, :8]):
        assert (image == [1, 0, 0]).all()
    assert (sheet[8:10] == 1).all() and (sheet[:, 8:10] == 1).all() and (sheet[10:, 10:] == 1).all()
    pixels = imread(tmp_path / "figure.png")[..., :3]
    assert 0.3 < (abs(pixels - [1, 0, 0]) < 0.01).all(axis=2).mean() < 0.75


def test_colours_outside_0_and_1_are_clipped_without_a_warning(draw, caplog):
    figure, _ = draw(plots.image_grid, np.full((1, 3, 4, 4), 1.5))
    assert figure.axes[0].images[0].get_array().max() == 1.0
    assert not caplog.records


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_mosaic_puts_every_image_in_its_place(channels):
    images = RNG.random((2, 3, *channels, 4, 5))
    sheet = plots.mosaic(images, gap=1)
    assert sheet.shape == (*channels, 2 * 5 - 1, 3 * 6 - 1)
    for i in range(2):
        for j in range(3):
            place = sheet[..., 5 * i : 5 * i + 4, 6 * j : 6 * j + 5]
            np.testing.assert_array_equal(place, images[i, j])
    assert (sheet[..., 4, :] == (channels == (3,))).all()
    assert plots.mosaic(images, gap=0).shape == (*channels, 8, 15)


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


def test_named_rows_have_equally_many_images(draw):
    figure, _ = draw(plots.image_grid, np.zeros((6, 1, 8, 8)), names=["one", "two"])
    (axes,) = figure.axes
    assert axes.images[0].get_array().shape == (2 * (8 + 2) - 2, 3 * (8 + 2) - 2)
    rows = dict(zip(labels_of(axes.yaxis), axes.get_yticks(), strict=True))
    assert rows == {"one": 3.5, "two": 3.5 + (8 + 2)}
    with pytest.raises(ValueError, match=r"\(4, 1 or 3, H, W\), got \(6, 1, 8, 8\)"):
        plots.image_grid(np.zeros((6, 1, 8, 8)), "figure.png", "title", list("abcd"))


def test_interpolation_names_its_first_and_last_column(draw):
    figure, _ = draw(plots.interpolation, np.zeros((2, 6, 1, 8, 8)))
    ticks = dict(zip(labels_of(figure.axes[0].xaxis), figure.axes[0].get_xticks(), strict=True))
    assert ticks == {"from": 3.5, "to": 3.5 + 5 * (8 + 2)}
    figure, _ = draw(plots.interpolation, np.zeros((2, 1, 1, 8, 8)))
    assert labels_of(figure.axes[0].xaxis) == ["from"]


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
