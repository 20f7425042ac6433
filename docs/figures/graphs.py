"""Draws docs/images/backward_network.svg and vae_graph.svg: values forward, gradients backward."""

import numpy as np
from drawing import svg
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch

from tinyvae import Linear, ReLU, Sequential
from tinyvae.engine.gaussian import (
    kl_to_standard,
    kl_to_standard_grad,
    log_density,
    log_density_grad,
    reparameterize,
    reparameterize_backward,
)
from tinyvae.training.plots import BLUE, GREY, VERMILION, WIDTH

SIDE = 0.42  # from the middle of a box to an arrow beside it
ROUND = "round,pad=0,rounding_size=0.1"


def node(axes, x, y, name, value, gradient, shape="", width=0.8):
    """A box with its name above, its value and its gradient inside; `shape` stands below."""
    corner = (x - width / 2, y - 0.24)
    box = FancyBboxPatch(corner, width, 0.48, ROUND, facecolor="white", edgecolor=GREY, zorder=3)
    axes.add_patch(box)
    axes.text(x, y + 0.27, name, ha="center", va="bottom", family="monospace", fontsize=8, zorder=4)
    up = {"ha": "center", "va": "center", "fontsize": 8, "zorder": 4}
    axes.text(x, y + (0.11 if gradient else 0), value, color=BLUE, **up)
    if gradient:
        axes.text(x, y - 0.11, gradient, color=VERMILION, style="italic", **up)
    axes.text(x, y - 0.28, shape, ha="center", va="top", fontsize=7, color=GREY, zorder=4)


def edge(axes, start, stop, share=0.5, value="", gradient=""):
    """An arrow between two points; a weight or a gradient stands at `share` of its way."""
    start, stop = np.array(start, float), np.array(stop, float)
    arrow = {"arrowstyle": "->", "color": GREY, "lw": 1, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", stop, start, arrowprops=arrow, zorder=1)
    place = start + share * (stop - start)
    white = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
    both = {"ha": "center", "va": "center", "fontsize": 7.5, "bbox": white, "zorder": 2}
    shift = 0.08 if value and gradient else 0
    if value:
        axes.text(place[0], place[1] + shift, value, color=BLUE, **both)
    if gradient:
        axes.text(place[0], place[1] - shift, gradient, color=VERMILION, style="italic", **both)


def legend(figure, value, gradient):
    lines = [Line2D([], [], color=color, marker="s", ls="") for color in (BLUE, VERMILION)]
    figure.legend(lines, [value, gradient], loc="outside lower center", ncols=2)


def network():
    rng = np.random.default_rng(0)
    net = Sequential(Linear(2, 2, rng=rng), ReLU(), Linear(2, 1, rng=rng)).to(np, np.float64)
    net.theta = np.array([1.0, 2, 3, -1, -1, 1, 2, -1, 3])
    first, relu, last = net.layers
    x = np.array([[2.0], [1.0]])
    a = first.forward(x)
    h = relu.forward(a)
    y = last.forward(h)
    dy = y - 1
    dh = last.backward(dy)
    da = relu.backward(dh)
    dx = first.backward(da)

    with svg("backward_network", WIDTH, 2.95) as figure:
        axes = figure.subplots()
        left, middle, right, end, loss = 0.5, 2.2, 3.5, 4.9, 6.0
        rows = (1.9, 0.5)
        for i, row in enumerate(rows):
            node(axes, left, row, f"x{i + 1}", f"{x[i, 0]:.0f}", f"{dx[i, 0]:.0f}")
            bias = f"b {first.bias.value[i]:.0f},  db {first.bias.grad[i]:.0f}"
            node(axes, middle, row, f"a{i + 1}", f"{a[i, 0]:.0f}", f"{da[i, 0]:.0f}", bias)
            node(axes, right, row, f"h{i + 1}", f"{h[i, 0]:.0f}", f"{dh[i, 0]:.0f}")
            edge(axes, (middle + SIDE, row), (right - SIDE, row))
            weight = f"{last.weight.value[0, i]:.0f}", f"{last.weight.grad[0, i]:.0f}"
            slope = 0.15 if i else -0.15
            edge(axes, (right + SIDE, row + slope), (end - SIDE, 1.2 - slope), 0.45, *weight)
            for j, other in enumerate(rows):
                weight = f"{first.weight.value[i, j]:.0f}", f"{first.weight.grad[i, j]:.0f}"
                slope = 0 if i == j else 0.2 * (i - j)
                ends = (left + SIDE, other - slope), (middle - SIDE, row + slope)
                edge(axes, *ends, 0.5 if i == j else 0.27, *weight)
        bias = f"b {last.bias.value[0]:.0f},  db {last.bias.grad[0]:.0f}"
        node(axes, end, 1.2, "y", f"{y[0, 0]:.0f}", f"{dy[0, 0]:.0f}", bias)
        node(axes, loss, 1.2, "loss", f"{dy[0, 0] ** 2 / 2:.0f}", "1")
        edge(axes, (end + SIDE, 1.2), (loss - SIDE, 1.2))
        axes.text((middle + right) / 2, 1.96, "ReLU", ha="center", va="bottom", fontsize=8)
        axes.set(xlim=(0.05, 6.45), ylim=(0, 2.5), aspect="equal")
        axes.axis("off")
        legend(figure, "above: value or weight", "below, slanted: its gradient")


def vae():
    x, mu, logvar, eps = 1.0, 0.2, np.log(0.25), 0.7
    z = reparameterize(mu, logvar, eps)
    kl = kl_to_standard(mu, logvar)
    reconstruction = -log_density(x, z, 0.0)
    dz = -log_density_grad(x, z, 0.0)[1]
    through_z = reparameterize_backward(dz, logvar, eps)
    through_kl = kl_to_standard_grad(mu, logvar)
    dmu, dlogvar = (a + b for a, b in zip(through_z, through_kl, strict=True))
    through_mu, through_logvar = mu * dmu, logvar * dlogvar  # the heads' weights, since h = 1

    def number(value):
        return f"{value:.3f}"

    with svg("vae_graph", WIDTH, 3.7) as figure:
        axes = figure.subplots()
        places = {
            "h": (0.45, 1.7),
            "mu": (1.65, 2.55),
            "logvar": (1.65, 0.7),
            "z": (3.1, 2.55),
            "eps": (3.1, 3.5),
            "KL": (4.3, 0.7),
            "x_hat": (4.5, 2.55),
            "reconstruction": (5.75, 2.55),
            "loss": (5.75, 1.25),
        }
        for name, value, gradient, shape in (
            ("h", 1.0, through_mu + through_logvar, "(256, N)"),
            ("mu", mu, dmu, "(20, N)"),
            ("logvar", logvar, dlogvar, "(20, N)"),
            ("z", z, dz, "(20, S, N)"),
            ("eps", eps, None, ""),
            ("KL", kl, 1.0, "(20,)"),
            ("x_hat", z, dz, "(1, 28, 28, S N)"),
            ("reconstruction", reconstruction, 1.0, ""),
            ("loss", reconstruction + kl, 1.0, "one number"),
        ):
            gradient = "" if gradient is None else number(gradient)
            node(axes, *places[name], name, number(value), gradient, shape)
        for start, stop, share, gradient in (
            ((0.87, 1.85), (1.23, 2.38), 0.5, through_mu),
            ((0.87, 1.55), (1.23, 0.85), 0.5, through_logvar),
            ((2.07, 2.55), (2.68, 2.55), 0.45, through_z[0]),
            ((2.07, 0.85), (2.8, 2.14), 0.22, through_z[1]),
            ((2.07, 2.4), (3.88, 0.85), 0.13, through_kl[0]),
            ((2.07, 0.7), (3.88, 0.7), 0.3, through_kl[1]),
            ((3.52, 2.55), (4.08, 2.55), 0, None),  # z to x_hat
            ((4.92, 2.55), (5.33, 2.55), 0, None),  # x_hat to reconstruction
            ((3.1, 3.25), (3.1, 2.98), 0, None),  # eps to z
            ((5.75, 2.3), (5.75, 1.68), 0, None),  # reconstruction to loss
            ((4.72, 0.8), (5.33, 1.12), 0, None),  # KL to loss
        ):
            edge(axes, start, stop, share, "", "" if gradient is None else number(gradient))
        axes.text(3.6, 3.5, "noise: no gradient", va="center", fontsize=7, color=GREY)
        axes.text(3.8, 2.62, "decoder", ha="center", va="bottom", fontsize=7.5)
        axes.set(xlim=(0, 6.35), ylim=(0.2, 3.95), aspect="equal")
        axes.axis("off")
        legend(figure, "above: value", "below and on arrows, slanted: gradient of the loss")


network()
vae()
