"""Hierarchical VAEs and a plain VAE: what several latent layers buy, and which layers are used.

python examples/hvae.py

All models have the same networks, steps and seeds. Images are binarized: bounds are likelihoods."""

import sys

import numpy as np

from tinyvae import make_model
from tinyvae.laboratory.experiment import experiment_parser, run_experiment
from tinyvae.laboratory.hierarchy import measure, redrawn
from tinyvae.laboratory.hierarchy_figure import draw
from tinyvae.rng import generator
from tinyvae.training.checkpoint import write_json
from tinyvae.training.command_line import count
from tinyvae.training.config import Config
from tinyvae.training.trainer import Trainer

SETTINGS = {"network": "mlp", "hidden": (200,), "latent_dim": 20}
TWO, FIVE = (10,), (16, 8, 4, 2)  # the latent layers above the first, in two models
FREE_BITS = 0.1  # nats per dimension
SHOWN = "2 layers, bottom-up"  # the model of the pictures


def cases(epochs):
    """{name: (settings of make_model, settings of Config)}"""
    annealed, free_bits = {"kl_anneal": epochs / 2}, {"free_bits": FREE_BITS}
    bottom_up, ladder = ({"model": "hvae", "inference": i} for i in ("bottom-up", "ladder"))
    return {
        "1 layer": ({}, {}),
        "1 layer, annealed": ({}, annealed),
        "1 layer of 30": ({"latent_dim": 30}, {}),
        SHOWN: (bottom_up | {"upper": TWO}, {}),
        "2 layers, ladder": (ladder | {"upper": TWO}, {}),
        "2 layers, ladder, annealed": (ladder | {"upper": TWO}, annealed),
        "5 layers, bottom-up": (bottom_up | {"upper": FIVE}, {}),
        "5 layers, bottom-up, annealed": (bottom_up | {"upper": FIVE}, annealed),
        "5 layers, bottom-up, free bits": (bottom_up | {"upper": FIVE}, free_bits),
        "5 layers, ladder": (ladder | {"upper": FIVE}, {}),
        "5 layers, ladder, annealed": (ladder | {"upper": FIVE}, annealed),
        "5 layers, ladder, free bits": (ladder | {"upper": FIVE}, free_bits),
    }


def trained(name, seed, epochs, data, xp):
    """A Trainer that has trained the model of this name."""
    print(f"\n{name}, seed {seed}:", flush=True)
    settings, config = cases(epochs)[name]
    model = make_model(**SETTINGS | settings, seed=seed).to(xp)
    trainer = Trainer(model, data, Config(epochs, binarize="dynamic", seed=seed, **config))
    trainer.fit()
    if not trainer.finished:
        raise KeyboardInterrupt(f" in {name}, seed {seed}")
    return trainer


def experiment(arguments, data, xp):
    epochs, results = arguments.epochs, {name: [] for name in cases(arguments.epochs)}
    about = {"dataset": data.name, "train_images": len(data.x_train), "epochs": epochs}
    for seed in range(arguments.seeds):
        for name, rows in results.items():
            trainer = trained(name, seed, epochs, data, xp)
            rows.append(measure(trainer, seed))
            write_json(arguments.out / "hvae.json", about | {"cases": results})
            if name == SHOWN and seed == 0:
                held, rng = ([1], [0], []), generator(0, "pictures")
                pictures = [redrawn(trainer.model, layers, 6, 6, rng)[:, :, 0] for layers in held]
    print(f"\n{data.name:30}   bound ± half range     NLL ± half range   KL of each layer")
    for name, rows in results.items():
        numbers = [[row[key] for row in rows] for key in ("total", "nll")]
        shown = (f"{np.mean(n):12.2f} ±{np.ptp(n) / 2:5.2f}" for n in numbers)
        kl = np.mean([row["kl"] for row in rows], axis=0)
        print(f"{name:30}", *shown, "  ", *(f"{part:6.2f}" for part in kl))
    draw(results, pictures, arguments.out / "hvae.png")


def main(argv=None):
    parser = experiment_parser(__doc__, "hvae")
    parser.add_argument("--epochs", type=count, default=5, help="for each model (default: 5)")
    parser.add_argument("--seeds", type=count, default=2, help="of each model (default: 2)")
    return run_experiment(__file__, parser, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
