"""Draws docs/images/mixture.svg: p(x) of the toy as a sum over five codes and as the integral."""

import numpy as np
from drawing import LIGHT_BLUE, svg

from tinyvae.engine.gaussian import log_density
from tinyvae.training.plots import BLUE, GREY, VERMILION, WIDTH

X = 1.0  # the example of the chapter
CODES = np.arange(-2.0, 3.0)
x = np.linspace(-5, 5, 161)


def density(value, mean, variance):
    return np.exp(log_density(value, mean, np.log(variance)))


with svg("mixture", WIDTH, 2.7) as figure:
    left, right = figure.subplots(1, 2, sharey=True)
    total = np.zeros_like(x)
    for z in CODES:
        part = density(z, 0.0, 1.0) * density(x, z, 1.0)
        total += part
        left.fill_between(x, part, color=LIGHT_BLUE, alpha=0.6, lw=0)
        left.plot(x, part, color=BLUE, lw=0.9)
        side = {-1: "right", 0: "center", 1: "left"}[np.sign(z)]
        where = z + (0.45 if abs(z) == 1 else 0.8) * np.sign(z), part.max() + 0.006
        left.text(*where, f"z = {z:.0f}", ha=side, fontsize=8, color=BLUE)
        left.plot(X, density(z, 0.0, 1.0) * density(X, z, 1.0), "o", color=BLUE)
    left.axvline(X, color=GREY, lw=0.8, ls=":")
    left.text(X + 0.1, 0.3, "x = 1", color=GREY)
    left.set(title="five parts: p(z) p(x|z)", xlabel="x", ylim=(0, 0.36), ylabel="density")
    right.plot(
        x, density(x, 0.0, 2.0), color=VERMILION, lw=3, alpha=0.5, label="p(x), the integral"
    )
    right.plot(x, total, color=BLUE, label="sum of the five parts")
    right.plot(X, density(X, 0.0, 2.0), "o", color=BLUE)
    right.annotate(
        "p(1) = 0.2197\nsum: 0.2194",
        (X, density(X, 0.0, 2.0)),
        (2.0, 0.165),
        arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.8},
        fontsize=8,
    )
    right.legend(loc="upper left", bbox_to_anchor=(0, 1.04))
    right.set(title="their sum", xlabel="x")
