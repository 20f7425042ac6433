"""Draws docs/images/rooms.svg: the folders of tinyvae/ and what each may import."""

from drawing import LIGHT_BLUE, LIGHT_GREY, svg
from matplotlib.patches import FancyBboxPatch

from tinyvae.training.plots import BLUE, GREY, WIDTH

# name, what is in it, left, bottom, width
ROOMS = (
    ("examples/", "programs to run; minimal_vae.py first", 0, 6.25, 10),
    ("laboratory/", "what experiments measure", 0, 5.0, 3.2),
    ("live_page/", "a model in the browser", 3.4, 5.0, 3.2),
    ("exercises/", "the grader of exercises", 6.8, 5.0, 3.2),
    ("gradcheck.py", "every gradient against differences", 0, 3.75, 4.8),
    ("training/", "loop, checkpoints, evaluation, figures", 5.2, 3.75, 4.8),
    ("models/", "AE, VAE, networks, the protocol", 0, 2.5, 4.8),
    ("data/", "MNIST, digits, files of your own", 5.2, 2.5, 4.8),
    ("engine/", "layers, convolution, Gaussian, likelihoods, Adam, backend", 0, 1.25, 10),
    ("errors.py, rng.py", "messages for users; the seeds of all noise", 0, 0, 10),
)
HEIGHT = 0.95
ARROWS = (
    ((2.4, 6.25), (2.4, 5.95)),
    ((1.6, 5.0), (1.6, 4.7)),
    ((2.8, 5.0), (5.4, 4.7)),  # laboratory imports training
    ((5.4, 5.0), (6.4, 4.7)),  # and so does live_page
    ((8.4, 5.0), (8.4, 4.7)),
    ((4.8, 4.22), (5.2, 4.22)),  # gradcheck imports training
    ((2.4, 3.75), (2.4, 3.45)),
    ((7.6, 3.75), (7.6, 3.45)),
    ((5.6, 3.75), (4.4, 3.45)),  # training imports models
    ((2.4, 2.5), (2.4, 2.2)),
    ((7.6, 2.5), (7.6, 2.2)),
    ((5, 1.25), (5, 0.95)),
)

with svg("rooms", WIDTH, 4.3) as figure:
    axes = figure.subplots()
    for name, content, left, bottom, width in ROOMS:
        color = LIGHT_BLUE if name.startswith(("engine", "models")) else LIGHT_GREY
        style = "round,pad=0,rounding_size=0.12"
        box = FancyBboxPatch((left, bottom), width, HEIGHT, style, facecolor=color, edgecolor=GREY)
        axes.add_patch(box)
        middle = left + width / 2
        axes.text(
            middle, bottom + 0.62, name, ha="center", va="center", family="monospace", weight="bold"
        )
        axes.text(middle, bottom + 0.27, content, ha="center", va="center", fontsize=8)
    for start, stop in ARROWS:
        arrow = {"arrowstyle": "-|>", "color": BLUE, "lw": 1.4, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", stop, start, arrowprops=arrow)
    axes.set(xlim=(-0.1, 10.1), ylim=(-0.1, 7.3))
    axes.axis("off")
