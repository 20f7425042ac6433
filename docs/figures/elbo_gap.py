"""Draws elbo_bars.svg, gap_causes.svg and importance_weighted.svg of chapter 4 in docs/images/."""

import numpy as np
from drawing import svg
from matplotlib.patches import Patch

from tinyvae.engine.gaussian import kl_divergence, log_density
from tinyvae.laboratory.exact_bound import iw_bound, normal_grid
from tinyvae.laboratory.linear_gaussian import LinearGaussian
from tinyvae.training.plots import BLUE, GREY, VERMILION, WIDTH

X = 1.0  # the example; z ~ N(0, 1) and x ~ N(z, 1), so p(x) = N(0, 2), p(z|x) = N(x/2, 1/2)
TOY = {"N(0, 1)": (0, 1), "N(0.5, 1)": (0.5, 1), "N(1, 0.5)": (1, 0.5), "N(0.5, 0.5)": (0.5, 0.5)}
LOG_P = log_density(X, 0.0, np.log(2))
# From the table of docs/experiments/elbo_gap.md: means over 20 test images of MNIST, L = 2.
MEASURED = {"encoder's q": -147.13, "best q": -140.38}
MEASURED_LOG_P, APPROXIMATION, AMORTIZATION = -140.24, 0.143, 6.75
ORANGE = "#e69f00"


def bars(axes, elbos, log_p, bottom):
    for i, elbo in enumerate(elbos):
        axes.bar(i, elbo - bottom, 0.6, bottom, color=BLUE)
        axes.text(i, elbo - 0.02 * (log_p - bottom), f"{elbo:.2f}", ha="center", va="top",
                  color="white", fontsize=8)  # fmt: skip
        axes.bar(i, log_p - elbo, 0.6, elbo, color=VERMILION)
    axes.axhline(log_p, color="black", lw=1)
    axes.set_ylim(bottom, log_p + 0.3 * (log_p - bottom))


with svg("elbo_bars", WIDTH, 3.3) as figure:
    left, right = figure.subplots(1, 2, width_ratios=(7, 6))
    gaps = [float(kl_divergence(mu, np.log(v), X / 2, np.log(0.5))) for mu, v in TOY.values()]
    bars(left, [LOG_P - gap for gap in gaps], LOG_P, -2.2)
    for i, gap in enumerate(gaps):
        if gap > 0:
            left.text(i, LOG_P - gap / 2, f"{gap:.2f}", ha="center", va="center", color="white",
                      fontsize=8)  # fmt: skip
    left.text(-0.3, LOG_P + 0.02, f"log p(x) = {LOG_P:.4f}")
    left.set_xticks(range(len(TOY)), TOY)
    left.set(title="the toy, x = 1", ylabel="nats", xlabel="q")
    bars(right, MEASURED.values(), MEASURED_LOG_P, -152.0)
    right.bar(0, AMORTIZATION, 0.6, MEASURED["encoder's q"], color=VERMILION)
    top = MEASURED["encoder's q"] + AMORTIZATION
    right.bar(0, MEASURED_LOG_P - top, 0.6, top, color=ORANGE)
    middle = top - AMORTIZATION / 2
    right.text(0, middle, f"amortization\n{AMORTIZATION}", ha="center", va="center", rotation=90,
               color="white", fontsize=8)  # fmt: skip
    right.bar(1, MEASURED_LOG_P - MEASURED["best q"], 0.6, MEASURED["best q"], color=ORANGE)
    right.text(-0.3, MEASURED_LOG_P + 0.3, f"log p(x) = {MEASURED_LOG_P}")
    blue, red = Patch(color=BLUE), Patch(color=VERMILION)
    names = ("top of the blue bar: ELBO", "KL(q || p(z|x)), the gap")
    figure.legend([blue, red], names, loc="outside lower center", ncols=2)
    right.annotate(
        f"approximation: {APPROXIMATION}",
        (1.32, MEASURED_LOG_P - APPROXIMATION / 2),
        (1.3, -138.4),
        arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.8},
        color="#8a6000",
        fontsize=8,
    )
    right.set_xticks(range(2), MEASURED)
    right.set(title="a VAE on MNIST, mean of 20 images", xlim=(-0.5, 2.2))

MODEL = LinearGaussian(np.ones((1, 2)), np.zeros(1), 1.0)  # x ~ N(z1 + z2, 1)
IMAGE = np.array([[3.0]])
MEAN = MODEL.posterior_map() @ IMAGE[0]
QS = {
    "best diagonal q": (MEAN, MODEL.best_variance(), BLUE),
    "an encoder's q": (MEAN + [0.6, 0.0], MODEL.best_variance(), VERMILION),
}

with svg("gap_causes", 5.2, 2.7) as figure:
    grid = np.linspace(-1.6, 3.6, 105)
    z1, z2 = np.meshgrid(grid, grid)
    off = np.stack([z1 - MEAN[0], z2 - MEAN[1]])
    distance = np.einsum("iyx,ij,jyx->yx", off, MODEL.precision, off)
    radii = [-2 * np.log(1 - share) for share in (0.5, 0.95)]  # chi-squared of two dimensions
    angle = np.linspace(0, 2 * np.pi, 120)
    for axes, (name, (mu, variance, color)) in zip(figure.subplots(1, 2), QS.items(), strict=True):
        axes.contourf(grid, grid, distance, [0, *radii], colors=["#bdbdbd", "#e3e3e3"])
        for radius in radii:
            x = mu[0] + np.sqrt(radius * variance[0]) * np.cos(angle)
            y = mu[1] + np.sqrt(radius * variance[1]) * np.sin(angle)
            axes.plot(x, y, color=color)
        gap = MODEL.kl_to_posterior(IMAGE, mu[None], variance)[0]
        axes.set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal", title=f"{name}: gap {gap:.3f}")
        axes.text(-1.5, 2.95, "p(z|x)", color=GREY)

with svg("importance_weighted", 4.8, 2.6) as figure:
    axes = figure.subplots()
    eps, mass = normal_grid(1)
    log_w = log_density(X, eps[:, 0], 0.0)  # q is the prior, so w = p(x|z)
    samples = (1, 2, 3, 5, 10, 20, 50, 100)
    bounds = [iw_bound(log_w, mass, s) for s in samples]
    axes.semilogx(samples, bounds, "o-", color=VERMILION)
    axes.axhline(LOG_P, color="black", lw=1)
    axes.text(1, LOG_P + 0.015, f"log p(x) = {LOG_P:.4f}")
    axes.text(1.12, bounds[0], f"IW(1) = ELBO = {bounds[0]:.4f}", va="center", color=VERMILION)
    axes.set_xticks((1, 10, 100), (1, 10, 100))
    axes.set(xlabel="samples S", ylabel="nats", ylim=(-1.97, -1.45))
