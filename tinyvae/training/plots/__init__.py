"""All figures: each is drawn from plain NumPy arrays and written as one PNG file.

Every function takes the data first, then the `path` to write and the `title` to print. None of
them changes matplotlib's global state: backend, settings and open figures stay as they were.
"""

from tinyvae.training.plots import import_matplotlib  # noqa: F401, must come first

# isort: split
from tinyvae.training.plots.charts import code_usage, kl_bars, latent_scatter, loss_curves
from tinyvae.training.plots.drawing import (
    BLUE,
    GREY,
    STYLE,
    TEN,
    VERMILION,
    WIDTH,
    label_keys,
    mosaic,
    page,
    plain,
    show,
    show_rows,
)
from tinyvae.training.plots.images import image_grid, interpolation, reconstructions, traversal
from tinyvae.training.plots.tables import column_r2, histograms

__all__ = [
    "BLUE",
    "GREY",
    "STYLE",
    "TEN",
    "VERMILION",
    "WIDTH",
    "code_usage",
    "column_r2",
    "histograms",
    "image_grid",
    "interpolation",
    "kl_bars",
    "label_keys",
    "latent_scatter",
    "loss_curves",
    "mosaic",
    "page",
    "plain",
    "reconstructions",
    "show",
    "show_rows",
    "traversal",
]
