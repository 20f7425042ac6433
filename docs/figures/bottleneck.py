"""Draws docs/images/bottleneck.svg: the layers of examples/minimal_vae.py, to scale."""

from drawing import LIGHT_BLUE, LIGHT_GREY, LIGHT_VERMILION, svg
from matplotlib.patches import Polygon, Rectangle

from tinyvae.training.plots import BLUE, GREY, VERMILION, WIDTH

WIDTHS = (784, 400, 20, 400, 784)  # how many numbers each step has for one image
NAMES = ("x", "h_enc", "z", "h_dec", "x_hat")
LAYERS = ("linear\n+ ReLU", "linear", "linear\n+ ReLU", "linear\n+ sigmoid")
STEP, THICK = 260, 26  # between two bars, and of a bar

with svg("bottleneck", WIDTH, 3.1) as figure:
    axes = figure.subplots()
    for i, layer in enumerate(LAYERS):
        left, right = STEP * i + THICK, STEP * (i + 1)
        a, b = WIDTHS[i] / 2, WIDTHS[i + 1] / 2
        corners = [(left, -a), (left, a), (right, b), (right, -b)]
        axes.add_patch(Polygon(corners, facecolor=LIGHT_GREY, edgecolor="none"))
        axes.text((left + right) / 2, 0, layer, ha="center", va="center", fontsize=8)
    for i, (size, name) in enumerate(zip(WIDTHS, NAMES, strict=True)):
        code = name == "z"
        face, edge = (LIGHT_VERMILION, VERMILION) if code else (LIGHT_BLUE, BLUE)
        bar = Rectangle((STEP * i, -size / 2), THICK, size, facecolor=face, edgecolor=edge, lw=1.2)
        axes.add_patch(bar)
        middle = STEP * i + THICK / 2
        axes.text(middle, size / 2 + 18, name, ha="center", va="bottom", family="monospace")
        axes.text(middle, -size / 2 - 18, str(size), ha="center", va="top")
    for i, name in ((0, "encoder"), (2, "decoder")):
        left, right = STEP * i + THICK / 2 + 8, STEP * (i + 2) + THICK / 2 - 8
        arrow = {"arrowstyle": "|-|,widthA=0.3,widthB=0.3", "color": GREY}
        axes.annotate("", (right, -480), (left, -480), arrowprops=arrow)
        axes.text((left + right) / 2, -500, name, ha="center", va="top", color=GREY)
    axes.set(xlim=(-30, 4 * STEP + THICK + 30), ylim=(-560, 470))
    axes.axis("off")
