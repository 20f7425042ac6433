"""What the figures of the book share: the style, and the page that becomes an SVG file.

Every script in this folder is run by its own, for example: python docs/figures/mixture.py
"""

from contextlib import contextmanager
from pathlib import Path

from matplotlib import style
from matplotlib.figure import Figure

from tinyvae.training.plots import STYLE

IMAGES = Path(__file__).parent.parent / "images"
LIGHT_BLUE, LIGHT_VERMILION, LIGHT_GREY = "#b8d8ea", "#f6cfb4", "#e3e3e3"  # fills under the strokes


@contextmanager
def svg(name, width, height):
    """Yield an empty figure, width x height inches; write it to docs/images/NAME.svg.

    The background is white, so that the figure is readable on a dark page and in print. Letters are
    written as outlines, so that they look the same everywhere. The same data give the same file.
    """
    settings = {"svg.fonttype": "path", "svg.hashsalt": name, "savefig.facecolor": "white"}
    with style.context(["default", STYLE, settings]):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        path = IMAGES / f"{name}.svg"
        figure.savefig(path, metadata={"Date": None}, pad_inches=0.08)
        lines = path.read_text("utf-8").splitlines()
        path.write_text("\n".join(line.rstrip() for line in lines) + "\n", "utf-8")
