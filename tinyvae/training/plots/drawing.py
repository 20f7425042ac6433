"""What all figures share: colours, style, the page that becomes a file, and sheets of images."""

from contextlib import contextmanager

import numpy as np
from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tinyvae.training.checkpoint import write_atomically

# Colours that colour-blind readers can tell apart: from Okabe & Ito (2008) for pairs, and the ten
# of Petroff (2021, Accessible color sequences for data visualization, arXiv:2107.02270) for labels.
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#6b6b6b"
TEN = "#3f90da #ffa90e #bd1f01 #94a4a2 #832db6 #a96b59 #e76300 #b9ac70 #717581 #92dadd".split()

WIDTH, HEIGHT = 6.5, 9  # inches: the text block of a printed page
STYLE = {
    "savefig.dpi": 200,
    "savefig.bbox": "tight",
    "font.size": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "axes.titlesize": 10,
    "figure.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 3,
}


@contextmanager
def page(path, width, height):
    """Yield an empty figure, width x height inches; write it to `path` if its block succeeds.

    The PNG file appears only when it is complete, so a crash leaves no half file.
    """
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        write_atomically(path, lambda file: figure.savefig(file, format="png"))


def checked(name, array, *shape):
    """Return `array` as a NumPy array after a check of its shape.

    shape has one entry a dimension: a number, a tuple of allowed numbers, or a letter for any size
    above 0. Raises ValueError, which names the array, for another shape.
    """
    array = np.asarray(array)
    fits = array.ndim == len(shape) and all(
        size > 0 if isinstance(allowed, str) else size in np.atleast_1d(allowed)
        for size, allowed in zip(array.shape, shape, strict=True)
    )
    if not fits:
        wanted = [
            " or ".join(map(str, allowed)) if isinstance(allowed, tuple) else str(allowed)
            for allowed in shape
        ]
        raise ValueError(f"{name} must have shape ({', '.join(wanted)}), got {array.shape}")
    return array


def plain(text):
    """The user's text, such as the name of a file or a column, with $ as $: it is no formula."""
    return text.replace("$", r"\$")


def label_keys(labels, colours=TEN):
    """Return the entries of a legend: each label beside a point of its colour."""
    return [
        Line2D([], [], ls="", marker="o", ms=6, color=colour, label=label)
        for label, colour in zip(labels, colours, strict=False)
    ]


def white(channels):
    """The pixel value that is drawn white: 0 (no ink) in grey images, 1 in colour images."""
    return 1.0 if channels == 3 else 0.0


def mosaic(images, gap):
    """Lay out images in one sheet, with `gap` white pixels between neighbours.

    images: grey (rows, columns, H, W) or with channels (rows, columns, C, H, W), C 1 or 3. The
    sheet has shape (height, width) or (C, height, width).
    """
    rows, columns, *channels, height, width = images.shape
    shape = (*channels, rows, height + gap, columns, width + gap)
    cells = np.full(shape, white(*channels or [1]), images.dtype)
    cells[..., :height, :, :width] = np.moveaxis(images, (0, 1), (-4, -2))
    sheet = cells.reshape(*channels, rows * (height + gap), columns * (width + gap))
    return sheet[..., : -gap or None, : -gap or None]


def centres(count, length, gap):
    """Pixel coordinates of the middle of each of `count` images along one side of a mosaic."""
    return np.arange(count) * (length + gap) + (length - 1) / 2


def show(axes, sheet):
    """Draw values in [0, 1] without ticks or frame: (H, W), (1, H, W) or (3, H, W).

    Grey levels are drawn as dark ink on white paper, colours as they are.
    """
    if sheet.ndim == 3:
        sheet = np.moveaxis(sheet, 0, -1).clip(0, 1)  # imshow wants (H, W, C)
    axes.imshow(sheet, cmap="gray_r", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def show_rows(axes, images, names):
    """Draw images (rows, columns, H, W) or (rows, columns, C, H, W), and the name of each row."""
    show(axes, mosaic(images, gap=2))
    axes.set_yticks(centres(len(images), images.shape[-2], gap=2), names)
