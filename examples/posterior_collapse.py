"""Posterior collapse, watched: the KL of every latent dimension, epoch by epoch.

python examples/posterior_collapse.py --train-size 20000 --epochs 15

Above the usual VAE, and what makes codes collapse; below what is said to keep them alive."""

import sys

import numpy as np
from matplotlib.colors import LogNorm

from tinyvae import Bernoulli, Gaussian, LearnedGaussian, make_model
from tinyvae.engine.gaussian import kl_to_standard
from tinyvae.engine.schedules import constant, cyclical_annealing, linear_annealing
from tinyvae.laboratory.autoregressive import AutoregressiveBernoulli
from tinyvae.laboratory.experiment import experiment_parser, run_experiment
from tinyvae.laboratory.surgery import surgery
from tinyvae.rng import generator
from tinyvae.training import on_host, plots
from tinyvae.training.checkpoint import write_json
from tinyvae.training.config import Config
from tinyvae.training.diagnosis import collapse_warning
from tinyvae.training.evaluation import ACTIVE_VARIANCE, importance_weighted_bound
from tinyvae.training.trainer import Trainer

LATENT_DIM, SEED = 20, 0
REACH, WIDTH = 84, 16  # of the strong decoder: each pixel sees the three rows before it
FREE_BITS = 0.5  # nats a dimension
MEASURED = 2000  # test images
COLUMNS = ("total", "kl", "active_units", "information", "aggregate_kl", "marginal_kl")


def cases(steps):
    """name: likelihood, beta at each of so many steps, free bits."""

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
        model = make_model("vae", "mlp", LATENT_DIM, seed=SEED)
        model.likelihood = likelihood
        model.to(xp)
        kl = [kl_per_dimension(model, images)]
        config = Config(epochs=arguments.epochs, free_bits=free_bits, threads=1, seed=SEED)
        trainer = Trainer(model, data, config)
        trainer.beta_at = beta_at
        for epoch in range(1, arguments.epochs + 1):
            trainer.fit(epoch)
            kl.append(kl_per_dimension(model, images))
            print(f"{name}, epoch {epoch}: KL {sum(kl[-1]):.2f}", flush=True)
            if warning := collapse_warning(kl[-1]):
                print(warning)
        mu, logvar = on_host.posteriors(model, images)
        results[name] = surgery(mu, logvar, generator(SEED, "surgery")) | {
            "total": -float(importance_weighted_bound(model, images, samples=1).mean()),
            "active_units": int((mu.var(axis=0) > ACTIVE_VARIANCE).sum()),
            "kl_by_epoch": kl,
        }
    settings = {"dataset": data.name, "train_images": n, "epochs": arguments.epochs}
    write_json(arguments.out / "posterior_collapse.json", settings | {"cases": results})
    print(f"{data.name:18}", *(f"{name:>12}" for name in COLUMNS))
    for name, result in results.items():
        print(f"{name:18}", *(f"{result[column]:12.2f}" for column in COLUMNS))
    draw(results, arguments.out / "posterior_collapse.png")


def kl_per_dimension(model, images):
    return kl_to_standard(*on_host.posteriors(model, images)).mean(axis=0).tolist()


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
        figure.supylabel("latent dimensions, sorted by their last KL", size=9)
        bar = figure.colorbar(picture, ax=grid, label="KL of the dimension (nats)", extend="both")
        bar.set_ticks([0.01, 0.1, 1], labels=["0.01", "0.1", "1"])


def main(argv=None):
    parser = experiment_parser(__doc__, "posterior-collapse")
    parser.add_argument("--epochs", type=int, default=20, help="of each case (default: 20)")
    return run_experiment(__file__, parser, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
