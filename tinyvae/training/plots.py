"""Every figure, drawn from plain NumPy arrays and written as one PNG file each.

All take the data first, then the `path` to write and the `title` to print, and leave matplotlib's
global state (backend, settings, open figures) as they found it.
"""

from contextlib import contextmanager

import numpy as np
from matplotlib import patheffects, style
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch
from matplotlib.ticker import MaxNLocator

# Colours that stay apart for colour-blind readers: Okabe & Ito (2008) for pairs, and the ten of
# Petroff (2021, Accessible color sequences for data visualization, arXiv:2107.02270) for labels.
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#6b6b6b"
TEN = "#3f90da #ffa90e #bd1f01 #94a4a2 #832db6 #a96b59 #e76300 #b9ac70 #717581 #92dadd".split()

WIDTH = 6.5  # inches: the text block of a printed page
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


def loss_curves(history, path, title):
    """Draw total, reconstruction and KL over the epochs, training beside test, in nats per image.

    history: a non-empty list of rows (dicts) with epoch, and train_ and test_ before each of total
    (the negative ELBO, whatever was minimised), reconstruction, kl. An autoencoder has no KL, so
    its total is its reconstruction: one panel.
    Raises ValueError for an empty history or a missing key.
    """
    names = ("total", "reconstruction", "kl")
    if not history:
        raise ValueError("history must have at least one epoch, got none")
    keys = ["epoch"] + [f"{part}_{name}" for part in ("train", "test") for name in names]
    missing = [key for key in keys if any(key not in row for row in history)]
    if missing:
        raise ValueError(f"every row of history needs {missing}, got {sorted(history[0])}")
    column = {key: np.array([row[key] for row in history], dtype=float) for key in keys}

    if not (column["train_kl"].any() or column["test_kl"].any()):
        panels = {"reconstruction": "loss = reconstruction"}
    else:
        panels = {"total": "negative ELBO", "reconstruction": "reconstruction", "kl": "KL"}
    epoch = column["epoch"]
    with page(path, WIDTH if len(panels) > 1 else 4, 2.8) as figure:
        figure.suptitle(title)
        grid = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (name, heading) in zip(grid, panels.items(), strict=True):
            axes.plot(
                epoch,
                column[f"train_{name}"],
                "o-",
                color=BLUE,
                label="train (mean over the epoch)",
            )
            axes.plot(epoch, column[f"test_{name}"], "s--", color=VERMILION, label="test")
            axes.set(title=heading, xlabel="epoch", xlim=(epoch[0] - 0.5, epoch[-1] + 0.5))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axes.grid(True)
        grid[0].set_ylabel("nats per image")
        figure.legend(handles=grid[0].lines, loc="outside lower center", ncols=2)


def reconstructions(originals, reconstructed, path, title):
    """Draw originals above their reconstructions, both (n, 1, H, W) in [0, 1], at most 10 a row.

    Raises ValueError for other shapes.
    """
    originals = _expect("originals", originals, "n", 1, "H", "W")
    reconstructed = _expect("reconstructed", reconstructed, *originals.shape)
    n = len(originals)
    blocks = -(-n // 10)
    columns = -(-n // blocks)
    pairs = np.stack([originals, reconstructed])  # (2, n, 1, H, W)
    with page(path, WIDTH, 1.6 * blocks) as figure:
        for block, axes in enumerate(figure.subplots(blocks, 1, squeeze=False)[:, 0]):
            rows = pairs[:, block * columns : (block + 1) * columns, 0]
            rows = np.pad(rows, ((0, 0), (0, columns - rows.shape[1]), (0, 0), (0, 0)))
            show_rows(axes, rows, ["original", "reconstructed"])
        figure.axes[0].set_title(title)


def image_grid(images, path, title):
    """Draw images (n, 1, H, W) in [0, 1], such as samples from the prior, in a near-square grid.

    Raises ValueError for another shape.
    """
    images = _expect("images", images, "n", 1, "H", "W")
    n, _, height, width = images.shape
    columns = int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    cells = np.zeros((rows * columns, height, width))
    cells[:n] = images[:, 0]
    with page(path, *_sheet_size(rows, columns)) as figure:
        axes = figure.subplots()
        show(axes, mosaic(cells.reshape(rows, columns, height, width), gap=2))
        axes.set_title(title)


def interpolation(images, path, title):
    """Draw each row of images (rows, steps, 1, H, W) as a walk from its first image to its last.

    Raises ValueError for another shape.
    """
    images = _expect("images", images, "rows", "steps", 1, "H", "W")
    rows, steps, _, _, width = images.shape
    with page(path, *_sheet_size(rows, steps)) as figure:
        axes = figure.subplots()
        show(axes, mosaic(images[:, :, 0], gap=2))
        centres = _centres(steps, width, gap=2)
        axes.set_xticks([centres[0], centres[-1]], ["from", "to"])
        axes.xaxis.tick_top()
        axes.set_title(title)


def traversal(images, values, path, title, axes_names=("z[0]", "z[1]")):
    """Draw images (size, size, 1, H, W) decoded from a grid of codes, such as latent.quantile_grid.

    The first latent dimension takes the `values` (size,), which must increase, from left to right;
    the second takes them from bottom to top, so that row 0 of the images holds the largest value.
    Raises ValueError for other shapes or values that do not increase.
    """
    values = _expect("values", values, "size")
    if (np.diff(values) <= 0).any():
        raise ValueError(f"values must increase from left to right, got {values}")
    images = _expect("images", images, len(values), len(values), 1, "H", "W")
    size, _, _, height, width = images.shape
    labels = [f"{value:.2f}".replace("-", "\N{MINUS SIGN}") for value in values]
    with page(path, *_sheet_size(size, size)) as figure:
        axes = figure.subplots()
        show(axes, mosaic(images[:, :, 0], gap=0))
        axes.set_xticks(_centres(size, width, gap=0), labels, rotation=90)
        axes.set_yticks(_centres(size, height, gap=0), labels[::-1])
        axes.set(title=title, xlabel=axes_names[0], ylabel=axes_names[1])


def latent_scatter(codes, labels, path, title, axes_names=("z[0]", "z[1]")):
    """Draw codes (n, 2) as points coloured by their labels (n,), integers from 0 to 9.

    A few points, far enough apart, are drawn as their label, for readers without the colours.
    The circles of radius 1 and 2 hold 39 and 86 percent of the prior N(0, I).
    Raises ValueError for other shapes or labels.
    """
    codes = _expect("codes", codes, "n", 2)
    labels = _expect("labels", labels, len(codes))
    classes = np.unique(labels)
    if not np.isin(classes, np.arange(10)).all():
        raise ValueError(f"labels must be integers from 0 to 9, got {classes}")
    size = np.clip(20000 / len(codes), 3, 20)
    halo = [patheffects.withStroke(linewidth=2, foreground="white")]
    digit = {"size": 9, "weight": "bold", "ha": "center", "va": "center", "path_effects": halo}
    with page(path, WIDTH, WIDTH) as figure:
        axes = figure.subplots()
        axes.set_aspect("equal")
        axes.scatter(*codes.T, s=size, c=np.array(TEN)[labels.astype(int)], linewidths=0)
        few = slice(None, None, -(-len(codes) // 1000))
        for i in _spaced(codes[few], 0.05 * max(4, *np.ptp(codes, axis=0))):
            axes.text(*codes[few][i], f"{labels[few][i]:.0f}", **digit)
        keys = label_keys(classes.astype(int))
        for radius, line in ((1, "-"), (2, "--")):
            axes.add_patch(Circle((0, 0), radius, fill=False, lw=0.8, ls=line))
            keys.append(Line2D([], [], color="k", lw=0.8, ls=line, label=f"N(0, I), {radius}σ"))
        axes.legend(handles=keys, loc="center left", bbox_to_anchor=(1, 0.5))
        axes.set(title=title, xlabel=axes_names[0], ylabel=axes_names[1])


def kl_bars(kl, active, path, title):
    """Draw the KL of each latent dimension, kl (L,) in nats per image, as bars from large to small.

    The axis names the dimensions by their index in the code. active (L,), booleans, says which
    dimensions the model uses.
    Raises ValueError for other shapes.
    """
    kl = _expect("kl", kl, "L")
    active = _expect("active", active, len(kl)).astype(bool)
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
        axes.set_xticks(place[::step], order[::step], rotation=90 if len(kl) > 30 else 0)
        axes.set(xlim=(-0.6, len(kl) - 0.4), ylim=(0, max(0.1, 1.05 * kl.max())))
        axes.set(title=title, xlabel="index i of the latent dimension z[i]")
        axes.set_ylabel("KL (nats per image)")
        keys = [Patch(color=BLUE, label=f"active ({on.sum()})")]
        keys += [Patch(**ground, label=f"inactive ({(~on).sum()})")]
        total = f"total KL {kl.sum():.1f} nats"
        figure.legend(handles=keys, title=total, loc="outside lower center", ncols=2)


def label_keys(labels):
    """What a legend needs to say which label has which colour of TEN."""
    return [Line2D([], [], ls="", marker="o", ms=6, color=TEN[i], label=i) for i in labels]


@contextmanager
def page(path, width, height):
    """Yield an empty figure of so many inches; write it to `path` when its block ends well."""
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        figure.savefig(path)


def _expect(name, array, *shape):
    """Return `array` as NumPy's if it has that shape, where a word stands for any size above 0."""
    array = np.asarray(array)
    fits = array.ndim == len(shape) and all(
        have > 0 if isinstance(want, str) else have == want
        for have, want in zip(array.shape, shape, strict=True)
    )
    if not fits:
        raise ValueError(
            f"{name} must have shape ({', '.join(map(str, shape))}), got {array.shape}"
        )
    return array


def _spaced(points, distance):
    """Indices of points (n, 2), in order, each further than `distance` from those before it."""
    chosen = [0]
    for i in range(1, len(points)):
        if (np.hypot(*(points[chosen] - points[i]).T) > distance).all():
            chosen.append(i)
    return chosen


def _sheet_size(rows, columns):
    """Width and height in inches: a side of at most 1 for each image, and room for the words."""
    side = min(1, WIDTH / columns)
    return columns * side, rows * side + 0.6


def mosaic(images, gap):
    """Lay out images (rows, columns, H, W) as one, with `gap` blank pixels between neighbours."""
    rows, columns, height, width = images.shape
    cells = np.pad(images, ((0, 0), (0, 0), (0, gap), (0, gap)))
    sheet = cells.transpose(0, 2, 1, 3).reshape(rows * (height + gap), columns * (width + gap))
    return sheet[: len(sheet) - gap, : sheet.shape[1] - gap]


def _centres(count, length, gap):
    """Pixel coordinates of the middle of each of `count` images along one side of a mosaic."""
    return np.arange(count) * (length + gap) + (length - 1) / 2


def show(axes, sheet):
    """Draw grey levels in [0, 1] as dark ink on white paper, without ticks or frame."""
    axes.imshow(sheet, cmap="gray_r", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def show_rows(axes, images, names):
    """Draw images (rows, columns, H, W) in [0, 1], with a name before each row."""
    show(axes, mosaic(images, gap=2))
    axes.set_yticks(_centres(len(images), images.shape[2], gap=2), names)
