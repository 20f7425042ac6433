"""The figure of examples/flow.py: true posteriors with two kinds of q, and bounds and gaps."""

import numpy as np

from tinyvae.laboratory.contours import draw_contours
from tinyvae.training import plots

PANELS = 3  # images of each decoder: the smallest, the median and the largest gap of a Gaussian
COLOURS = {"best Gaussian q": plots.BLUE, "best q with an iaf flow": plots.VERMILION}
FUNCTIONS = [0, 2, 4]  # of a lattice of split_gap: p(x, z), the best Gaussian, the best iaf
MARKS = {
    "total": ("s", plots.GREY, "negative ELBO"),
    "nll": ("o", plots.BLUE, "−log p(x), by 500 draws"),
}
BARS = {"gaussian": plots.BLUE, "iaf": plots.VERMILION}


def draw(results, gaps, examples, path):
    """results, gaps: as examples/flow.py writes them; examples: {model: (images, lattices)}."""
    with plots.page(path, plots.WIDTH, 6.6) as figure:
        above, below = figure.subfigures(2, 1, height_ratios=(4.2, 2.4))
        rows = above.subplots(
            len(examples), 2 * PANELS, width_ratios=(3, 5) * PANELS, squeeze=False
        )
        for axes, (model, (images, lattices)) in zip(rows, examples.items(), strict=True):
            numbers = gaps[model]
            gaussian, flow = (_gap(numbers, name) for name in ("_gaussian", "_iaf"))
            order = np.argsort(gaussian)
            shown = order[np.linspace(0, len(order) - 1, PANELS).round().astype(int)]
            for n, (left, right) in zip(shown, axes.reshape(-1, 2), strict=True):
                plots.show(left, images[n, 0])
                lattice = lattices[n]
                legend = draw_contours(
                    right, lattice._replace(log_f=lattice.log_f[FUNCTIONS]), COLOURS
                )
                right.tick_params(axis="x", labelsize=5.5)
                right.set_title(f"{gaussian[n]:.3f} → {flow[n]:.3f}", fontsize=8)
            axes[0].set_ylabel(f"decoder trained\nwith q = {model}", fontsize=8)
        above.suptitle("gap of the best Gaussian → gap of the best iaf flow, in nats", fontsize=9)
        above.legend(handles=legend, loc="outside lower center", ncols=3)
        left, right = below.subplots(1, 2)
        _bounds(left, results)
        _gaps(right, gaps)


def _bounds(axes, results):
    """A point for each seed, and a line through the means."""
    places = np.arange(len(results))
    for key, (mark, colour, label) in MARKS.items():
        values = np.array([[row[key] for row in rows] for rows in results.values()])  # (kinds, n)
        axes.plot(places, values, mark, color=colour, ms=4, mfc="none")
        axes.plot(places, values.mean(axis=1), color=colour, lw=1, label=label)
    axes.set_xticks(places, results)
    axes.set(ylabel="nats per image", title="20 latent dimensions")
    axes.set_ylim(top=axes.get_ylim()[1] + 0.25 * np.ptp(axes.get_ylim()))
    axes.legend(loc="upper right")


def _gaps(axes, gaps):
    """The mean gap of the encoder's q, and of each kind of q when it is fitted to the images."""
    names = [
        key.removeprefix("elbo") for key in next(iter(gaps.values())) if key.startswith("elbo")
    ]
    for i, (model, numbers) in enumerate(gaps.items()):
        means = [_gap(numbers, name).mean() for name in names]
        places = np.arange(len(names)) + 0.4 * (i - 0.5)
        axes.bar(places, means, 0.36, color=BARS[model], label=f"decoder trained with q = {model}")
    axes.set_yscale("log")
    labels = [f"best\n{name[1:]}" if name else "encoder's\nq" for name in names]
    axes.set_xticks(range(len(names)), labels)
    axes.set(ylabel="log p(x) − ELBO (nats)", title="2 latent dimensions")
    axes.set_ylim(top=8 * axes.get_ylim()[1])
    axes.legend(loc="upper right")


def _gap(numbers, name):
    return np.subtract(numbers["log_p"], numbers[f"elbo{name}"])
