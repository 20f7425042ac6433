"""A gallery of bugs: the classic mistakes in a VAE, made on purpose, and their effects.

    python examples/bugs.py --dataset digits    # synthetic digits: seconds for each training run
    python examples/bugs.py                     # MNIST

tinyvae/laboratory/bugs.py has the mistakes. docs/bugs.md describes the symptoms of each mistake and
the test that finds it.
"""

import sys

import numpy as np

from tinyvae import make_model, to_host
from tinyvae.data import to_float
from tinyvae.laboratory.bugs import patches_of, planted, vae_with_skip_connection
from tinyvae.laboratory.bugs_figure import draw
from tinyvae.laboratory.experiment import experiment_parser, run_experiment
from tinyvae.rng import generator
from tinyvae.training import evaluation, on_host
from tinyvae.training.checkpoint import write_json
from tinyvae.training.command_line import count
from tinyvae.training.trainer import train

RIGHT, SKIP, RELU = "right code", "right, skip connection", "overwritten by ReLU"
TRAINED = (RIGHT, "std for variance", "mean over pixels", "sigmoid twice", "overwritten in the VAE")
EVALUATED = ("forgotten sigmoid", "evaluating the mean")  # training has no mistake, evaluation has
SHOWN = 6  # images of each kind
IMAGES, SAMPLES = 500, (1, 3, 10, 30, 100)  # for the importance-weighted bound


def measure(name, model, data):
    """What the code with the mistake reports about a model, and what the right code reports."""
    mu, logvar = on_host.posteriors(model, data.x_test)
    power = 2 if name == "std for variance" else 1  # z is drawn with the variance exp(logvar)^power
    variance = mu.var(axis=0) + np.exp(power * logvar).mean(axis=0)  # var(z), all images
    true = evaluation.evaluate(model, data.x_test)
    with planted(patches_of(name)):
        said = evaluation.evaluate(model, data.x_test)
        reconstructions = model.reconstruct(to_float(data.x_test[:SHOWN]))
        samples = model.sample_means(SHOWN, generator(0, "samples"))
    pictures = np.concatenate([to_host(reconstructions), to_host(samples)])[:, 0]  # (2 n, H, W)
    return {"said": said, "true": true, "spread_of_z": variance.tolist()}, pictures


def bounds(name, model, images):
    """The importance-weighted bound for every number of SAMPLES, in nats per image."""
    with planted(patches_of(name)):
        bound = evaluation.importance_weighted_bound
        return [float(bound(model, images, k).mean()) for k in SAMPLES]


def experiment(arguments, data, xp):
    numbers, pictures, curves = {}, {}, {}
    for name in (*TRAINED, SKIP, RELU):
        print(f"training with: {name}", flush=True)
        model = vae_with_skip_connection() if name in (SKIP, RELU) else make_model(network="mlp")
        model, folder = model.to(xp), arguments.out / name.replace(" ", "-")
        with planted(patches_of(name)):
            history = train(model, data, arguments.epochs, folder=folder)
        numbers[name], pictures[name] = measure(name, model, data)
        curves[name] = [row["test_total"] for row in history]
        if name == RIGHT:
            right, images = model, data.x_test[:IMAGES]
    for name in EVALUATED:
        numbers[name], pictures[name] = measure(name, right, data)
    with planted(patches_of("evaluating the mean")):
        mean_elbo = -evaluation.evaluate(right, images)["total"]
    wrong, true = (bounds(name, right, images) for name in ("sum of the weights", RIGHT))
    numbers["bounds"] = {"samples": SAMPLES, "right": true, "sum of the weights": wrong}
    numbers["bounds"]["evaluating the mean"] = mean_elbo
    numbers["curves"] = curves
    about = {"dataset": data.name, "train_images": len(data.x_train), "epochs": arguments.epochs}
    write_json(arguments.out / "bugs.json", about | numbers)

    head = ("reported", "true", "KL", "active", "MSE")
    print(f"\n{data.name + ', nats per image':38}", *(f"{name:>9}" for name in head))
    for name in (*TRAINED, *EVALUATED, SKIP, RELU):
        said, true = numbers[name]["said"], numbers[name]["true"]
        row = f"{said['total']:9.2f} {true['total']:9.2f} {true['kl']:9.2f}"
        print(f"{name:38} {row} {true['active_units']:9} {said['mse']:9.4f}")
    print("bounds from", *SAMPLES, "samples:", *np.round(numbers["bounds"]["right"], 2))
    print("from the sum of the weights:", *np.round(wrong, 2))
    print(f"ELBO with z = mu: {mean_elbo:.2f}")
    shown = {name: pictures[name] for name in (*TRAINED, EVALUATED[0])}
    draw(data.x_test[:SHOWN, 0] / 255, shown, numbers, arguments.out / "bugs.png")


def main(argv=None):
    parser = experiment_parser(__doc__, "bugs")
    parser.add_argument("--epochs", type=count, default=5)
    return run_experiment(__file__, parser, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
