"""VAE and IWAE with k samples of z, on the network of the IWAE paper with one stochastic layer.

784-200-200-50, tanh, pixels drawn anew in every epoch. A model that is in the output folder goes on
from there.

python examples/iwae.py
python examples/iwae.py --dataset digits --ks 1,5
"""

import sys

import numpy as np

from tinyvae import IWAE, VAE, Bernoulli, Tanh
from tinyvae.data import binarize
from tinyvae.laboratory.experiment import experiment_parser, run_experiment
from tinyvae.models.networks import MLPNetworks
from tinyvae.rng import generator
from tinyvae.training import plots
from tinyvae.training.checkpoint import load_checkpoint, write_json
from tinyvae.training.command_line import count
from tinyvae.training.config import Config
from tinyvae.training.evaluation import evaluate, importance_weighted_bound
from tinyvae.training.trainer import Trainer

LATENT_DIM, HIDDEN, SEEDS = 50, (200, 200), 2
IMAGES, SAMPLES = 500, 5000  # of the test set; of z for each in the NLL
PAPER = {  # Burda, Grosse and Salakhutdinov 2016, table 1, one stochastic layer: NLL, active units
    "VAE": {1: (86.76, 19), 5: (86.47, 20), 50: (86.35, 20)},
    "IWAE": {1: (86.76, 19), 5: (85.54, 22), 50: (84.78, 25)},
}
COLOURS = {"VAE": plots.BLUE, "IWAE": plots.VERMILION}


def experiment(arguments, data, xp):
    results = []
    for k in arguments.ks:
        for kind in ("VAE", "IWAE") if k > 1 else ("VAE",):  # for k = 1 both are the same model
            for seed in range(SEEDS):
                name = f"{kind.lower()}-{k}-{seed}"
                model = trained(kind, k, seed, arguments, data, xp, arguments.out / name)
                x = binarize(data.x_test, "dynamic", generator(0, "binarize test"))[:IMAGES]
                nll = -float(importance_weighted_bound(model, x, SAMPLES).mean())
                active = evaluate(model, x)["active_units"]
                results.append({"kind": kind, "k": k, "seed": seed, "nll": nll, "active": active})
                print(f"{name:12} NLL {nll:.2f} nats, {active} active units", flush=True)
    about = {"dataset": data.name, "train_images": len(data.x_train), "epochs": arguments.epochs}
    write_json(arguments.out / "iwae.json", about | {"models": results})
    draw(results, arguments.ks, data.name, arguments.out / "iwae.png")


def trained(kind, k, seed, arguments, data, xp, folder):
    """The model after its training, which goes on where an earlier one was stopped."""
    networks = MLPNetworks(data.shape, HIDDEN, generator(seed, "init"), activation=Tanh)
    options = {"k": k} if kind == "IWAE" else {}
    model = (IWAE if options else VAE).build(networks, LATENT_DIM, Bernoulli(), **options).to(xp)
    config = Config(
        arguments.epochs, 50, binarize="dynamic", samples=1 if options else k, seed=seed
    )
    trainer = Trainer(model, data, config, folder)
    if (folder / "checkpoint.npz").exists():
        trainer.restore(*load_checkpoint(folder / "checkpoint.npz"))
    trainer.fit()
    if not trainer.finished:
        raise KeyboardInterrupt(f" in {folder}; the same command goes on from here")
    return model


def draw(results, ks, data, path):
    """The NLL and the active units against k: a point for each seed, a line through the means."""
    with plots.page(path, plots.WIDTH, 3.2) as figure:
        for axes, what, i in zip(figure.subplots(1, 2), ("nll", "active"), (0, 1), strict=True):
            for kind, colour in COLOURS.items():
                rows = [row for row in results if row["kind"] == kind or row["k"] == 1]
                axes.plot([row["k"] for row in rows], [row[what] for row in rows], "o", c=colour)
                means = [np.mean([row[what] for row in rows if row["k"] == k]) for k in ks]
                axes.plot(ks, means, c=colour, label=f"{kind}, {data}")
                paper = [PAPER[kind][k][i] for k in PAPER[kind]]
                axes.plot([*PAPER[kind]], paper, "x--", c=colour, lw=0.8, label=f"{kind}, paper")
            axes.set_xscale("log", base=5)
            axes.set_xticks(ks, ks)
            axes.set_xlabel("k samples of z in training")
        left, right = figure.axes
        left.set(ylabel="NLL (nats per image)", title="negative log-likelihood, test images")
        right.set(ylabel=f"active units of {LATENT_DIM}", title="latent dimensions in use")
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)


def main(argv=None):
    parser = experiment_parser(__doc__, "iwae")
    parser.add_argument("--epochs", type=count, default=20, help="(default: 20)")
    ks = parser.add_argument("--ks", metavar="K,K", help="(default: 1,5,50)", default="1,5,50")
    ks.type = lambda text: tuple(count(number) for number in text.split(","))
    return run_experiment(__file__, parser, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
