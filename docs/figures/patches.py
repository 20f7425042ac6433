"""Draws docs/images/im2col.svg and convolution_by_hand.svg: pixels, patches and stamps."""

import numpy as np
from drawing import LIGHT_BLUE, LIGHT_GREY, LIGHT_VERMILION, svg
from matplotlib.patches import Rectangle

from tinyvae.engine.convolution import patches
from tinyvae.training.plots import BLUE, GREY, VERMILION, WIDTH


def grid(axes, left, top, rows, text, face, fontsize=8):
    """Cells from (left, top) on, rightwards and downwards; text and face take (row, column)."""
    for i, columns in enumerate(rows):
        for j in columns:
            cell = Rectangle((left + j, top - i - 1), 1, 1, facecolor=face(i, j), edgecolor=GREY)
            axes.add_patch(cell)
            cell.set_linewidth(0.7)
            place = (left + j + 0.5, top - i - 0.53)
            axes.text(*place, text(i, j), ha="center", va="center", fontsize=fontsize)


def frame(axes, left, bottom, width, height, color=BLUE):
    cell = Rectangle((left, bottom), width, height, fill=False, edgecolor=color, lw=2.4, zorder=3)
    axes.add_patch(cell)


def im2col():
    # Pixel names: a to i in channel 1, A to I in channel 2, and the number of the example.
    size, kernel, examples = 3, 2, 2
    x = np.arange(2 * size * size * examples).reshape(2, size, size, examples)
    names = {
        x[c, i, j, n]: f"{chr(ord('aA'[c]) + size * i + j)}{n + 1}"
        for c, i, j, n in np.ndindex(*x.shape)
    }
    table = patches(x, (kernel, kernel), (1, 1), (0, 0))  # (8, 4 * 2)
    colors = LIGHT_BLUE, LIGHT_VERMILION
    with svg("im2col", WIDTH, 3.55) as figure:
        axes = figure.subplots()
        for n in range(examples):
            for c in range(2):
                left, top = 4.1 * n, 9.6 - 5 * c
                grid(
                    axes,
                    left,
                    top,
                    [range(size)] * size,
                    lambda i, j, c=c, n=n: names[x[c, i, j, n]],
                    lambda i, j, c=c: colors[c],
                )
                frame(axes, left + 1, top - 2, 2, 2)
            axes.text(4.1 * n + 1.5, 9.8, f"example {n + 1}", ha="center", va="bottom")
        for c in range(2):
            axes.text(-0.3, 8.1 - 5 * c, f"channel {c + 1}", ha="right", va="center", rotation=90)
        axes.text(3.55, 0.6, "x: (C, H, W, N) = (2, 3, 3, 2)", ha="center", va="top", color=GREY)

        left, top = 10.6, 9.1
        rows = [range(len(table[0]))] * len(table)
        grid(
            axes,
            left,
            top,
            rows,
            lambda i, j: names[table[i, j]],
            lambda i, j: colors[i // 4],
        )
        for i in range(len(table)):
            tap = f"tap ({i % 4 // 2}, {i % 2})"
            axes.text(left + 8.25, top - i - 0.53, tap, va="center", fontsize=7)
        for c in range(2):
            place = left - 0.35, top - 2 - 4 * c
            axes.text(*place, f"channel {c + 1}", ha="right", va="center", rotation=90)
        for position in range(4):
            place = left + 2 * position + 1, top + 0.2
            text = f"({position // 2}, {position % 2})"
            axes.text(*place, text, ha="center", va="bottom", fontsize=8)
            if position:
                axes.plot([left + 2 * position] * 2, [top, top - 8], color=GREY, lw=1.2)
        axes.text(left + 4, top + 1.05, "position of the kernel", ha="center", va="bottom")
        frame(axes, left + 2, top - 8, 2, 8)
        text = "P: (C K K, H' W' N) = (8, 8)"
        axes.text(left + 4, 0.6, text, ha="center", va="top", color=GREY)
        arrow = {"arrowstyle": "->", "color": BLUE, "lw": 1.5}
        axes.annotate("", (9.2, 5.1), (7.6, 5.1), arrowprops=arrow)
        axes.text(8.4, 5.4, "patches", ha="center", color=BLUE, family="monospace", fontsize=8)
        axes.set(xlim=(-1.2, 21.2), ylim=(-0.4, 11.2), aspect="equal")
        axes.axis("off")


def by_hand():
    x = np.array([[1, 2, 1, 3], [3, 1, 2, 1], [2, 4, 1, 2], [1, 3, 2, 1]])
    w = np.array([[1, 0, -1], [2, 1, 0], [0, -1, 1]])
    dy = np.array([[1, 2], [-1, 3]])
    padded = np.pad(x, ((1, 0), (1, 0)))  # a kernel at stride 2 never reaches the other two edges
    step, cells = 6.2, [range(5)] * 5
    total = np.zeros((5, 5), int)

    def edge(i, j):
        return LIGHT_GREY if i == 0 or j == 0 else "white"

    with svg("convolution_by_hand", WIDTH, 3.35) as figure:
        axes = figure.subplots()
        for t in range(4):
            row, column = t // 2, t % 2
            window = slice(2 * row, 2 * row + 3), slice(2 * column, 2 * column + 3)
            left = step * t
            grid(axes, left, 13, cells, lambda i, j: str(padded[i, j]), edge, 7.5)
            frame(axes, left + 2 * column, 13 - 2 * row - 3, 3, 3)
            y = (w * padded[window]).sum() + 2
            axes.text(left + 2.5, 13.3, f"y[{row}, {column}] = {y}", ha="center", va="bottom")
            stamp = np.zeros((5, 5), int)
            stamp[window] = dy[row, column] * w
            total += stamp

            def text(i, j, stamp=stamp, window=window):
                inside = all(s.start <= k < s.stop for s, k in zip(window, (i, j), strict=True))
                return str(stamp[i, j]) if inside else ""

            grid(axes, left, 5.6, cells, text, edge, 7.5)
            frame(axes, left + 2 * column, 5.6 - 2 * row - 3, 3, 3, VERMILION)
            sign = "" if t == 0 else "+"
            axes.text(left - 0.6, 3, sign, ha="center", va="center", fontsize=11)
            above = f"dy[{row}, {column}] = {dy[row, column]}"
            axes.text(left + 2.5, 5.9, above, ha="center", va="bottom")
        left = 4 * step
        face = LIGHT_BLUE
        grid(axes, left, 12, [range(3)] * 3, lambda i, j: str(w[i, j]), lambda i, j: face, 7.5)
        axes.text(left + 1.5, 12.3, "w", ha="center", va="bottom")
        axes.text(left + 1.5, 8.7, "b = 2", ha="center", va="top")
        axes.text(left - 0.6, 3, "=", ha="center", va="center", fontsize=11)
        inner = [(), *[range(1, 5)] * 4]
        light = LIGHT_VERMILION
        grid(axes, left - 1, 5.6, inner, lambda i, j: str(total[i, j]), lambda i, j: light, 7.5)
        axes.text(left + 2, 5.9, "dx", ha="center", va="bottom")
        axes.set(xlim=(-0.9, left + 4.3), ylim=(0.4, 14.4), aspect="equal")
        axes.axis("off")


im2col()
by_hand()
