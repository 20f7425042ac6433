"""Contours of the true posterior and of its approximations over two latent dimensions."""

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

SHARES = (0.95, 0.5)  # probability inside the outer and inside the inner contour
GREYS = ("0.87", "0.68")


def draw_contours(axes, lattice, colours):
    """Draw a quadrature.Lattice: the true posterior shaded, each q as lines; return the legend.

    colours: {name of q: colour}, for functions 1, 2, ... of the lattice. A contour is the border of
    the smallest region that has a probability of 50 or 95 percent. For a Gaussian q the contours
    are ellipses, at 1.18 and 2.45 standard deviations.
    """
    levels = [[lattice.level(j, share) for share in SHARES] for j in range(len(lattice.log_f))]
    inside = (lattice.log_f > np.array(levels)[:, :1]).any(axis=0)
    low, high = lattice.z[inside].min(axis=0), lattice.z[inside].max(axis=0)
    centre, half = (low + high) / 2, 0.55 * (high - low).max()
    near = (np.abs(lattice.z - centre) < 1.2 * half).all(axis=1)  # the rest is not visible
    z, log_f = lattice.z[near].T, lattice.log_f[:, near]
    axes.tricontourf(*z, log_f[0], levels=[*levels[0], log_f[0].max() + 1], colors=GREYS)
    for values, level, colour in zip(log_f[1:], levels[1:], colours.values(), strict=True):
        axes.tricontour(*z, values, levels=level, colors=colour, linestyles="-", linewidths=1)
    axes.set(xlim=centre[0] + half * np.array([-1, 1]), ylim=centre[1] + half * np.array([-1, 1]))
    axes.set(xlabel="z[0]", ylabel="z[1]", aspect="equal")
    axes.locator_params(nbins=2, steps=[1, 2, 5, 10])  # few labels, so that they do not overlap
    axes.tick_params(labelsize=7)
    lines = [Line2D([], [], color=colour, label=name) for name, colour in colours.items()]
    return [Patch(color=GREYS[1], label="true posterior p(z|x)"), *lines]
