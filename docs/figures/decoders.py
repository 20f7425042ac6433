"""Draws bernoulli.svg and gaussian_decoder.svg of chapter 5 in docs/images/."""

import numpy as np
from drawing import LIGHT_GREY, svg

from tinyvae.engine.likelihoods import _bernoulli_log_prob
from tinyvae.training.plots import BLUE, GREY, VERMILION, WIDTH

GREY_LEVEL = 0.3
# MNIST's test images in nats per image: a run of examples/train_mnist.py, and the floor of the data
FLOOR, RECONSTRUCTION, KL = 45.5, 75.5, 22.5
D = 784


def entropy(x):
    return -(x * np.log(x) + (1 - x) * np.log(1 - x))


def gaussian_loss(mse, sigma2):
    """-log p(x|z) of D pixels with this mean squared error."""
    return D / 2 * (np.log(2 * np.pi * sigma2) + mse / sigma2)


with svg("bernoulli", WIDTH, 2.7) as figure:
    left, middle, right = figure.subplots(1, 3, width_ratios=(5, 4, 2.6))
    t = np.linspace(-5, 5, 201)
    for x, color, style, where in (
        (1.0, BLUE, "-", (-3.7, -4.3)),
        (0.0, VERMILION, "-", (1.6, -4.3)),
        (GREY_LEVEL, "black", "--", (-5.0, -0.8)),
    ):
        left.plot(t, _bernoulli_log_prob(x, t), style, color=color)
        left.text(*where, f"x = {x:g}", color=color)
    best = np.log(GREY_LEVEL / (1 - GREY_LEVEL))
    left.plot(best, -entropy(GREY_LEVEL), "o", color="black", ms=5)
    left.set(title="log p of one pixel", xlabel="logit t", ylabel="nats", ylim=(-5.2, 0.2))

    x = np.linspace(1e-6, 1 - 1e-6, 201)
    middle.fill_between(x, entropy(x), color=LIGHT_GREY, lw=0)
    middle.plot(x, entropy(x), color=GREY)
    middle.plot(GREY_LEVEL, entropy(GREY_LEVEL), "o", color="black", ms=5)
    middle.text(GREY_LEVEL + 0.04, 0.55, f"{entropy(GREY_LEVEL):.2f}", va="center")
    middle.text(0.5, 0.25, "no model gets\nbelow this", ha="center", va="center", fontsize=8)
    middle.set(title="least loss of one pixel", xlabel="grey level x", ylim=(0, 0.76))

    parts = (
        (FLOOR, GREY, "floor"),
        (RECONSTRUCTION - FLOOR, BLUE, "the rest of the\nreconstruction"),
        (KL, VERMILION, "KL"),
    )
    bottom = 0.0
    for height, color, name in parts:
        right.bar(0, height, 0.8, bottom, color=color)
        right.text(0, bottom + height / 2, f"{height:.1f}", ha="center", va="center", color="white")
        right.text(0.5, bottom + height / 2, name, va="center", fontsize=8, color=color)
        bottom += height
    right.set(title="one VAE", xlim=(-0.4, 2.2), xticks=(), ylabel="nats per image")
    right.spines["bottom"].set_visible(False)

with svg("gaussian_decoder", WIDTH, 2.7) as figure:
    left, right = figure.subplots(1, 2)
    sigma2 = np.geomspace(2e-3, 2, 200)
    for mse, color, name, where in (
        (0.1, VERMILION, "mean squared error 0.1", (0.023, 1400)),
        (0.03, BLUE, "0.03", (0.0045, 1500)),
        (0.01, GREY, "0.01", (0.0026, 120)),
    ):
        left.semilogx(sigma2, gaussian_loss(mse, sigma2), color=color)
        left.plot(mse, gaussian_loss(mse, mse), "o", color=color, ms=5)
        left.text(*where, name, color=color)
    left.set(title="-log p(x|z) of 784 pixels", xlabel=r"$\sigma_x^2$", ylabel="nats",
             ylim=(-900, 2000))  # fmt: skip

    mse = 0.03
    with_constant, without = gaussian_loss(mse, sigma2), D / 2 * mse / sigma2
    right.semilogx(sigma2, with_constant, color=BLUE)
    right.semilogx(sigma2, without, color=VERMILION, ls="--")
    right.plot(mse, gaussian_loss(mse, mse), "o", color=BLUE, ms=5)
    right.text(0.3, 620, "complete", color=BLUE, ha="right")
    right.text(0.012, 1300, "without the constant", color=VERMILION)
    right.set(title="mean squared error 0.03", xlabel=r"$\sigma_x^2$", ylim=(-900, 2000))
