"""Draws docs/images/gaussian_kl.svg: the KL of one dimension to N(0, 1), and why expm1."""

import numpy as np
from drawing import svg

from tinyvae.engine.gaussian import kl_to_standard
from tinyvae.training.plots import BLUE, GREY, VERMILION, WIDTH

LEVELS = (0.2, 0.5, 1, 2, 3, 4)
FILLS = "white #eff5fb #e1edf7 #d0e2f2 #bcd6ec #a4c7e4 #8ab7da".split()

with svg("gaussian_kl", WIDTH, 3.0) as figure:
    left, right = figure.subplots(1, 2, width_ratios=(6, 5))
    mu, logvar = np.linspace(-3, 3, 121), np.linspace(-6, 2.5, 121)
    kl = kl_to_standard(mu[None], logvar[:, None])
    left.contourf(mu, logvar, kl, (0, *LEVELS, 20), colors=FILLS)
    lines = left.contour(mu, logvar, kl, LEVELS, colors="black", linewidths=0.7)
    spots = [(0, -0.95), (0, -1.85), (0, -2.95), (0, -4.99), (1.41, -5), (2.24, -4)]
    left.clabel(lines, fmt="%g", fontsize=8, manual=spots)
    left.plot(0, 0, "+", color=VERMILION, ms=6, mew=1.5)
    left.text(0, 0.14, "prior", color=VERMILION, fontsize=8, ha="center")
    left.set(title="KL in nats", xlabel=r"$\mu$", ylabel=r"logvar = $\log \sigma^2$")

    t = np.linspace(-1e-3, 1e-3, 161, dtype=np.float32)
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    naive = half * (np.exp(t) - one - t)
    right.plot(1e3 * t, 1e7 * naive, ".", color=VERMILION, ms=3)
    right.plot(1e3 * t, 1e7 * kl_to_standard(zero, t), color=BLUE)
    right.axhline(0, color=GREY, lw=0.6)
    right.text(-0.55, 2.45, "exp(logvar) - 1 - logvar", color=VERMILION, fontsize=8)
    right.text(-0.55, 2.15, "expm1(logvar) - logvar", color=BLUE, fontsize=8)
    right.set(
        title=r"$\mu = 0$, in float32",
        xlabel=r"logvar, in units of $10^{-3}$",
        ylabel=r"KL, in units of $10^{-7}$ nats",
    )
