"""The effect of beta on rate and distortion, on the active units, and on disentanglement.

python examples/beta_sweep.py                                  # MNIST
python examples/beta_sweep.py --dataset digits --epochs 20     # known factors, so MIG and SAP too
"""

import sys
from statistics import fmean

import numpy as np

from tinyvae import make_model
from tinyvae.data import load_digits
from tinyvae.engine.gaussian import reparameterize
from tinyvae.laboratory.disentanglement import explained, mig, sap
from tinyvae.laboratory.experiment import experiment_parser, run_experiment
from tinyvae.rng import generator
from tinyvae.training import plots
from tinyvae.training.checkpoint import write_json
from tinyvae.training.command_line import count
from tinyvae.training.evaluation import evaluate
from tinyvae.training.on_host import posteriors
from tinyvae.training.trainer import train

BETAS = [round(float(beta), 2) for beta in np.geomspace(0.1, 10, 7)]
FACTORS = ("slant", "rotation", "aspect", "scale", "thickness")  # and the label
SCORED = 10_000  # digits for MIG and SAP; their seed differs from the training digits' seed
COLUMNS = {"reconstruction": "D", "kl": "R", "total": "D + R", "active_units": "active"}
SCORES = {"MIG": mig, "SAP": sap, "R² of all": explained}
COLORS = (plots.BLUE, plots.VERMILION, plots.GREY)


def experiment(arguments, data, xp):
    known = data.name == "synthetic digits"  # MNIST's factors are unknown
    images, labels, factors = load_digits(SCORED, seed=2)
    factors = {"label": labels} | {name: factors[name] for name in FACTORS}
    rows = []
    for beta in BETAS:
        for seed in range(arguments.seeds):
            model, folder = make_model(network="mlp", seed=seed).to(xp), f"beta-{beta}-seed-{seed}"
            settings = {"beta": beta, "seed": seed, "folder": arguments.out / folder}
            train(model, data, arguments.epochs, **settings)
            rows.append({"beta": beta, "seed": seed} | evaluate(model, data.x_test))
            if known:
                rows[-1] |= scores(model, images, factors)
    settings = {"dataset": data.name, "train_images": len(data.x_train)}
    settings |= {"network": "784-400-20", "epochs": arguments.epochs, "seeds": arguments.seeds}
    write_json(arguments.out / "beta_sweep.json", settings | {"rows": rows})
    names = COLUMNS | {name: name for name in SCORES if known}
    print(f"{data.name:>17}, beta", *(f"{heading:>16}" for heading in names.values()))
    curves = np.array([curve(rows, name) for name in names])  # (columns, 2, betas)
    for beta, cells in zip(BETAS, np.moveaxis(curves, 2, 0), strict=True):
        print(f"{beta:23}", *("{:8.3f} ± {:.3f}".format(*cell) for cell in cells))
    draw(rows, known, arguments.out / "beta_sweep.png")


def scores(model, images, factors):
    """{score: its mean over the factors}, and the score of each factor, for codes z ~ q(z|x)."""
    mu, logvar = posteriors(model, images)
    z = reparameterize(mu, logvar, generator(0, "codes").standard_normal(mu.shape))
    of_factors = {name: score(z, factors) for name, score in SCORES.items()}
    return {name: fmean(of_factors[name].values()) for name in SCORES} | {"of_factors": of_factors}


def curve(rows, name):
    """The mean and the standard deviation over the seeds, (2, betas)."""
    values = np.reshape([row[name] for row in rows], (len(BETAS), -1))
    return values.mean(axis=1), values.std(axis=1, ddof=min(1, values.shape[1] - 1))


def draw(rows, known, path):
    with plots.page(path, plots.WIDTH, 2.5) as figure:
        plane, units, *other = figure.subplots(1, 3 if known else 2)
        rate, distortion = curve(rows, "kl")[0], curve(rows, "reconstruction")[0]
        plane.plot(rate, distortion, "o-", color=plots.BLUE)
        for beta, *point in zip(BETAS, rate, distortion, strict=True):
            label = f"β = {beta:g}" if beta == BETAS[-1] else f"{beta:g}"
            plane.annotate(label, point, (4, 3), textcoords="offset points", size=7)
        plane.set(xlabel="rate R (nats)", ylabel="distortion D (nats)", xlim=(0, 1.2 * rate.max()))
        units.errorbar(BETAS, *curve(rows, "active_units"), fmt="o-", color=plots.BLUE)
        units.set(ylabel="active units of 20", ylim=(0, 21), yticks=range(0, 21, 5))
        for axes in other:
            for name, style, color in zip(SCORES, ("o-", "s--", "^:"), COLORS, strict=True):
                axes.errorbar(BETAS, *curve(rows, name), fmt=style, color=color, label=name)
            axes.set(ylabel="mean over the factors", ylim=(0, 0.65))
            axes.legend(loc="upper right")
        for axes in (units, *other):
            axes.set(xscale="log", xlabel="β")
            axes.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])


def main(argv=None):
    parser = experiment_parser(__doc__, "beta-sweep")
    parser.add_argument("--epochs", type=count, default=10, help="epochs of each run (default: 10)")
    parser.add_argument("--seeds", type=count, default=3, help="runs for each beta (default: 3)")
    return run_experiment(__file__, parser, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
