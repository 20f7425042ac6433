"""Draws docs/images/batch_layout.svg: the batch is first for people and last in the engine."""

from drawing import LIGHT_BLUE, svg
from matplotlib.patches import Rectangle

from tinyvae.training.plots import BLUE, GREY, WIDTH

N, D, OUT = 5, 3, 2  # examples, numbers in an example, numbers in an output of the layer


def table(axes, left, rows, columns, mark, title, shape):
    """A table of rows x columns cells; `mark` tells which cells belong to the example."""
    bottom = -rows / 2
    for row in range(rows):
        for column in range(columns):
            face = LIGHT_BLUE if mark(row, column) else "white"
            cell = Rectangle((left + column, bottom + row), 1, 1, facecolor=face, edgecolor=GREY)
            axes.add_patch(cell)
    axes.text(left + columns / 2, rows / 2 + 0.25, title, ha="center", va="bottom")
    axes.text(left + columns / 2, bottom - 0.25, shape, ha="center", va="top", color=GREY)


with svg("batch_layout", WIDTH, 2.5) as figure:
    axes = figure.subplots()

    def row(row, column):
        return row == N - 2

    def column(row, column):
        return column == 1

    table(axes, 0, N, D, row, "data, for people", "(N, D), the batch first")
    axes.annotate("", (6.2, 0), (3.7, 0), arrowprops={"arrowstyle": "->", "color": BLUE, "lw": 1.5})
    axes.text(4.95, 0.25, "batch_last", ha="center", color=BLUE, family="monospace")
    axes.text(4.95, -0.3, "turns it once", ha="center", va="top", color=BLUE)
    table(axes, 7.0, OUT, D, lambda *_: False, "W", "(2, D)")
    axes.text(10.5, 0, "@", ha="center", va="center", fontsize=12)
    table(axes, 11.0, D, N, column, "x, inside the engine", "(D, N), the batch last")
    axes.text(16.6, 0, "=", ha="center", va="center", fontsize=12)
    table(axes, 17.2, OUT, N, column, "y", "(2, N)")
    axes.set(xlim=(-1, 22.7), ylim=(-3.6, 3.6), aspect="equal")
    axes.axis("off")
