"""The figure of the gallery of bugs: images and numbers of wrong code beside the right code."""

import numpy as np
from matplotlib.ticker import MaxNLocator

from tinyvae.training.plots import BLUE, GREY, VERMILION, WIDTH, mosaic, page, show

MISTAKE = {"color": VERMILION, "marker": "s", "ls": "--"}
RIGHT = {"color": BLUE, "marker": "o"}


def draw(originals, pictures, numbers, path):
    """Draw rows of images, reconstructions beside samples, above four plots of numbers.

    originals: (n, H, W); pictures: {name: (2 n, H, W)}, n reconstructions and n samples; numbers:
    as examples/bugs.py writes them.
    """
    with page(path, WIDTH, 7.6) as figure:
        top, bottom = figure.subfigures(2, 1, height_ratios=[3.2, 4.4])
        _draw_images(top.subplots(1, 2), originals, pictures)
        (variance, kl), (bounds, relu) = bottom.subplots(2, 2)
        _draw_variance(variance, numbers)
        _draw_kl(kl, list(pictures)[:-1], numbers)
        _draw_bounds(bounds, numbers["bounds"])
        _draw_curves(relu, numbers["curves"])


def _draw_images(axes, originals, pictures):
    n, blank = len(originals), np.zeros_like(originals)
    rows = np.stack([np.concatenate([originals, blank]), *pictures.values()])
    halves = {"reconstructions of test digits": rows[:, :n], "decoded from N(0, I)": rows[:, n:]}
    height = originals.shape[1] + 2
    for ax, (title, half) in zip(axes, halves.items(), strict=True):
        show(ax, mosaic(half, gap=2))
        ax.set_title(title)
    names = ["test digits", *pictures]
    axes[0].set_yticks(np.arange(len(names)) * height + height / 2 - 1, names)


def _draw_variance(axes, numbers):
    for name, style in (("right code", RIGHT), ("std for variance", MISTAKE)):
        variance = np.sort(numbers[name]["spread_of_z"])[::-1]
        axes.plot(1 + np.arange(len(variance)), variance, **style, label=name)
    axes.axhline(1, color=GREY, lw=0.8, label="prior")
    axes.set(title="Variance of z over all images", ylabel="variance of z")
    axes.set_xlabel("latent dimension, sorted")
    _legend(axes, bottom=0)


def _draw_kl(axes, names, numbers):
    kl = [numbers[name]["true"]["kl"] for name in names]
    bars = axes.barh(names[::-1], kl[::-1], color=[VERMILION] * (len(names) - 1) + [BLUE])
    axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=8)
    axes.set(title="KL of the codes", xlabel="KL (nats per image)", xlim=(0, 1.2 * max(kl)))


def _draw_bounds(axes, bounds):
    samples = bounds["samples"]
    axes.plot(samples, bounds["right"], **RIGHT, label="log of the mean of the weights")
    axes.plot(samples, bounds["sum of the weights"], **MISTAKE, label="log of the sum")
    mean = bounds["evaluating the mean"]
    axes.axhline(mean, color=GREY, ls=":", label="ELBO with z = mu")
    axes.set(
        title="A right and two wrong bounds on log p(x)", xscale="log", xlabel="samples per image"
    )
    axes.set_xticks(samples, samples)
    axes.minorticks_off()
    axes.set_ylabel("nats per image")
    _legend(axes)


def _draw_curves(axes, curves):
    for name, style in (("right, skip connection", RIGHT), ("overwritten by ReLU", MISTAKE)):
        axes.plot(1 + np.arange(len(curves[name])), curves[name], **style, label=name)
    axes.set(title="ReLU in a skip connection", xlabel="epoch", ylabel="negative ELBO (nats)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes)


def _legend(axes, bottom=None):
    """A legend above all lines: the y axis is extended to make room for it."""
    low, high = axes.get_ylim()
    low = low if bottom is None else bottom
    axes.set_ylim(low, high + 0.6 * (high - low))
    axes.legend(loc="upper right")
