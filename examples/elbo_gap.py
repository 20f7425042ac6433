"""The exact log p(x) of test images, and the two causes of the gap between it and the ELBO.

The VAE has two latent dimensions, because then log p(x) can be integrated numerically. The gap has
two parts: q is a diagonal Gaussian, and q comes from an encoder.

python examples/elbo_gap.py
python examples/elbo_gap.py --dataset digits
"""

import copy
import sys

import numpy as np

from tinyvae import make_model
from tinyvae.data import to_float
from tinyvae.errors import UserError
from tinyvae.laboratory.contours import draw_contours
from tinyvae.laboratory.experiment import experiment_parser, run_experiment
from tinyvae.laboratory.free_posterior import split_gap
from tinyvae.training import plots
from tinyvae.training.checkpoint import write_json
from tinyvae.training.command_line import count
from tinyvae.training.evaluation import importance_weighted_bound
from tinyvae.training.trainer import train

SAMPLES = (1, 10, 100, 1000)  # K of the importance-weighted bounds; each uses 1000 draws
PANELS = 6  # posteriors in the figure, from the smallest gap to the largest
COLOURS = {"encoder's q": plots.VERMILION, "best q": plots.BLUE}


def experiment(arguments, data, xp):
    most = len(data.x_test)
    if not PANELS <= arguments.images <= most:
        raise UserError(f"--images must be {PANELS} to {most}, got {arguments.images}")
    model = make_model(latent_dim=2).to(xp)
    history = train(model, data, arguments.epochs, folder=arguments.out / "vae")
    images = data.x_test[:: most // arguments.images][: arguments.images]
    exact = copy.deepcopy(model).to(xp, np.float64)
    print(f"integrating over the codes of {len(images)} test images ...")
    numbers, lattices = split_gap(exact, to_float(images, np.float64))
    for q in ("", "_best"):  # log p(x) = ELBO + KL(q || p(z|x)), so the residual is near zero
        numbers[f"residual{q}"] = numbers["log_p"] - numbers[f"elbo{q}"] - numbers[f"kl{q}"]
    numbers |= {f"bound_{samples}": bound(model, images, samples) for samples in SAMPLES}

    summary, keys = {}, ("mean", "standard_error", "median", "largest")
    print(f"{len(images)} test images, nats       mean  std. error     median    largest")
    for name, values in numbers.items():
        row = [values.mean(), values.std() / np.sqrt(len(images)), np.median(values)]
        row.append(values[np.abs(values).argmax()])
        print(f"{name:19}" + "".join(f"{number:11.5g}" for number in row))
        summary[name] = dict(zip(keys, map(float, row), strict=True))
    each = {name: values.tolist() for name, values in numbers.items()}
    about = {"dataset": data.name, "images": len(images), "last_epoch": history[-1]}
    write_json(arguments.out / "elbo_gap.json", about | {"summary": summary, "each": each})
    draw(arguments.out / "elbo_gap.png", images, numbers, lattices)


def bound(model, images, samples):
    """The importance-weighted bound of each image, averaged over as many as 1000 draws allow."""
    seeds = range(SAMPLES[-1] // samples)
    return np.mean([importance_weighted_bound(model, images, samples, seed=s) for s in seeds], 0)


def draw(path, images, numbers, lattices):
    approximation, amortization = numbers["approximation_gap"], numbers["amortization_gap"]
    order = np.argsort(approximation + amortization)
    shown = order[np.linspace(0, len(order) - 1, PANELS).round().astype(int)]
    with plots.page(path, plots.WIDTH, 6.8) as figure:
        upper, lower = figure.subfigures(2, 1, height_ratios=(5, 3))
        upper.suptitle("gap of the encoder's q = approximation + amortization, in nats", fontsize=9)
        grid = upper.subplots(2, PANELS, width_ratios=(3, 5) * (PANELS // 2))
        for n, (left, right) in zip(shown, grid.reshape(-1, 2), strict=True):
            plots.show(left, images[n, 0] / 255)
            legend = draw_contours(right, lattices[n], COLOURS)
            right.set_title(f"{approximation[n]:.2f} + {amortization[n]:.2f}", fontsize=8)
        upper.legend(handles=legend, loc="outside lower center", ncols=3)
        left, right = lower.subplots(1, 2)
        means = [numbers[f"bound_{samples}"].mean() for samples in SAMPLES]
        left.semilogx(SAMPLES, means, "o-", color=plots.VERMILION, label="bound, encoder's q")
        for name, label, line in (("elbo_best", "ELBO, best q", "--"), ("log_p", "log p(x)", "-")):
            left.axhline(numbers[name].mean(), color=plots.BLUE, ls=line, label=label)
        left.set(xlabel="K draws from the encoder's q", ylabel="mean over the images (nats)")
        left.set_xticks(SAMPLES, SAMPLES)
        left.legend()
        right.loglog(approximation, amortization, "o", color=plots.BLUE)
        right.axline((1, 1), (2, 2), color=plots.GREY, lw=0.8)
        right.set(xlabel="approximation gap (nats)", ylabel="amortization gap (nats)")
        right.set_title("one point per image; on the line both are equal", fontsize=8)


def main(argv=None):
    parser = experiment_parser(__doc__, "elbo-gap")
    parser.add_argument("--epochs", type=count, default=10, help="(default: 10)")
    parser.add_argument("--images", type=count, default=20, help="test images (default: 20)")
    return run_experiment(__file__, parser, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
