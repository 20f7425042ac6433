"""Draws docs/images/kl.svg and kl_direction.svg: the KL divergence as an area; its direction."""

import numpy as np
from drawing import LIGHT_BLUE, LIGHT_VERMILION, svg
from scipy.optimize import minimize

from tinyvae.engine.gaussian import kl_divergence, log_density
from tinyvae.training.plots import BLUE, GREY, VERMILION, WIDTH

z = np.linspace(-3.5, 3.5, 281)
WIDE = np.linspace(-10, 10, 4001)  # for integrals
A, B = (0.0, 0.0), (0.5, np.log(0.5))  # mu and logvar: the prior and the posterior of the toy


def integrand(axes, q, p, title):
    log_q, log_p = log_density(z, *q), log_density(z, *p)
    curve = np.exp(log_q) * (log_q - log_p)
    axes.fill_between(z, curve, where=curve >= 0, color=LIGHT_VERMILION, lw=0)
    axes.fill_between(z, curve, where=curve <= 0, color=LIGHT_BLUE, lw=0)
    axes.plot(z, curve, color="black", lw=1)
    axes.axhline(0, color=GREY, lw=0.6)
    log_q, log_p = log_density(WIDE, *q), log_density(WIDE, *p)
    areas = np.exp(log_q) * (log_q - log_p) * (WIDE[1] - WIDE[0])
    above, below = areas[areas > 0].sum(), areas[areas < 0].sum()
    axes.text(-3.4, 0.54, f"above {above:+.3f}", color=VERMILION)
    axes.text(-3.4, 0.46, f"below {below:+.3f}", color=BLUE)
    axes.text(-3.4, 0.38, f"KL       {kl_divergence(*q, *p):.4f}")
    axes.set(title=title, xlabel="z", ylim=(-0.3, 0.62))


with svg("kl", WIDTH, 2.4) as figure:
    densities, forward, backward = figure.subplots(1, 3)
    for (mu, logvar), color, name, where in (
        (A, BLUE, "q = N(0, 1)", (-3.4, 0.67)),
        (B, VERMILION, "p = N(0.5, 0.5)", (-3.4, 0.6)),
    ):
        densities.plot(z, np.exp(log_density(z, mu, logvar)), color=color)
        densities.text(*where, name, color=color)
    densities.set(title="two densities", xlabel="z", ylim=(0, 0.75))
    integrand(forward, A, B, "q log(q/p)")
    integrand(backward, B, A, "p log(p/q)")

MODES, SPREAD = (-1.5, 1.5), np.log(0.25)
wide = np.linspace(-7, 7, 561)
log_p = np.logaddexp(*(log_density(wide, mode, SPREAD) for mode in MODES)) - np.log(2)


def reverse(q):
    """KL(q || p) by a sum over the grid."""
    log_q = log_density(wide, *q)
    return np.exp(log_q) @ (log_q - log_p) * (wide[1] - wide[0])


with svg("kl_direction", 4.6, 2.3) as figure:
    axes = figure.subplots()
    axes.fill_between(wide, np.exp(log_p), color="#e3e3e3", lw=0)
    axes.plot(wide, np.exp(log_p), color=GREY)
    narrow = minimize(reverse, (1.0, 0.0), method="Nelder-Mead", tol=1e-8).x
    mean = np.exp(log_p) @ wide * (wide[1] - wide[0])
    variance = np.exp(log_p) @ (wide - mean) ** 2 * (wide[1] - wide[0])
    print(f"q of the least KL(q || p): N({narrow[0]:.3f}, {np.exp(narrow[1]):.3f})")
    print(f"its KL(q || p) {reverse(narrow):.3f}")
    print(f"q of the least KL(p || q): N({mean:.3f}, {variance:.3f})")
    print(f"its KL(q || p) {reverse((mean, np.log(variance))):.3f}")
    axes.plot(wide, np.exp(log_density(wide, *narrow)), color=BLUE)
    axes.plot(wide, np.exp(log_density(wide, mean, np.log(variance))), color=VERMILION)
    axes.text(2.2, 0.62, "least KL(q || p)", color=BLUE)
    axes.text(2.9, 0.12, "least KL(p || q)", color=VERMILION)
    axes.text(-2.0, 0.42, "p", color=GREY, ha="right")
    axes.set(xlabel="z", ylabel="density", xlim=(-5, 6), ylim=(0, 0.9))
