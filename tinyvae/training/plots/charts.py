"""Figures of a run's numbers: the loss, the codes and the KL of each latent dimension."""

import numpy as np
from matplotlib import colormaps, patheffects
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch
from matplotlib.ticker import MaxNLocator

from tinyvae.training.plots.drawing import (
    BLUE,
    GREY,
    TEN,
    VERMILION,
    WIDTH,
    checked,
    label_keys,
    page,
)

UNIT = "nats per example"


def loss_curves(history, path, title, objective="total", terms=None):
    """Draw the total and each loss term over the epochs, training beside test, in nats per example.

    objective: what the total is called. terms: the names X of what is drawn beside it; None: those
    of all columns train_X of the first row, without train_mse.
    history: a non-empty list of rows (dicts) with epoch and, for the total and each term X, train_X
    and test_X. A model with a single term has one panel, because its total is that term.
    Raises ValueError for an empty history or a missing column.
    """
    if not history:
        raise ValueError("history must have at least one epoch, got none")
    if terms is None:
        names = [key.removeprefix("train_") for key in history[0] if key.startswith("train_")]
        terms = [name for name in names if name not in ("total", "mse")]
    keys = ["epoch"] + [f"{part}_{x}" for x in ["total", *terms] for part in ("train", "test")]
    missing = [key for key in keys if any(key not in row for row in history)]
    if missing:
        raise ValueError(f"every row of history needs {missing}, got {sorted(history[0])}")
    column = {key: np.array([row[key] for row in history], dtype=float) for key in keys}

    panels = {term: "KL" if term == "kl" else term.replace("_", " ") for term in terms}
    if len(terms) == 1:
        panels = {terms[0]: f"loss = {panels[terms[0]]}"}
    else:
        panels = {"total": objective} | panels
    wide = min(3, len(panels))  # panels side by side
    rows = -(-len(panels) // wide)
    epoch = column["epoch"]
    with page(path, WIDTH if wide > 1 else 4, 2.3 * rows + 0.5) as figure:
        figure.suptitle(title)
        grid = figure.subplots(rows, wide, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.remove()
        for axes, (name, heading) in zip(grid.flat, panels.items(), strict=False):
            for part, label, mark, color in (
                ("train", "train (mean over the epoch)", "o-", BLUE),
                ("test", "test", "s--", VERMILION),
            ):
                axes.plot(epoch, column[f"{part}_{name}"], mark, color=color, label=label)
            axes.set(title=heading, xlabel="epoch", xlim=(epoch[0] - 0.5, epoch[-1] + 0.5))
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
            axes.grid(True)
        for axes in grid[:, 0]:
            axes.set_ylabel(UNIT)
        figure.legend(handles=grid[0, 0].lines, loc="outside lower center", ncols=2)


def latent_scatter(codes, labels, path, title, axes_names=("z[0]", "z[1]")):
    """Draw codes (n, 2) as points coloured by their class: labels (n,), integers, or None.

    Up to ten classes have a legend, more have a colour bar. Some points, far enough apart, are
    drawn as the number of their class, for readers who do not see the colours.
    The circles of radius 1 and 2 contain 39 and 86 percent of the prior N(0, I).
    Raises ValueError for other shapes or labels.
    """
    codes = checked("codes", codes, "n", 2)
    if labels is not None:
        labels = checked("labels", labels, len(codes))
        if labels.dtype.kind not in "iu":
            raise ValueError(f"labels must be integers, got {labels.dtype}")
    size = np.clip(20000 / len(codes), 3, 20)
    with page(path, WIDTH, 6) as figure:
        axes = figure.subplots()
        axes.set_aspect("equal")
        points = axes.scatter(*codes.T, s=size, color=BLUE, linewidths=0)
        keys = []
        for radius, line in ((1, "-"), (2, "--")):
            axes.add_patch(Circle((0, 0), radius, fill=False, lw=0.8, ls=line))
            keys.append(Line2D([], [], color="k", lw=0.8, ls=line, label=f"N(0, I), {radius}σ"))
        axes.set(title=title, xlabel=axes_names[0], ylabel=axes_names[1])
        if labels is not None:
            points.set_color(_class_colours(axes, labels))
            _write_some(axes, codes, labels)
        figure.legend(handles=keys, loc="outside lower center", ncols=2)


def kl_bars(kl, active, path, title):
    """Draw the KL of each latent dimension, kl (L,) in nats per example, from large to small.

    The horizontal axis names the dimensions by their index in the code. active (L,), booleans, says
    which dimensions the model uses.
    Raises ValueError for other shapes.
    """
    kl = checked("kl", kl, "L")
    active = checked("active", active, len(kl)).astype(bool)
    order = np.argsort(-kl, kind="stable")
    place = np.arange(len(kl))
    on = active[order]
    with page(path, np.clip(2 + 0.22 * len(kl), 4, 8), 2.8) as figure:
        axes = figure.subplots()
        axes.bar(place[on], kl[order][on], color=BLUE)
        axes.bar(place[~on], kl[order][~on], color=GREY)
        ground = {"fc": "0.95", "ec": "0.75", "hatch": "///", "lw": 0}
        for i in place[~on]:
            axes.axvspan(i - 0.5, i + 0.5, zorder=0, **ground)
        step = -(-len(kl) // 64)
        some = f" (one in {step} is named)" if step > 1 else ""
        axes.set_xticks(place[::step], order[::step], rotation=90 if len(kl) > 30 else 0)
        axes.set(xlim=(-0.6, len(kl) - 0.4), ylim=(0, max(0.1, 1.05 * kl.max())))
        axes.set(title=title, xlabel=f"index i of the latent dimension z[i]{some}")
        axes.set_ylabel(f"KL ({UNIT})")
        keys = [Patch(color=BLUE, label=f"active ({on.sum()})")]
        keys += [Patch(**ground, label=f"inactive ({(~on).sum()})")]
        total = f"total KL {kl.sum():.1f} nats"
        figure.legend(handles=keys, title=total, loc="outside lower center", ncols=2)


def code_usage(usage, path, title):
    """Draw the share of each code of a codebook in all codes, usage (K,), from large to small.

    A dashed line is at 1 / K, where all codes would be used equally often.
    Raises ValueError for another shape, and unless some code is used.
    """
    usage = checked("usage", usage, "K")
    if not usage.sum() > 0:
        raise ValueError("usage must be above 0 for at least one code")
    share = np.sort(usage / usage.sum())[::-1]
    used, count = int((share > 0).sum()), len(share)
    perplexity = np.exp(-(share[:used] * np.log(share[:used])).sum())
    with page(path, WIDTH, 2.8) as figure:
        axes = figure.subplots()
        axes.bar(np.arange(1, count + 1), 100 * share, width=1, color=BLUE, label="share of a code")
        equal = f"1/{count}: all equally often"
        axes.axhline(100 / count, color=VERMILION, ls="--", label=equal)
        axes.set(title=title, xlim=(0.5, count + 0.5), ylabel="share of all codes (percent)")
        axes.set_xlabel("codes of the codebook, sorted by their share")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(title=f"in use: {used} of {count}; perplexity {perplexity:.1f}")


def _class_colours(axes, labels):
    """Draw a legend or a colour bar of the classes; return the colour of each label (n, ...)."""
    classes, rank = np.unique(labels, return_inverse=True)
    if len(classes) > 10:
        colours = colormaps["viridis"](np.linspace(0, 0.95, len(classes)))
        norm = BoundaryNorm(np.arange(len(classes) + 1) - 0.5, len(classes))
        steps = ScalarMappable(norm, ListedColormap(colours))
        bar = axes.figure.colorbar(steps, ax=axes, shrink=0.6, label="class")
        named = slice(None, None, -(-len(classes) // 26))
        bar.set_ticks(np.arange(len(classes))[named], labels=classes[named])
        bar.ax.tick_params(length=0)
        bar.ax.minorticks_off()
        return colours[rank]
    digits = np.isin(classes, np.arange(10)).all()  # the digit i always has the colour TEN[i]
    colours = np.array(TEN)[classes if digits else np.arange(len(classes))]
    keys = label_keys(classes, colours)
    axes.legend(handles=keys, title="class", loc="center left", bbox_to_anchor=(1, 0.5))
    return colours[rank]


def _write_some(axes, codes, labels):
    """Write the labels of some of the codes (n, 2), chosen so that the numbers do not overlap."""
    halo = [patheffects.withStroke(linewidth=2, foreground="white")]
    text = {"size": 9, "weight": "bold", "ha": "center", "va": "center", "path_effects": halo}
    side = max(np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim()))
    longest = max(len(str(label)) for label in labels)
    distance = side * (0.03 + 0.02 * longest)
    step = -(-len(codes) // 1000)
    taken = []
    for code, label in zip(codes[::step], labels[::step], strict=True):
        if all(np.hypot(*(code - other)) > distance for other in taken):
            axes.text(*code, label, **text)
            taken.append(code)
