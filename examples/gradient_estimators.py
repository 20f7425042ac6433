"""Bias and noise of five estimators of the gradient of the importance-weighted bound.

The model is a linear VAE, fitted to images of 7x7 pixels in closed form, because its true gradient
is known for every number K of samples. q is made wrong on purpose: its mean is too near 0 and its
variance is too large.

python examples/gradient_estimators.py
python examples/gradient_estimators.py --dataset digits
"""

import sys

import numpy as np

from tinyvae.laboratory.estimators import ESTIMATORS, estimates
from tinyvae.laboratory.exact_bound import mean_estimate
from tinyvae.laboratory.experiment import experiment_parser, run_experiment
from tinyvae.laboratory.linear_gaussian import LinearGaussian, downsample
from tinyvae.rng import generator
from tinyvae.training import plots
from tinyvae.training.checkpoint import write_json

SIZE, L = 7, 2  # pixels along a side, latent dimensions
ROTATION = np.array([[0.8, -0.6], [0.6, 0.8]])  # rotates z: p(x) stays the same
SHORT, WIDE = 0.7, 1.5  # factors of q's mean and variance
SAMPLES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]  # K
DRAWS, DRAWS_EXACT_Q = 10_000, 1000
PANELS = {"bias": "bias (nats)", "spread": "standard deviation (nats)", "snr": "signal / noise"}
OPEN = "open marks: the bias is less than three standard errors"


def measure(model, x, samples, name):
    """Bias, standard deviation and signal-to-noise ratio of an estimator of dB / d(mu, logvar).

    bias: the length of the vector; standard deviation: the root of the sum of the variances.
    """
    drawn = estimates(model, x, samples, name, DRAWS, generator(0, "noise", samples))
    true = mean = mean_estimate(model, x, samples)
    if name == "sticking the landing":
        mean = mean_estimate(model, x, samples, name)
    spread = np.sqrt(drawn.var(axis=0).sum())
    row = {"gradient": np.linalg.norm(true), "bias": np.linalg.norm(drawn.mean(axis=0) - true)}
    row |= {"exact_bias": np.linalg.norm(mean - true), "error": spread / np.sqrt(DRAWS)}
    row |= {"spread": spread, "snr": np.linalg.norm(mean) / spread}
    return {"samples": samples} | {key: float(value) for key, value in row.items()}


def experiment(arguments, data, xp):
    images = downsample(data.x_train, SIZE)
    x, best = images[:1], LinearGaussian.fit(images, L)
    rotated = LinearGaussian(best.w @ ROTATION, best.m, best.s2)
    v, variance = SHORT * rotated.posterior_map(), WIDE * rotated.best_variance()
    wrong, perfect = rotated.vae(x.shape[1:], v, variance, xp), best.vae(x.shape[1:], xp=xp)
    numbers = {"dataset": data.name, "draws": DRAWS, "estimators": {}}
    print(f"{data.name}, K = {SAMPLES[-1]}; slope: S/N grows like K^slope over the last five K")
    print(f"{'':24}{'bias / error':>14}{'std':>11}{'S/N':>10}{'slope':>7}{'exact q':>10}")
    for name in ESTIMATORS:
        samples = [k for k in SAMPLES if k > 1 or name != "leave-one-out"]
        rows = [measure(wrong, x, k, name) for k in samples]
        ratios = [row["snr"] for row in rows]
        slope = float(np.polyfit(np.log(samples[-5:]), np.log(ratios[-5:]), 1)[0])
        exact = estimates(perfect, x, samples[-1], name, DRAWS_EXACT_Q, generator(0, "exact q"))
        quiet = float(np.sqrt(exact.var(axis=0).sum()))
        numbers["estimators"][name] = {"rows": rows, "slope": slope, "spread_exact_q": quiet}
        off, spread = rows[-1]["bias"] / rows[-1]["error"], rows[-1]["spread"]
        print(f"{name:24}{off:14.1f}{spread:11.2g}{ratios[-1]:10.2g}{slope:7.2f}{quiet:10.1g}")
    write_json(arguments.out / "gradient_estimators.json", numbers)
    draw(numbers["estimators"], arguments.out / "gradient_estimators.png")


def draw(estimators, path):
    with plots.page(path, plots.WIDTH, 3.3) as figure:
        grid = figure.subplots(1, 3)
        gradient = [row["gradient"] for row in estimators["reparameterized"]["rows"]]
        grid[0].plot(SAMPLES, gradient, "k--", label="length of the gradient")
        for axes, (key, title) in zip(grid, PANELS.items(), strict=True):
            for i, (name, one) in enumerate(estimators.items()):
                color, mark, rows = plots.TEN[i], "os^Dv"[i], one["rows"]
                samples, y = [row["samples"] for row in rows], [row[key] for row in rows]
                seen = [key != "bias" or row["bias"] > 3 * row["error"] for row in rows]
                face = [color if filled else "none" for filled in seen]
                axes.loglog(samples, y, color=color, lw=0.8)
                axes.scatter(samples, y, 14, face, marker=mark, edgecolors=color, label=name)
            axes.set(title=title, xlabel="samples K")
            axes.set_xticks(SAMPLES[::3], SAMPLES[::3])
            axes.set_xticks([], minor=True)
        legend = grid[0].get_legend_handles_labels()
        figure.legend(*legend, title=OPEN, loc="outside lower center", ncols=3)


def main(argv=None):
    parser = experiment_parser(__doc__, "gradient-estimators")
    return run_experiment(__file__, parser, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
