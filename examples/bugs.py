"""A gallery of bugs: the classic mistakes in a VAE, made on purpose, and what comes of each.

    python examples/bugs.py --dataset digits    # the embedded digits: seconds a training
    python examples/bugs.py                     # MNIST, where it can be had

tinyvae/laboratory/bugs.py has the mistakes; docs/bugs.md tells what is seen, and what finds each.
"""

import sys

import numpy as np

from tinyvae import make_model, to_host
from tinyvae.data import to_float
from tinyvae.laboratory.bugs import patches_of, planted, vae_with_skip_connection
from tinyvae.laboratory.bugs_figure import draw
from tinyvae.laboratory.experiment import experiment_parser, run_experiment
from tinyvae.rng import generator
from tinyvae.training import on_host
from tinyvae.training.checkpoint import write_json
from tinyvae.training.evaluation import evaluate, importance_weighted_bound
from tinyvae.training.trainer import train

RIGHT, SKIP, RELU = "right code", "right, skip connection", "overwritten by ReLU"
TRAINED = (RIGHT, "std for variance", "mean over pixels", "sigmoid twice", "overwritten in the VAE")
WATCHED = ("forgotten sigmoid", "evaluating the mean")  # by wrong code; trained by the right
SHOWN = 6  # pictures of each kind
IMAGES, SAMPLES = 500, (1, 3, 10, 30, 100)  # of the importance-weighted bound


def measure(name, model, data):
    """What the code with the mistake says of a model, and what is true of it."""
    mu, logvar = on_host.posteriors(model, data.x_test)
    power = 2 if name == "std for variance" else 1  # z is drawn with the variance exp(logvar)^power
    spread = mu.var(axis=0) + np.exp(power * logvar).mean(axis=0)
    true = evaluate(model, data.x_test)
    with planted(patches_of(name)):
        said = evaluate(model, data.x_test)
        seen = model.reconstruct(to_float(data.x_test[:SHOWN]))
        new = model.sample_means(SHOWN, generator(0, "samples"))
    pictures = np.concatenate([to_host(seen), to_host(new)])[:, 0]  # (2 SHOWN, H, W)
    return {"said": said, "true": true, "spread_of_z": spread.tolist()}, pictures


def bounds(name, model, images):
    """The importance-weighted bound for every number of SAMPLES, in nats per image."""
    with planted(patches_of(name)):
        return [float(importance_weighted_bound(model, images, k).mean()) for k in SAMPLES]


def experiment(arguments, data, xp):
    numbers, pictures, curves = {}, {}, {}
    for name in (*TRAINED, SKIP, RELU):
        print(f"training: {name}", flush=True)
        model = vae_with_skip_connection() if name in (SKIP, RELU) else make_model(network="mlp")
        folder = name.replace(" ", "-")
        with planted(patches_of(name)):
            model.to(xp)
            history = train(model, data, arguments.epochs, folder=arguments.out / folder)
        numbers[name], pictures[name] = measure(name, model, data)
        curves[name] = [row["test_total"] for row in history]
        if name == RIGHT:
            right, images = model, data.x_test[:IMAGES]
    for name in WATCHED:
        numbers[name], pictures[name] = measure(name, right, data)
    with planted(patches_of("evaluating the mean")):
        of_the_mean = -evaluate(right, images)["total"]
    wrong = bounds("sum of the weights", right, images)
    numbers["bounds"] = {
        "samples": SAMPLES,
        "right": bounds(RIGHT, right, images),
        "sum of the weights": wrong,
        "evaluating the mean": of_the_mean,
    }
    numbers["curves"] = curves
    about = {"dataset": data.name, "train_images": len(data.x_train), "epochs": arguments.epochs}
    write_json(arguments.out / "bugs.json", about | numbers)

    print(
        f"\n{data.name}, nats per image{'reported':>20}{'true':>9}{'KL':>8}{'active':>8}{'MSE':>9}"
    )
    for name in (*TRAINED, *WATCHED, SKIP, RELU):
        said, true = numbers[name]["said"], numbers[name]["true"]
        print(
            f"{name:28}{said['total']:20.2f}{true['total']:9.2f}{true['kl']:8.2f}"
            f"{true['active_units']:8}{said['mse']:9.4f}"
        )
    print("bound from", *SAMPLES, "samples:", *np.round(numbers["bounds"]["right"], 2))
    print("from the sum of weights:", *np.round(wrong, 2), f"; of the mean: {of_the_mean:.2f}")
    shown = {name: pictures[name] for name in (*TRAINED, WATCHED[0])}
    draw(data.x_test[:SHOWN, 0] / 255, shown, numbers, arguments.out / "bugs.png")


def main(argv=None):
    parser = experiment_parser(__doc__, "bugs")
    parser.add_argument("--epochs", type=int, default=5)
    return run_experiment(__file__, parser, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
