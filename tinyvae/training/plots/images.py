"""Figures of images: floats in [0, 1] of any size, with C = 1 (grey) or 3 (colour) channels."""

import numpy as np

from tinyvae.training.plots.drawing import (
    HEIGHT,
    WIDTH,
    centres,
    checked,
    mosaic,
    page,
    show,
    show_rows,
    white,
)

CHANNELS = (1, 3)
GAP = 2  # white pixels between neighbours


def reconstructions(originals, reconstructed, path, title):
    """Draw originals above their reconstructions, both (n, C, H, W), at most 10 in a row.

    Raises ValueError for other shapes or integers.
    """
    originals = _images("originals", originals, "n")
    reconstructed = checked("reconstructed", reconstructed, *originals.shape)
    n, _, height, width = originals.shape
    blocks = -(-n // 10)
    columns = -(-n // blocks)
    both = [_fill(images, blocks * columns) for images in (originals, reconstructed)]
    pairs = np.stack(both).reshape(2, blocks, columns, *originals.shape[1:])
    side = min(1, 0.85 * WIDTH / columns)  # inches
    with page(path, WIDTH, blocks * (2 * side * height / width + 0.25) + 0.3) as figure:
        for block, axes in enumerate(figure.subplots(blocks, 1, squeeze=False)[:, 0]):
            show_rows(axes, pairs[:, block], ["original", "reconstructed"])
        figure.axes[0].set_title(title)


def image_grid(images, path, title, names=()):
    """Draw images (n, C, H, W), such as samples from the prior, in a grid that is almost square.

    With names, row after row belongs to one of them, n / len(names) images each.
    Raises ValueError for another shape or integers.
    """
    images = _images("images", images, "n")
    columns = int(np.ceil(np.sqrt(len(images))))
    if names:
        columns = len(images) // len(names)
        images = _images("images", images, columns * len(names))
    rows = -(-len(images) // columns)
    cells = _fill(images, rows * columns).reshape(rows, columns, *images.shape[1:])
    with page(path, *_sheet_size(cells)) as figure:
        axes = figure.subplots()
        show(axes, mosaic(cells, GAP))
        if names:
            axes.set_yticks(centres(rows, cells.shape[-2], GAP), names)
        axes.set_title(title)


def interpolation(images, path, title):
    """Draw images (rows, steps, C, H, W); each row is a path from its first image to its last.

    Raises ValueError for another shape or integers.
    """
    images = _images("images", images, "rows", "steps")
    steps, width = images.shape[1], images.shape[-1]
    with page(path, *_sheet_size(images)) as figure:
        axes = figure.subplots()
        show(axes, mosaic(images, GAP))
        axes.set_xticks(centres(steps, width, GAP)[[0, -1]][:steps], ["from", "to"][:steps])
        axes.xaxis.tick_top()
        axes.set_title(title)


def traversal(images, values, path, title, axes_names=("z[0]", "z[1]")):
    """Draw images (size, size, C, H, W) decoded from a grid of codes, see latent.quantile_grid.

    The first latent dimension takes the `values` (size,), which must increase, from left to right;
    the second takes them from bottom to top, so that row 0 of the images has the largest value.
    Raises ValueError for other shapes, integers, or values that do not increase.
    """
    values = checked("values", values, "size")
    if (np.diff(values) <= 0).any():
        raise ValueError(f"values must increase from left to right, got {values}")
    size = len(values)
    images = _images("images", images, size, size)
    height, width = images.shape[-2:]
    labels = [f"{value:.2f}".replace("-", "\N{MINUS SIGN}") for value in values]
    with page(path, *_sheet_size(images)) as figure:
        axes = figure.subplots()
        show(axes, mosaic(images, gap=0))
        axes.set_xticks(centres(size, width, gap=0), labels, rotation=90 if size > 8 else 0)
        axes.set_yticks(centres(size, height, gap=0), labels[::-1])
        axes.set(title=title, xlabel=axes_names[0], ylabel=axes_names[1])


def _images(name, images, *counts):
    """Return images (*counts, C, H, W) after a check of their shape and type."""
    images = checked(name, images, *counts, CHANNELS, "H", "W")
    if images.dtype.kind != "f":
        raise ValueError(f"{name} must be floats in [0, 1], got {images.dtype}; divide by 255")
    return images


def _fill(images, count):
    """Append white images to images (n, C, H, W), so that there are `count`."""
    blank = np.full((count - len(images), *images.shape[1:]), white(images.shape[1]))
    return np.concatenate([images, blank])


def _sheet_size(images):
    """Width and height in inches for a sheet of images (rows, columns, C, H, W) and its words.

    An image is 1 inch wide, wider if there are few columns, and narrower if the page is full.
    """
    rows, columns, _, height, width = images.shape
    tall = height / width
    side = min(max(1, 2.5 / columns), WIDTH / columns, (HEIGHT - 0.6) / (rows * tall))
    return columns * side, rows * side * tall + 0.6
