"""Normalizing flows for q(z|x): what they buy over a Gaussian, and how close they come to p(z|x).

python examples/flow.py
python examples/flow.py --dataset digits

All models have the same networks, steps and seeds. Images are binarized: bounds are likelihoods."""

import sys

import numpy as np

from tinyvae import make_model, to_host
from tinyvae.data import to_float
from tinyvae.laboratory.experiment import experiment_parser, run_experiment
from tinyvae.laboratory.flow_figure import draw
from tinyvae.laboratory.flow_posterior import split_gap
from tinyvae.training.checkpoint import write_json
from tinyvae.training.command_line import count
from tinyvae.training.config import Config
from tinyvae.training.evaluation import evaluate, importance_weighted_bound
from tinyvae.training.trainer import Trainer

SETTINGS = {"model": "flow", "network": "mlp", "hidden": (200,)}
STEPS = 4
FLOWS = ("planar", "coupling", "iaf")
KINDS = {"gaussian": {"flow_steps": 0}} | {k: {"flow": k, "flow_steps": STEPS} for k in FLOWS}
LATENT_DIM, IMAGES, SAMPLES = 20, 500, 500  # for the NLL: so many images, so many draws for each
TRAINED = ("gaussian", "iaf")  # the q of the two models with two latent dimensions


def experiment(arguments, data, xp):
    results = {kind: [] for kind in KINDS}
    for seed in range(arguments.seeds):
        for kind in KINDS:
            model, x, seconds = trained(kind, LATENT_DIM, seed, arguments, data, xp)
            numbers = {name: evaluate(model, x, seed=seed)[name] for name in ("total", "kl")}
            numbers["nll"] = -float(importance_weighted_bound(model, x[:IMAGES], SAMPLES).mean())
            own = {"seconds": seconds, "parameters": model.theta.size}
            results[kind].append(numbers | own)
    gaps, examples = {}, {}
    for kind in TRAINED:
        model, x, _ = trained(kind, 2, 0, arguments, data, xp)
        x = to_float(to_host(x[:: len(x) // arguments.images][: arguments.images]), np.float64)
        print(f"integrating over the codes of {len(x)} test images ...", flush=True)
        numbers, lattices = split_gap(model.to(np, np.float64), x, FLOWS, STEPS)
        gaps[kind] = {name: values.tolist() for name, values in numbers.items()}
        examples[kind] = x, lattices
    about = {"dataset": data.name, "train_images": len(data.x_train), "epochs": arguments.epochs}
    write_json(arguments.out / "flow.json", about | {"kinds": results, "gaps": gaps})
    print_tables(results, gaps)
    draw(results, gaps, examples, arguments.out / "flow.png")


def trained(kind, latent_dim, seed, arguments, data, xp):
    """The model, the binarized test images, and the seconds of its training."""
    print(f"\n{kind}, {latent_dim} latent dimensions, seed {seed}:", flush=True)
    model = make_model(**SETTINGS | KINDS[kind], latent_dim=latent_dim, seed=seed).to(xp)
    trainer = Trainer(model, data, Config(arguments.epochs, binarize="dynamic", seed=seed))
    trainer.fit()
    if not trainer.finished:
        raise KeyboardInterrupt(f" in {kind}, seed {seed}")
    return model, trainer.x_test, sum(row["seconds"] for row in trainer.history)


def print_tables(results, gaps):
    """Nats per image: means over the seeds and half their range; then means over images."""
    print("\n20 dimensions      negative ELBO       negative log p(x)   KL   seconds   parameters")
    for kind, rows in results.items():
        numbers = [[row[key] for row in rows] for key in ("total", "nll")]
        shown = (f"{np.mean(n):12.2f} ± {np.ptp(n) / 2:4.2f}" for n in numbers)
        kl, seconds = (np.mean([row[key] for row in rows]) for key in ("kl", "seconds"))
        print(f"{kind:10}", *shown, f"{kl:9.2f} {seconds:9.0f} {rows[0]['parameters']:11}")
    print("\n2 dimensions: log p(x) - ELBO, mean and median")
    for model, numbers in gaps.items():
        print(f"decoder trained with q = {model}: log p(x) {np.mean(numbers['log_p']):.2f}")
        for name in ("", *(f"_{kind}" for kind in KINDS)):
            gap = np.subtract(numbers["log_p"], numbers[f"elbo{name}"])
            label = f"best {name[1:]}" if name else "encoder's q"
            kl = np.array(numbers.get(f"kl{name}", gap))
            residual = f"   residual {np.abs(gap - kl).max():.1e}" if f"kl{name}" in numbers else ""
            print(f"  {label:15} {gap.mean():9.4f} {np.median(gap):9.4f}{residual}")


def main(argv=None):
    parser = experiment_parser(__doc__, "flow")
    parser.add_argument("--epochs", type=count, default=4, help="for each model (default: 4)")
    parser.add_argument("--seeds", type=count, default=2, help="of each model (default: 2)")
    parser.add_argument("--images", type=count, default=8, help="integrated (default: 8)")
    return run_experiment(__file__, parser, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
