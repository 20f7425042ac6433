"""Draws docs/images/activations.svg: ReLU, sigmoid, and the cross-entropy of a pixel."""

import numpy as np
from drawing import svg

from tinyvae.training.plots import BLUE, GREY, VERMILION, WIDTH

a = np.linspace(-5, 5, 201)

with svg("activations", WIDTH, 2.2) as figure:
    relu, sigmoid, loss = figure.subplots(1, 3)
    relu.plot(a, np.maximum(0, a), color=BLUE)
    relu.set(title="ReLU: max(0, a)", xlabel="a")
    sigmoid.plot(a, 1 / (1 + np.exp(-a)), color=BLUE)
    sigmoid.axhline(0.5, color=GREY, lw=0.8, ls=":")
    sigmoid.set(title="sigmoid", xlabel="logit", yticks=(0, 0.5, 1))
    loss.plot(a, np.logaddexp(0, a) - a, color=BLUE)
    loss.plot(a, np.logaddexp(0, a), color=VERMILION)
    loss.text(-3.1, 4.4, "x = 1", color=BLUE, ha="center")
    loss.text(3.1, 4.4, "x = 0", color=VERMILION, ha="center")
    loss.set(title="cross-entropy (nats)", xlabel="logit", ylim=(-0.2, 5.2))
    for axes in (relu, sigmoid, loss):
        axes.set_xticks((-5, 0, 5))
