"""Draws gradient_spread.svg and std_mistake.svg of chapter 7 in docs/images/."""

import numpy as np
from drawing import svg

from tinyvae.engine.gaussian import kl_to_standard, log_density
from tinyvae.training.plots import BLUE, GREY, VERMILION, WIDTH

X = 1.0  # the example of the toy; f(z) = -(X - z)^2 / 2 in each dimension, and q = N(0, 1)
DRAWS = 100_000


def draws(dimensions):
    """Both estimates of the derivative with respect to the first mu, for every draw."""
    z = np.random.default_rng(0).standard_normal((DRAWS, dimensions))
    return X - z[:, 0], -((X - z) ** 2).sum(axis=1) / 2 * z[:, 0]


with svg("gradient_spread", WIDTH, 2.6) as figure:
    one, twenty, growth = figure.subplots(1, 3)
    for axes, dimensions, reach, count in ((one, 1, 7.0, 41), (twenty, 20, 60.0, 101)):
        path, score = draws(dimensions)
        bins = np.linspace(-reach, reach, count)
        axes.hist(path, bins, density=True, histtype="step", color=BLUE, lw=1.2)
        axes.hist(score, bins, density=True, histtype="step", color=VERMILION, lw=1.2)
        axes.axvline(1, color=GREY, lw=0.8, ls="--")
        title = f"{dimensions} dimension{'s' if dimensions > 1 else ''}"
        axes.set(title=title, xlabel="one estimate", xlim=(-reach, reach), yticks=())
        axes.spines["left"].set_visible(False)
        print(f"{title}: variances {path.var():.2f} {score.var():.2f}")
    d = np.geomspace(1, 1000, 50)
    growth.loglog(d, d**2 + 3.5 * d + 3, color=VERMILION)
    growth.loglog(d, 1.5 * d + 3, color=VERMILION, ls="--")
    growth.loglog(d, np.ones(50), color=BLUE)
    growth.text(3, 3e4, "score function", color=VERMILION, fontsize=8)
    growth.text(40, 17, "with baseline", color=VERMILION, fontsize=8)
    growth.text(5, 1.35, "reparameterized", color=BLUE, fontsize=8)
    growth.set(title="variance", xlabel="dimensions", ylim=(0.5, 2e6))

with svg("std_mistake", WIDTH, 2.5) as figure:
    bound, codes = figure.subplots(1, 2)
    variance = np.linspace(0.05, 1.4, 136)
    mu, logvar = X / 2, np.log(variance)
    rest = log_density(X, mu, 0.0) - kl_to_standard(mu, logvar)
    log_p = log_density(X, 0.0, np.log(2))
    bound.plot(variance, rest - variance / 2, color=BLUE)
    bound.plot(variance, rest - variance**2 / 2, color=VERMILION)
    bound.axhline(log_p, color="black", lw=1)
    bound.text(1.4, log_p + 0.015, "log p(x)", ha="right")
    bound.text(0.62, -1.36, "exp(logvar) as std", color=VERMILION, fontsize=8)
    bound.text(0.55, -1.67, "right", color=BLUE, fontsize=8)
    bound.set(title='the "ELBO" of the toy', xlabel=r"$\sigma^2$ = exp(logvar)", ylabel="nats",
              ylim=(-2.05, -1.28))  # fmt: skip
    z = np.linspace(-3.5, 3.5, 141)
    codes.plot(z, np.exp(log_density(z, 0.0, 0.0)), color=BLUE)
    codes.plot(z, np.exp(log_density(z, 0.0, np.log(0.75))), color=VERMILION)
    codes.text(1.7, 0.15, "prior", color=BLUE, fontsize=8)
    codes.text(0.75, 0.4, "codes of all x\nwith the mistake", color=VERMILION, fontsize=8)
    codes.set(title="where the codes lie", xlabel="z", ylabel="density", ylim=(0, 0.5))
