"""Train the tutorial's VAE and compare every epoch with five reference runs.

python examples/verify.py                       # MNIST, 20 epochs
python examples/verify.py --epochs 5            # the first five epochs, after a change to the code
python examples/verify.py --dataset digits      # without MNIST

The reference runs, in examples/reference.json, differ only in their seed, and this run has another
seed. A number is right if it differs from their mean by at most six standard deviations, which are
estimated from three epochs. On MNIST this tolerance of the loss is 16 nats in epoch 2, 2.2 in epoch
5 and 1.8 in epoch 20. Exit code 0 if all numbers are right, else 1.
"""

import json
import sys
from pathlib import Path

import numpy as np

from tinyvae import make_model
from tinyvae.errors import UserError
from tinyvae.laboratory.experiment import experiment_parser, run_experiment
from tinyvae.training import plots
from tinyvae.training.command_line import count
from tinyvae.training.config import Config
from tinyvae.training.trainer import Trainer

REFERENCE = Path(__file__).with_name("reference.json")
SEED = 5  # the reference runs have 0 to 4
WIDTH, AROUND = (
    6,
    1,
)  # the tolerance in standard deviations; epochs before and after to average over
NAMES = {  # column of history.csv: the name that is printed, and the smallest tolerance
    "test_total": ("loss", 0.2),
    "test_reconstruction": ("reconstruction", 0.2),
    "test_kl": ("KL", 0.2),
    "active_units": ("active units", 1),
}


def expected(curves, column):
    """The mean and the tolerance of each epoch, from {seed: {column: [one value per epoch]}}."""
    runs = np.array([run[column] for run in curves.values()])  # (seeds, epochs)
    variance, epochs = runs.var(axis=0, ddof=1), np.arange(runs.shape[1])
    near = np.abs(epochs[:, None] - epochs) <= AROUND
    std = np.sqrt(near @ variance / near.sum(axis=1))
    return runs.mean(axis=0), np.maximum(WIDTH * std, NAMES[column][1])


def experiment(arguments, data, xp):
    reference = json.loads(REFERENCE.read_text("utf-8"))
    if data.name not in reference:
        raise UserError(f"there is no reference for {data.name}, only for {', '.join(reference)}")
    bands = {column: expected(reference[data.name], column) for column in NAMES}
    most = len(bands["test_total"][0])
    if not 1 <= arguments.epochs <= most or arguments.train_size:
        has = f"epochs 1 to {most} of all images"
        raise UserError(f"the reference has {has}; correct --epochs or leave out --train-size")
    model, config, wrong = make_model(seed=SEED).to(xp), Config(arguments.epochs, seed=SEED), []
    trainer = Trainer(model, data, config, arguments.out)
    for epoch in range(arguments.epochs):
        trainer.fit(epoch + 1)
        if len(trainer.history) <= epoch:
            raise KeyboardInterrupt(f" in epoch {epoch + 1}")
        verdicts = []
        for column, (mean, tolerance) in bands.items():
            value, name = trainer.history[epoch][column], NAMES[column][0]
            good = abs(value - mean[epoch]) <= tolerance[epoch]
            band = f"{mean[epoch]:.1f} ± {tolerance[epoch]:.1f}"
            verdicts.append(f"{name} {value:.1f} ({band}){'' if good else ' WRONG'}")
            if not good:
                wrong.append(f"{name} in epoch {epoch + 1}")
        print(f"epoch {epoch + 1:2}: {', '.join(verdicts)}", flush=True)
    draw(trainer.history, bands, arguments.out / "verify.png", data.name)
    print(f"wrong: {', '.join(wrong)}" if wrong else "it learns as it should")
    return 1 if wrong else 0


def draw(history, bands, path, dataset):
    """Draw this run over the band of right values."""
    with plots.page(path, plots.WIDTH, 4.2) as figure:
        figure.suptitle(f"The tutorial's VAE on {dataset}: this run and the band of right values")
        grid = figure.subplots(2, 2).flat
        for axes, (column, (mean, tolerance)) in zip(grid, bands.items(), strict=True):
            epochs, curve = 1 + np.arange(len(mean)), [row[column] for row in history]
            axes.fill_between(epochs, mean - tolerance, mean + tolerance, color="0.85")
            axes.plot(epochs[: len(curve)], curve, "o-", color=plots.BLUE)
            unit = "" if column == "active_units" else " (nats per image)"
            axes.set(title=NAMES[column][0] + unit, xlabel="epoch", xlim=(0.5, len(mean) + 0.5))


def main(argv=None):
    parser = experiment_parser(__doc__, "verify")
    parser.add_argument("--epochs", type=count, default=20, help="(default: 20)")
    return run_experiment(__file__, parser, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
