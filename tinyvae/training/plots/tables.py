"""Figures of vectors (tables): how well each column is reconstructed and sampled."""

import numpy as np

from tinyvae.training.plots.drawing import BLUE, VERMILION, WIDTH, checked, page, plain

MOST_BARS = 100
MOST_HISTOGRAMS = 32
ABREAST = 4  # histograms in a row


def column_r2(r2, columns, path, title):
    """Draw the reconstruction quality of each column as bars from best to worst.

    r2 (D,): 1 - squared error / variance of the column. 1 is perfect, 0 is as good as the column's
    mean, below 0 is worse than the mean. None or NaN: the column does not vary, and so it has none;
    such columns come first. columns: D names, or None for the numbers of the columns.
    Bars end at -1; the number beside a bar is its value. If there are more than 100 columns, the
    100 with the smallest R^2 are drawn and the title says so.
    Raises ValueError for other shapes.
    """
    r2 = checked("r2", np.array(r2, dtype=float), "D")  # None becomes NaN
    names = _names(columns, len(r2))
    order = np.argsort(-np.nan_to_num(r2, nan=np.inf), kind="stable")[-MOST_BARS:]
    if len(order) < len(r2):
        title = f"{title}\n(the {len(order)} lowest of {len(r2)} columns)"
    panels = -(-len(order) // 50)
    rows = -(-len(order) // panels)
    longest = 40 if panels == 1 else 24
    low = -1 if (r2 < 0).any() else 0
    cut = "\n(bars end at \N{MINUS SIGN}1)" if (r2 < -1).any() else ""
    with page(path, WIDTH if panels > 1 else 5, 0.9 + 0.16 * rows) as figure:
        figure.suptitle(title)
        for panel, axes in enumerate(figure.subplots(1, panels, squeeze=False)[0]):
            shown = order[panel * rows : (panel + 1) * rows]
            place = np.arange(len(shown))
            values = r2[shown]
            bars = values.clip(low, 1)
            axes.barh(place, bars, color=np.where(values < 0, VERMILION, BLUE))
            for y, bar, value in zip(place, bars, values, strict=True):
                text = f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
                axes.annotate(
                    "constant" if np.isnan(value) else text,
                    (np.fmax(bar, 0), y),
                    (2, 0),
                    textcoords="offset points",
                    va="center",
                ).set_fontsize(8)
            axes.axvline(0, color="k", lw=0.8)
            axes.set_yticks(place, [_short(names[i], longest) for i in shown])
            axes.tick_params(axis="y", length=0)
            axes.set(xlim=(low, 1.35), ylim=(rows - 0.4, -0.6))
            axes.set_xticks(np.arange(low, 1.1, 0.5))
            axes.grid(True, axis="x")
            axes.set_xlabel("R² = 1 \N{MINUS SIGN} squared error / variance" + cut)


def histograms(data, samples, columns, path, title):
    """Draw the histogram of each column of samples (M, D) over that of data (N, D).

    Heights are shares of the examples. columns: D names, or None for the numbers of the columns. If
    there are more than 32 columns, the first 32 are drawn and the title says so. The bins cover the
    central 99 percent of the data and a tenth more on either side; values beyond them count in the
    outermost bins.
    Raises ValueError for other shapes.
    """
    data = checked("data", data, "N", "D")
    samples = checked("samples", samples, "M", data.shape[1])
    names = _names(columns, data.shape[1])
    count = min(len(names), MOST_HISTOGRAMS)
    if count < len(names):
        title = f"{title}\n(the first {count} of {len(names)} columns)"
    rows = -(-count // ABREAST)
    wide = -(-count // rows)
    with page(path, WIDTH, 1.05 * rows + 0.8) as figure:
        figure.suptitle(title)
        grid = figure.subplots(rows, wide, squeeze=False)
        for i, axes in enumerate(grid.flat):
            if i >= count:
                axes.remove()
                continue
            edges = _bins(data[:, i])
            for values, style in (
                (data, {"fill": True, "color": BLUE, "alpha": 0.4, "label": "data"}),
                (samples, {"color": VERMILION, "lw": 1.2, "label": "samples"}),
            ):
                inside = values[:, i].clip(edges[0], edges[-1])
                share = np.histogram(inside, edges)[0] / len(values)
                axes.stairs(share, edges, **style)
            axes.set_title(_short(names[i], 28), size=8)
            axes.set(yticks=[], ylim=(0, None))
            axes.locator_params(axis="x", nbins=3)
        for axes in grid[:, 0]:
            axes.set_ylabel("share", size=8)
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)


def _names(columns, count):
    """Return the columns' names, or their numbers where columns is None."""
    if columns is None:
        return [f"column {i}" for i in range(count)]
    if len(columns) != count:
        raise ValueError(f"columns must be {count} names, got {len(columns)}")
    return [str(name) for name in columns]


def _short(name, longest):
    """Return name for a figure, its middle cut out if it has more than `longest` characters."""
    half = longest // 2
    return plain(name if len(name) <= longest else name[:half] + "…" + name[len(name) - half + 1 :])


def _bins(values):
    """Edges of the bins for values (N,): about sqrt(N) of them, from 6 to 30."""
    low, high = np.percentile(values, [0.5, 99.5])
    margin = 0.1 * (high - low) or 0.5
    count = int(np.clip(np.sqrt(len(values)), 6, 30))
    return np.linspace(low - margin, high + margin, count + 1)
