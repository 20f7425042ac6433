"""A conditional VAE beside the plain VAE: what knowing the digit saves, and digits on request.

python examples/cvae.py                                         # MNIST, two seeds
python examples/cvae.py --dataset digits --epochs 20            # synthetic digits

Networks, seeds and budget are the same. Pixels are black or white, drawn anew in every epoch.
"""

import sys
from itertools import product

import numpy as np
from scipy.special import entr

from tinyvae import make_model
from tinyvae.data import binarize
from tinyvae.laboratory.conditional import bounds, pictures, shares
from tinyvae.laboratory.experiment import experiment_parser, run_experiment
from tinyvae.laboratory.judge import Judge
from tinyvae.rng import generator
from tinyvae.training import plots
from tinyvae.training.checkpoint import write_json
from tinyvae.training.command_line import count
from tinyvae.training.trainer import train

CLASSES = 10
KINDS = {"vae": {}, "cvae": {"classes": CLASSES}}
LOOKS = {"color": plots.BLUE}, {"color": plots.VERMILION, "hatch": "///"}
JUDGE_EPOCHS = 2  # then it is wrong on about 2% of MNIST's test images


def experiment(arguments, data, xp):
    judge, size = Judge(data, JUDGE_EPOCHS, xp), (arguments.network, arguments.latent_dim)
    rng = generator(0, "binarize")
    x, x_train = (binarize(images, "dynamic", rng) for images in (data.x_test, data.x_train))
    prior = np.bincount(data.y_train, minlength=CLASSES) / len(data.y_train)
    numbers, asked, models = {kind: [] for kind in KINDS}, {"samples": [], "changed": []}, []
    for seed, kind in product(range(arguments.seeds), KINDS):
        model = make_model(kind, *size, seed=seed, **KINDS[kind]).to(xp)
        folder = arguments.out / f"{kind}-{seed}"
        train(model, data, arguments.epochs, seed=seed, binarize="dynamic", folder=folder)
        models.append(model)
        numbers[kind].append(bounds(model, x, data.y_test, x_train, data.y_train, prior, judge))
        if model.classes:
            for name, by_class in shares(model, x, data.y_test, judge, seed).items():
                asked[name].append(by_class.tolist())
    results = {"dataset": data.name, "train_images": len(data.x_train), "epochs": arguments.epochs}
    results |= {"network": size[0], "latent_dim": size[1], "numbers": numbers, "asked": asked}
    results["entropy of the class"] = float(entr(prior).sum())
    results["classifier on test images"] = judge.accuracy(data.x_test, data.y_test)
    write_json(arguments.out / "cvae.json", results)
    report(results)
    draw(pictures(models[1], x, data.y_test), results, arguments.out / "cvae.png")


def report(results):
    print(f"\n{results['dataset']}: means over the seeds (ranges)\n{'':22}{'VAE':>20}{'CVAE':>20}")
    for row in results["numbers"]["cvae"][0]:
        columns = [[one[row] for one in results["numbers"][kind] if row in one] for kind in KINDS]
        cells = [f"{np.mean(v):11.3f} ({np.ptp(v):6.3f})" if v else "-" for v in columns]
        print(f"{row:22}", *(f"{cell:>19}" for cell in cells))
    print(f"entropy of the class: {results['entropy of the class']:.3f} nats")
    for name, values in results["asked"].items():
        seeds = ", ".join(f"{np.mean(by_class):.1%}" for by_class in values)
        print(f"{name}: judged to be of the asked class, by seed: {seeds}")
    print(f"the classifier on real test images: {results['classifier on test images']:.1%}")


def draw(sheets, results, path):
    """Three sheets of images, and how often the classifier sees the class that was asked for."""
    classes = [f"{k}" for k in range(CLASSES)]
    with plots.page(path, plots.WIDTH, 6.7) as figure:
        *panels, bars = figure.subplots(2, 2).flat
        for axes, (title, images) in zip(panels, sheets.items(), strict=True):
            plots.show_rows(axes, images, classes)
            axes.set(title=title, ylabel="class")
        for i, (name, shares_of) in enumerate(results["asked"].items()):
            place, look = np.arange(CLASSES) + 0.4 * i - 0.2, LOOKS[i] | {"label": name}
            bars.bar(place, 100 * np.mean(shares_of, axis=0), 0.4, edgecolor="w", **look)
        bars.axhline(95, color="k", ls="--", label="95%")
        bars.set(
            title="Judged to be of the asked class", xlabel="asked class", ylabel="% of images"
        )
        bars.set(xticks=range(CLASSES), ylim=(0, 120), yticks=range(0, 101, 20))
        bars.legend(ncols=3, loc="upper center", columnspacing=1)


def main(argv=None):
    parser = experiment_parser(__doc__, "cvae")
    parser.add_argument("--network", choices=("conv", "mlp"), default="mlp", help="(default: mlp)")
    for name, default in (("--epochs", 6), ("--seeds", 2), ("--latent-dim", 10)):
        parser.add_argument(name, type=count, default=default, help=f"(default: {default})")
    return run_experiment(__file__, parser, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
