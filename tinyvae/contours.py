"""The true posterior and its approximations as contours over the latent plane, from a Lattice."""

import numpy as np

SHARES = (0.95, 0.5)  # of the mass: inside the outer and the inner contour
GREYS = ("0.85", "0.65")


def draw_contours(axes, lattice, colours):
    """Shade function 0 of a quadrature.Lattice, and draw the others as lines of these colours.

    Each contour is the border of the smallest region that holds the share of the mass, 50 and 95
    percent of it: for a Gaussian an ellipse, at 1.18 and 2.45 standard deviations.
    """
    levels = [[lattice.level(j, share) for share in SHARES] for j in range(len(lattice.log_f))]
    inside = (lattice.log_f > np.array(levels)[:, :1]).any(axis=0)
    low, high = lattice.z[inside].min(axis=0), lattice.z[inside].max(axis=0)
    centre, half = (low + high) / 2, 0.55 * (high - low).max()
    near = (np.abs(lattice.z - centre) < 1.2 * half).all(axis=1)  # as much as will be seen
    z, log_f = lattice.z[near].T, lattice.log_f[:, near]
    axes.tricontourf(*z, log_f[0], levels=[*levels[0], log_f[0].max() + 1], colors=GREYS)
    for values, level, colour in zip(log_f[1:], levels[1:], colours, strict=True):
        axes.tricontour(*z, values, levels=level, colors=colour, linestyles="-", linewidths=1)
    axes.set(xlim=centre[0] + half * np.array([-1, 1]), ylim=centre[1] + half * np.array([-1, 1]))
    axes.set_aspect("equal")
