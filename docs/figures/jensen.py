"""Draws docs/images/jensen.svg: the logarithm of a mean is at least the mean of the logarithms."""

import numpy as np
from drawing import svg

from tinyvae.engine.gaussian import log_density
from tinyvae.training.plots import BLUE, GREY, VERMILION

Z = np.array([-1.0, 1.0])  # two codes
weights = np.exp(log_density(1.0, Z, 0.0))  # p(x|z) at x = 1
mean, mean_log = weights.mean(), np.log(weights).mean()

with svg("jensen", 4.8, 2.9) as figure:
    axes = figure.subplots()
    w = np.linspace(0.03, 0.53, 200)
    axes.plot(w, np.log(w), color=BLUE)
    axes.text(0.5, np.log(0.5) + 0.13, "log w", color=BLUE)
    axes.plot(weights, np.log(weights), "o-", color=VERMILION, ms=5)
    for one, name, dy in zip(weights, ("z = -1", "z = 1"), (-0.05, -0.22), strict=True):
        axes.text(one + 0.008, np.log(one) + dy, f"{name}: w = {one:.3f}", fontsize=8, va="top")
    axes.plot([mean, mean], [mean_log, np.log(mean)], color=GREY, lw=1, ls="--")
    axes.plot(mean, np.log(mean), "o", color=BLUE, ms=5)
    axes.plot(mean, mean_log, "o", color=VERMILION, ms=5)
    axes.text(mean - 0.008, np.log(mean) + 0.1, f"log of the mean\n{np.log(mean):.3f}",
              color=BLUE, ha="right")  # fmt: skip
    axes.text(mean + 0.012, mean_log - 0.05, f"mean of the logs\n{mean_log:.3f}", color=VERMILION,
              va="top")  # fmt: skip
    axes.set(xlabel="w", ylabel="nats", xlim=(0, 0.55), ylim=(-3.4, -0.5))
