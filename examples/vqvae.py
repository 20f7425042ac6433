"""A VQ-VAE: a grid of codes from a codebook, a prior over the grids, and what an image costs.

python examples/vqvae.py --train-size 10000              # MNIST
python examples/vqvae.py --dataset digits                # synthetic digits

Pixels are black or white, so that all numbers are code lengths in bits. The codebook learns by its
gradient or follows moving averages. A VAE with the same convolutions stands beside.
"""

import sys
from dataclasses import replace

from tinyvae import CodePrior, make_model
from tinyvae.data import binarize
from tinyvae.laboratory.experiment import experiment_parser, run_experiment
from tinyvae.laboratory.grid_codes import BITS, as_dataset, code_lengths, pictures
from tinyvae.laboratory.grid_codes_figure import draw
from tinyvae.rng import generator
from tinyvae.training.checkpoint import write_json
from tinyvae.training.command_line import count
from tinyvae.training.evaluation import evaluate
from tinyvae.training.plots import plain
from tinyvae.training.trainer import train

SHOWN, SAMPLES, DIM = 10, 32, 16  # images above; drawn ones below; numbers in a codebook vector
FOR_PRIOR = {"batch_size": 64, "lr": 4e-3}  # it learns faster so than by the defaults


def experiment(arguments, data, xp):
    parts = {name: binarize(getattr(data, name), "threshold") for name in ("x_train", "x_test")}
    data, out = replace(data, **parts, name=f"{data.name}, black and white"), arguments.out
    vae = make_model("vae", "conv").to(xp)
    time = seconds(train(vae, data, arguments.epochs, folder=out / "vae"))
    test = evaluate(vae, data.x_test)
    bound = {name: BITS * test[name] for name in ("total", "reconstruction", "kl")}
    bound |= {"mse": test["mse"], "parameters": vae.theta.size, "seconds": time}
    results, images = {}, {}
    for codebook in ("gradient", "ema"):
        options = {"codes": arguments.codes, "codebook": codebook}
        model = make_model("vqvae", "conv", DIM, **options).to(xp)
        time = seconds(train(model, data, arguments.epochs, folder=out / f"vqvae-{codebook}"))
        codes = as_dataset(model, data)
        prior = CodePrior.build(arguments.codes, model.grid, generator(0, "prior")).to(xp)
        learned = train(prior, codes, arguments.prior_epochs, **FOR_PRIOR)
        one = {"parameters": model.theta.size, "seconds": time}
        one |= {"prior_parameters": prior.theta.size, "prior_seconds": seconds(learned)}
        results[codebook] = one | code_lengths(model, prior, data, codes)
        images[codebook] = pictures(model, prior, data.x_test[:SHOWN], SAMPLES)
    settings = {"dataset": data.name, "train_images": len(data.x_train)}
    settings |= {name: getattr(arguments, name) for name in ("epochs", "prior_epochs", "codes")}
    write_json(out / "vqvae.json", settings | {"vae": bound, "vqvae": results})
    report(bound, results)
    best = min(results, key=lambda codebook: results[codebook]["total_bits"]["prior"])
    title = f"VQ-VAE, codebook by {best}, {arguments.codes} codes: {plain(data.name)}"
    draw(images[best], results[best], bound, out / "vqvae.png", title)


def seconds(history):
    return sum(row["seconds"] for row in history)


def report(vae, results):
    print(f"\n{'bits per image':20}{'decoder':>9}{'codes':>9}{'total':>9}")
    print(f"{'VAE':20}{vae['reconstruction']:9.1f}{vae['kl']:9.1f}{vae['total']:9.1f}")
    for name, one in results.items():
        decoder = one["reconstruction_bits"]
        for prior, total in one["total_bits"].items():
            print(f"{f'{name}, {prior}':20}{decoder:9.1f}{total - decoder:9.1f}{total:9.1f}")
    print(f"squared error of the VAE {vae['mse']:.4f}")
    for name, one in results.items():
        bits = ", ".join(f"{prior} {value:.3f}" for prior, value in one["bits_per_code"].items())
        print(
            f"{name}: squared error {one['mse']:.4f}, perplexity {one['perplexity']:.1f}, "
            f"{one['codes_in_use']} codes in use; bits per code: {bits}"
        )


def main(argv=None):
    parser = experiment_parser(__doc__, "vqvae")
    numbers = ("--epochs", 10), ("--prior-epochs", 8), ("--codes", 128)
    for name, default in numbers:
        parser.add_argument(name, type=count, default=default, help=f"(default: {default})")
    return run_experiment(__file__, parser, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
