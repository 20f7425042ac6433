"""Posterior collapse: the KL of every latent dimension, epoch by epoch.

python examples/posterior_collapse.py --train-size 20000 --epochs 15

The figure has a plain VAE and three causes of collapse above, four supposed remedies below."""

import sys

import numpy as np
from matplotlib.colors import LogNorm

from tinyvae import Bernoulli, Gaussian, LearnedGaussian
from tinyvae.engine.schedules import constant, cyclical_annealing, linear_annealing
from tinyvae.laboratory.autoregressive import AutoregressiveBernoulli, VAEWithoutMean
from tinyvae.laboratory.experiment import experiment_parser, run_experiment
from tinyvae.laboratory.surgery import kl_per_dimension, surgery
from tinyvae.models.networks import MLPNetworks
from tinyvae.rng import generator
from tinyvae.training import on_host, plots
from tinyvae.training.checkpoint import write_json
from tinyvae.training.command_line import count
from tinyvae.training.config import Config
from tinyvae.training.evaluation import ACTIVE_VARIANCE, importance_weighted_bound
from tinyvae.training.trainer import Trainer

LATENT_DIM, SEED = 20, 0
REACH, WIDTH = 84, 16  # the strong decoder: each pixel sees the three rows before it, 16 filters
FREE_BITS = 0.5  # nats per dimension
MEASURED = 2000  # test images
COLUMNS = ("total", "kl", "active_units", "information", "aggregate_kl", "marginal_kl")


def cases(steps):
    """{name: (likelihood, beta at each of `steps` steps, free bits)}."""

    def strong():
        return AutoregressiveBernoulli(REACH, WIDTH, rng=generator(SEED, "context"))

    return {
        "plain": (Bernoulli(), constant(1.0), 0.0),
        "strong decoder": (strong(), constant(1.0), 0.0),
        "σ² = 1": (Gaussian(1.0), constant(1.0), 0.0),
        "σ² = 10": (Gaussian(10.0), constant(1.0), 0.0),
        "strong, annealed": (strong(), linear_annealing(1.0, steps / 2), 0.0),
        "strong, cyclical": (strong(), cyclical_annealing(1.0, steps / 4), 0.0),
        "strong, free bits": (strong(), constant(1.0), FREE_BITS),
        "σ² learned": (LearnedGaussian(), constant(1.0), 0.0),
    }


def experiment(arguments, data, xp):
    n, images, results = len(data.x_train), data.x_test[:MEASURED], {}
    for name, (likelihood, beta_at, free_bits) in cases(arguments.epochs * -(-n // 128)).items():
        print(f"\n{name}:", flush=True)
        networks = MLPNetworks(data.shape, (400,), generator(SEED, "init"))
        model = VAEWithoutMean.build(networks, LATENT_DIM, likelihood).to(xp)
        config = Config(epochs=arguments.epochs, free_bits=free_bits, threads=1, seed=SEED)
        trainer, kl = Trainer(model, data, config), []
        trainer.beta_at = beta_at
        for epoch in range(arguments.epochs + 1):  # epoch 0 is before training
            trainer.fit(epoch)
            if len(trainer.history) < epoch:
                raise KeyboardInterrupt(f" in epoch {epoch} of {name}")
            kl.append(kl_per_dimension(*on_host.posteriors(model, images)).tolist())
        mu, logvar = on_host.posteriors(model, images)
        results[name] = surgery(mu, logvar, generator(SEED, "surgery")) | {"kl_by_epoch": kl}
        bound = importance_weighted_bound(model, images, samples=1)  # one sample: the ELBO
        results[name]["total"] = -float(bound.mean())
        results[name]["active_units"] = int((mu.var(axis=0) > ACTIVE_VARIANCE).sum())
    settings = {"dataset": data.name, "train_images": n, "epochs": arguments.epochs}
    write_json(arguments.out / "posterior_collapse.json", settings | {"cases": results})
    print(f"\n{data.name:18}", *(f"{name:>12}" for name in COLUMNS))
    for name, result in results.items():
        print(f"{name:18}", *(f"{result[column]:12.2f}" for column in COLUMNS))
    draw(results, arguments.out / "posterior_collapse.png")


def draw(results, path):
    with plots.page(path, plots.WIDTH, 3.8) as figure:
        grid = figure.subplots(2, 4, sharex=True, sharey=True)
        for axes, (name, result) in zip(grid.flat, results.items(), strict=True):
            kl = np.array(result["kl_by_epoch"])
            kl = kl[:, np.argsort(-kl[-1])].T  # (L, epochs)
            picture = axes.imshow(kl, norm=LogNorm(0.01, 3), aspect="auto", interpolation="none")
            axes.set_title(f"{name}\nKL {result['kl']:.2f} nats", size=8)
            axes.set_yticks([0, 9, 19], [1, 10, 20])
        figure.supxlabel("epoch", size=9)
        figure.supylabel("latent dimensions, sorted by their final KL", size=9)
        bar = figure.colorbar(picture, ax=grid, label="KL of the dimension (nats)", extend="both")
        bar.set_ticks([0.01, 0.1, 1], labels=["0.01", "0.1", "1"])


def main(argv=None):
    parser = experiment_parser(__doc__, "posterior-collapse")
    parser.add_argument("--epochs", type=count, default=20, help="for each case (default: 20)")
    return run_experiment(__file__, parser, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
