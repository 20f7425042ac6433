"""The figure of examples/hvae.py: the KL of each layer, and images of which one layer stays."""

import numpy as np
from matplotlib.patches import Patch

from tinyvae.training import plots

SHADES = (plots.BLUE, "#56B4E9", "#F0E442", plots.VERMILION, "#000000")  # of z_1 to z_5
TITLES = (
    "each row: one $z_2$,\n$z_1$ drawn anew",
    "each row: one noise of $z_1$,\n$z_2$ drawn anew",
    "both drawn anew",
)


def draw(results, pictures, path):
    """Bars for every model in results {name: rows of `measure`}, above three sheets of images.

    pictures: three arrays (rows, columns, H, W), as TITLES says.
    """
    with plots.page(path, plots.WIDTH, 6.3) as figure:
        above, below = figure.subfigures(2, 1, height_ratios=(3.7, 2.6))
        axes = above.subplots()
        for y, rows in enumerate(results.values()):
            kl, units = (_mean(rows, key) for key in ("kl", "active_units"))
            style = {"color": SHADES[: len(kl)], "ec": "k", "lw": 0.4}
            axes.barh(np.full(len(kl), y), kl, left=np.cumsum(kl) - kl, **style)
            text = f"{_mean(rows, 'nll'):.1f}   ({', '.join(f'{n:.0f}' for n in units)})"
            axes.annotate(text, (kl.sum(), y), (4, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(results)), results)
        axes.set_ylim(len(results) - 0.4, -0.6)
        axes.set_xlim(0, 1.45 * max(_mean(rows, "kl").sum() for rows in results.values()))
        axes.set_xlabel(
            "KL of each layer (nats); beside the bar: negative log-likelihood (active units)"
        )
        keys = [
            Patch(fc=shade, ec="k", lw=0.4, label=f"$z_{i}$") for i, shade in enumerate(SHADES, 1)
        ]
        above.legend(handles=keys, loc="outside upper center", ncols=5)
        sheets = below.subplots(1, 3, gridspec_kw={"wspace": 0.1})
        for axes, images, title in zip(sheets, pictures, TITLES, strict=True):
            plots.show(axes, plots.mosaic(images, gap=2))
            axes.set_title(title, size=8)


def _mean(rows, key):
    return np.mean([row[key] for row in rows], axis=0)
