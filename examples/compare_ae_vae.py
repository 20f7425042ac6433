"""An autoencoder and a VAE with the same networks, compared in numbers and in a picture.

python examples/compare_ae_vae.py                                 # MNIST, three seeds
python examples/compare_ae_vae.py --dataset digits --epochs 20    # synthetic digits
python examples/compare_ae_vae.py --latent-dim 20 --out runs/compare-z20
"""

import sys

import numpy as np

from tinyvae import make_model
from tinyvae.laboratory.comparison import measure, references
from tinyvae.laboratory.experiment import experiment_parser, run_experiment
from tinyvae.laboratory.judge import Judge
from tinyvae.rng import generator
from tinyvae.training import on_host, plots
from tinyvae.training.checkpoint import write_json
from tinyvae.training.command_line import count
from tinyvae.training.latent import quantile_grid
from tinyvae.training.trainer import train

KINDS = {"ae": "Autoencoder", "vae": "VAE"}
JUDGE_EPOCHS = 2  # then the classifier is wrong on about 2% of MNIST's test images
POINTS = 3000  # codes in the scatter plot
GRID = 14  # decoded images along a side


def experiment(arguments, data, xp):
    judge = Judge(data, JUDGE_EPOCHS, xp)
    numbers, first = {kind: [] for kind in KINDS}, {}
    for seed in range(arguments.seeds):
        for kind in KINDS:
            model = make_model(kind, latent_dim=arguments.latent_dim, seed=seed).to(xp)
            folder = arguments.out / f"{kind}-{seed}"
            train(model, data, arguments.epochs, seed=seed, folder=folder)
            numbers[kind].append(measure(model, data, judge, seed))
            first.setdefault(kind, model)
    results = {
        "dataset": data.name,
        "train_images": len(data.x_train),
        "latent_dim": arguments.latent_dim,
        "epochs": arguments.epochs,
        "rows": {
            row: {kind: [one[row] for one in numbers[kind]] for kind in KINDS}
            for row in numbers["vae"][0]
        },
        "references": references(data, judge, arguments.latent_dim),
    }
    write_json(arguments.out / "compare_ae_vae.json", results)
    draw(first, data, arguments.out / "compare_ae_vae.png")
    print_table(results)


def print_table(results):
    """Print one line for each row: the mean over the seeds and, in brackets, their range."""
    print(f"\n{results['dataset']}, z = {results['latent_dim']}, {results['epochs']} epochs")
    print(f"{'':32}", *(f"{name:>20}" for name in KINDS.values()))
    for row, values in results["rows"].items():
        cells = [f"{np.mean(v):10.4f} ({np.ptp(v):7.4f})" for v in values.values()]
        print(f"{row:32}", *cells)
    for row, value in results["references"].items():
        print(f"{row:32} {value:10.4f}")


def draw(models, data, path):
    """Above: codes of test images and a circle of the prior. Below: images decoded from N(0, I)."""
    labels, angle = data.y_test[:POINTS], np.linspace(0, 2 * np.pi, 200)
    two_sigma = 2 * np.cos(angle), 2 * np.sin(angle)
    with plots.page(path, plots.WIDTH, 6.6) as figure:
        rows = figure.subplots(2, 2, gridspec_kw={"height_ratios": (1, 1.08)})
        for (kind, model), scatter, sheet in zip(models.items(), *rows, strict=True):
            codes = on_host.embed(model, data.x_test[:POINTS])
            i, j = plane = np.sort(np.argsort(-codes.var(axis=0))[:2])  # largest variance
            codes = codes[:, plane]
            scatter.scatter(*codes.T, s=3, c=np.array(plots.TEN)[labels], linewidths=0)
            (circle,) = scatter.plot(*two_sigma, "k", lw=1.2, label="N(0, I), 2σ")
            scatter.set_aspect("equal", adjustable="datalim")
            scatter.set(title=f"{KINDS[kind]}: codes", xlabel=f"z[{i}]", ylabel=f"z[{j}]")
            z = generator(0, "samples").standard_normal((GRID**2, model.latent_dim))
            if model.latent_dim == 2:
                z = quantile_grid(GRID)[1]
            images = on_host.decode(model, z).reshape(GRID, GRID, *data.x_test.shape[2:])
            plots.show(sheet, plots.mosaic(images, gap=0))
            sheet.set(title=f"{KINDS[kind]}: decoded from N(0, I)")
        keys = [*plots.label_keys(range(10)), circle]
        figure.legend(handles=keys, loc="outside upper center", ncols=11, columnspacing=1)


def main(argv=None):
    parser = experiment_parser(__doc__, "compare-ae-vae")
    parser.add_argument("--epochs", type=count, default=5, help="(default: 5)")
    parser.add_argument("--seeds", type=count, default=3, help="(default: 3)")
    parser.add_argument("--latent-dim", type=count, default=2, help="(default: 2)")
    return run_experiment(__file__, parser, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
