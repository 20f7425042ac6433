"""All models of tinyvae on the same data, trained alike and measured alike: what each buys.

python examples/variants.py                        # MNIST
python examples/variants.py --dataset digits

The pixels are black or white, drawn anew in every epoch, so that bounds are bounds on likelihoods.
"""

import sys

import numpy as np

from tinyvae import CodePrior, make_model, to_host
from tinyvae.data import binarize
from tinyvae.laboratory.experiment import experiment_parser, run_experiment
from tinyvae.laboratory.grid_codes import as_dataset, grids
from tinyvae.rng import generator
from tinyvae.training import plots
from tinyvae.training.checkpoint import write_json
from tinyvae.training.command_line import count
from tinyvae.training.evaluation import evaluate, importance_weighted_bound
from tinyvae.training.on_host import in_batches
from tinyvae.training.trainer import train

MODELS = {  # name: arguments of make_model
    "AE": {"model": "ae"},
    "VAE": {"model": "vae"},
    "CVAE": {"model": "cvae"},
    "IWAE, k = 5": {"model": "iwae", "k": 5},
    "HVAE, 20 + 10": {"model": "hvae", "upper": (10,), "inference": "ladder"},
    "flow, 4 couplings": {"model": "flow", "flow": "coupling", "flow_steps": 4},
    "VQ-VAE, 7x7 codes": {"model": "vqvae", "network": "conv", "latent_dim": 16, "codes": 128},
}
IMAGES, SAMPLES = 500, 500  # of the importance-weighted bound: test images, samples of z for each
SHOWN = 10  # samples of each model
PRIOR = {"epochs": 3, "batch_size": 32, "lr": 4e-3}  # of the VQ-VAE's codes
COLUMNS = ("bound", "nll", "reconstruction", "rate", "mse", "units", "seconds", "parameters")


def experiment(arguments, data, xp):
    results, samples = {}, {}
    x = binarize(data.x_test, "dynamic", generator(0, "binarize test"))
    for name, settings in MODELS.items():
        print(f"\n{name}:", flush=True)
        model = make_model(**{"network": arguments.network} | settings).to(xp)
        folder = arguments.out / settings["model"]
        history = train(model, data, arguments.epochs, binarize="dynamic", folder=folder)
        row = {"seconds": sum(row["seconds"] for row in history), "parameters": model.theta.size}
        row |= measure(model, x, data.y_test)
        rng = generator(0, "samples")
        if model.sample_means:
            labels = [np.arange(SHOWN)] if model.classes else []
            samples[name] = to_host(model.sample_means(SHOWN, rng, *labels))
        else:
            codes = as_dataset(model, data)
            prior = CodePrior.build(settings["codes"], model.grid, generator(0, "prior")).to(xp)
            train(prior, codes, **PRIOR)
            sent = grids(model, x).reshape(len(x), -1).astype(np.float32)
            row["rate"] = evaluate(prior, sent)["nll"]
            row["bound"] = row["reconstruction"] + row["rate"]
            samples[name] = in_batches(model, model.decode, to_host(prior.sample(SHOWN, rng)))
        results[name] = row
    about = {"dataset": data.name, "train_images": len(data.x_train), "epochs": arguments.epochs}
    write_json(arguments.out / "variants.json", about | {"models": results})
    print(f"\n{data.name:18}", *(f"{column:>14}" for column in COLUMNS))
    for name, row in results.items():
        print(f"{name:18}", *(f"{row[c]:14.5g}" if c in row else f"{'-':>14}" for c in COLUMNS))
    draw(samples, arguments.out / "variants.png", f"samples, {data.name}")


def measure(model, x, labels):
    """bound, nll, reconstruction and rate in nats per image; mse; active units or perplexity."""
    test, row = evaluate(model, x, labels), {}
    row |= {name: test[name] for name in ("reconstruction", "mse") if name in test}
    if model.log_weights:
        some = importance_weighted_bound(model, x[:IMAGES], SAMPLES, labels[:IMAGES])
        row |= {"bound": test["total"], "nll": -float(some.mean())}
    if "kl" in test:
        row["rate"] = test["kl"]
    return row | {"units": test["active_units"] if "active_units" in test else test["perplexity"]}


def draw(samples, path, title):
    """A row of samples for each model."""
    with plots.page(path, plots.WIDTH, 0.66 * len(samples) + 0.4) as figure:
        axes = figure.subplots()
        plots.show_rows(axes, np.stack(list(samples.values())), list(samples))
        axes.set_title(title)


def main(argv=None):
    parser = experiment_parser(__doc__, "variants")
    parser.add_argument("--network", choices=("conv", "mlp"), default="mlp", help="(default: mlp)")
    parser.add_argument("--epochs", type=count, default=10, help="(default: 10)")
    return run_experiment(__file__, parser, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
