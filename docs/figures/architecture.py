"""Draws docs/images/architecture.svg: the convolutional VAE, to scale, from the real networks."""

import numpy as np
from drawing import LIGHT_BLUE, LIGHT_VERMILION, svg
from matplotlib.patches import Polygon, Rectangle

from tinyvae import make_model
from tinyvae.training.plots import BLUE, GREY, VERMILION

L = 20
APART = 30  # of mu and of logvar from the middle
NAMES = {"Conv2d": "Conv2d", "ConvTranspose2d": "Conv-\nTranspose2d", "Linear": "Linear"}


def steps(network, x):
    """What a network computes from x: (layers up to the next shape, weights in them, shape)."""
    found = []
    for layer in network.layers:
        x, kind = layer.forward(x), type(layer).__name__
        if kind in NAMES:
            weights = sum(p.value.size for _, p in layer.named_parameters())
            found.append([[NAMES[kind]], weights, x.shape[:-1]])
        elif kind == "ReLU":
            found[-1][0].append("ReLU")
        elif kind == "Reshape":  # the same numbers, as an image
            found[-1][2] = x.shape[:-1]
    return found


def image(axes, left, shape, color, edge):
    """A box of C x H x W, one unit for a pixel or a channel; returns its right end and its top."""
    c, h, w = shape
    slant = 0.5 * w * np.array([0.7, 0.7])  # the axis W goes backwards
    bottom = -h / 2 - slant[1] / 2
    corner = np.array((left, bottom))
    front = [corner + sides for sides in ((0, 0), (c, 0), (c, h), (0, h))]
    for corners in (
        front,
        [front[3], front[2], front[2] + slant, front[3] + slant],
        [front[1], front[2], front[2] + slant, front[1] + slant],
    ):
        axes.add_patch(Polygon(corners, facecolor=color, edgecolor=edge, lw=0.8))
    return left + c + slant[0], h / 2 + slant[1] / 2


def vector(axes, left, size, color, edge, middle=0):
    """A bar of `size` units, drawn 4 wide to be seen; returns its right end and its top."""
    corner = left, middle - size / 2
    axes.add_patch(Rectangle(corner, 4, size, facecolor=color, edgecolor=edge, lw=0.8))
    return left + 4, middle + size / 2


model = make_model("vae", "conv", latent_dim=L)
head = sum(p.value.size for _, p in model.encoder.mu.named_parameters())
path = [([], 0, (1, 28, 28))]
path += steps(model.encoder.trunk, np.zeros((1, 28, 28, 1), np.float32))
path += [(["2 Linear"], 2 * head, (L, L))]
path += [(["draw"], 0, (L,))]
path += steps(model.decoder, np.zeros((L, 1), np.float32))
assert sum(weights for _, weights, _ in path) == model.theta.size

with svg("architecture", 7.6, 3.0) as figure:
    axes = figure.subplots()
    right, gap, sides = 0, 50, []
    for layers, weights, shape in path:
        left = right + gap if layers else 0
        heads, code = shape == (L, L), shape == (L,)
        if layers:
            # mu and logvar lie above one another, with an arrow to each and from each
            ends = [(0, 0)]
            if heads or code:
                ends = [(0, APART), (0, -APART)] if heads else [(APART, 3), (-APART, -3)]
            for start, stop in ends:
                arrow = {"arrowstyle": "->", "color": GREY, "lw": 1, "shrinkA": 0, "shrinkB": 0}
                axes.annotate("", (left - 5, stop), (right + 5, start), arrowprops=arrow)
            below = -APART - 36 if heads or code else -8
            weights = f"\n{weights:,}" if weights else ""
            text = "\n".join(layers) + weights
            axes.text(right + gap / 2, below, text, ha="center", va="top", fontsize=6.5)
        color, edge = (LIGHT_VERMILION, VERMILION) if heads or code else (LIGHT_BLUE, BLUE)
        if len(shape) == 3:
            right, top = image(axes, left, shape, color, edge)
            name = "x".join(map(str, shape))
        elif heads:
            for y in (APART, -APART):
                right, _ = vector(axes, left, L, color, edge, y)
            axes.text(left + 2, -APART - 14, "logvar", ha="center", va="top", fontsize=7)
            top, name = APART + L / 2, "mu"
        else:
            right, top = vector(axes, left, shape[0], color, edge)
            name = f"z\n{L}" if code else str(shape[0])
        sides.append((left, right))
        axes.text((left + right) / 2, top + 5, name, ha="center", va="bottom", fontsize=7)
    for first, last, name in ((0, 4, "encoder"), (5, len(path) - 1, "decoder")):
        left, right = sides[first][0], sides[last][1]
        arrow = {"arrowstyle": "|-|,widthA=0.3,widthB=0.3", "color": GREY}
        axes.annotate("", (right, -146), (left, -146), arrowprops=arrow)
        axes.text((left + right) / 2, -152, name, ha="center", va="top", color=GREY, fontsize=8)
    axes.set(xlim=(-25, right + 25), ylim=(-172, 148), aspect="equal")
    axes.axis("off")
