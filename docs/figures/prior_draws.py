"""Draws docs/images/prior_draws.svg: draws from the prior miss the codes that explain x."""

import numpy as np
from drawing import LIGHT_BLUE, LIGHT_VERMILION, svg

from tinyvae.engine.gaussian import log_density
from tinyvae.training.plots import BLUE, GREY, VERMILION, WIDTH

X, VARIANCE = 1.0, 0.01  # every number of the example; the variance of the sharp decoder
DIMENSIONS = {1: GREY, 2: BLUE, 5: VERMILION, 10: "#832db6"}
DRAWS = np.unique(np.logspace(0, 5, 16).astype(int))
REPEATS = 40

rng = np.random.default_rng(0)
log_variance = np.log(VARIANCE)
log_p = log_density(X, 0.0, np.log(1 + VARIANCE))  # of one number


def errors(dimensions):
    """log of the mean of p(x|z) over draws from the prior, minus log p(x): (repeats, draws)."""
    rows = []
    for _ in range(REPEATS):
        z = rng.standard_normal((DRAWS[-1], dimensions), dtype=np.float32)
        log_px = log_density(X, z, log_variance).sum(axis=1, dtype=np.float64)
        sums = np.logaddexp.accumulate(log_px)
        rows.append(sums[DRAWS - 1] - np.log(DRAWS) - dimensions * log_p)
    return np.array(rows)


with svg("prior_draws", WIDTH, 2.7) as figure:
    left, right = figure.subplots(1, 2)
    z = np.linspace(-3.2, 3.2, 321)
    prior = np.exp(log_density(z, 0.0, 0.0))
    posterior = np.exp(log_density(z, X / (1 + VARIANCE), np.log(VARIANCE / (1 + VARIANCE))))
    left.fill_between(z, prior, color=LIGHT_BLUE, lw=0)
    left.plot(z, prior, color=BLUE)
    left.fill_between(z, posterior, color=LIGHT_VERMILION, lw=0)
    left.plot(z, posterior, color=VERMILION)
    left.plot(rng.standard_normal(30), np.full(30, -0.12), "|", ms=6, color=BLUE)
    left.text(-3.1, 0.55, "prior p(z)", color=BLUE)
    left.text(1.4, 3.2, "codes that\nexplain x = 1:\np(z|x)", color=VERMILION, va="center")
    left.text(-3.1, -0.55, "30 draws from the prior", color=BLUE, fontsize=7)
    left.set(title="one dimension", xlabel="z", ylim=(-0.8, 4.2), ylabel="density")
    for dimensions, color in DIMENSIONS.items():
        low, middle, high = np.quantile(errors(dimensions), (0.1, 0.5, 0.9), axis=0)
        right.fill_between(DRAWS, low, high, color=color, alpha=0.15, lw=0)
        right.plot(DRAWS, middle, color=color, label=f"L = {dimensions}")
    right.axhline(0, color="black", lw=0.8)
    right.set(title="estimate minus log p(x), in nats", xlabel="draws from the prior")
    right.set(xscale="log", ylim=(-210, 8), xlim=(1, 1e5))
    right.legend(loc="lower right")
