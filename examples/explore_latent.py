"""Uses of a VAE's latent space: plots, samples, interpolation, editing, repair, detection.

python examples/explore_latent.py                                 # MNIST
python examples/explore_latent.py --dataset digits --epochs 20    # synthetic digits
"""

import sys

import numpy as np

from tinyvae import make_model
from tinyvae.data import to_float
from tinyvae.laboratory.attributes import AMOUNTS, arithmetic
from tinyvae.laboratory.experiment import experiment_parser, run_experiment
from tinyvae.laboratory.outliers import detection_auc
from tinyvae.laboratory.projection import repair
from tinyvae.rng import generator
from tinyvae.training import on_host, plots
from tinyvae.training.checkpoint import write_json
from tinyvae.training.command_line import count
from tinyvae.training.latent import interpolate, quantile_grid
from tinyvae.training.trainer import train

NOISE = 0.5  # standard deviation of the noise that is added to pixels in [0, 1]
REPAIRED, EDITED = 200, 1000  # test images that are repaired, and whose codes are edited
PLOTTED, GRID = 3000, 16  # codes in the scatter plot, images along a side of the traversal


def experiment(arguments, data, xp):
    out, rng = arguments.out, generator(0, "explore")
    plane, vae = (make_model(latent_dim=size).to(xp) for size in (2, 20))
    for model in (plane, vae):
        train(model, data, arguments.epochs, folder=out / f"z{model.latent_dim}")
    draw_latent_spaces(plane, vae, data, out, rng)
    images = to_float(data.x_test[:REPAIRED])
    noisy = images + NOISE * rng.standard_normal(images.shape, dtype=np.float32)
    seen = np.ones_like(images)
    denoised = repair(vae, images, noisy, seen, noise=NOISE)
    seen[:, :, 14:] = 0  # the lower half is hidden
    filled = repair(vae, images, images * seen, seen)
    edits, edited = arithmetic(vae, data.x_test[:EDITED])
    results = {
        "dataset": data.name,
        "train_images": len(data.x_train),
        "epochs": arguments.epochs,
        "arithmetic": edits,
        "squared error per pixel": {"noise": denoised[0], "hidden half": filled[0]},
        "AUC": detection_auc(vae, data, rng),
    }
    write_json(out / "explore_latent.json", results)
    repairs = {"removing noise": denoised[1], "restoring a hidden lower half": filled[1]}
    draw(edited, images, repairs, out / "explore_latent.png", f"VAE, z = 20, {data.name}")
    for part in ("arithmetic", "squared error per pixel", "AUC"):
        print(f"\n{part}")
        for name, numbers in results[part].items():
            print(f"  {name}")
            for what, number in numbers.items():
                print(f"    {what:42} {number:8.4f}")


def draw_latent_spaces(plane, vae, data, out, rng):
    """Scatter plot and traversal with 2 latent dimensions, samples and interpolations with 20."""
    test, labels, name = data.x_test[:PLOTTED], data.y_test[:PLOTTED], data.name
    codes, (values, grid) = on_host.embed(plane, test), quantile_grid(GRID)
    plots.latent_scatter(codes, labels, out / "scatter.png", f"Codes of test images: {name}")
    images = on_host.decode(plane, grid).reshape(GRID, GRID, *test.shape[1:])
    plots.traversal(images, values, out / "traversal.png", f"A grid of normal quantiles: {name}")
    samples = on_host.decode(vae, rng.standard_normal((100, vae.latent_dim)))
    plots.image_grid(samples, out / "samples.png", f"Decoded from z ~ N(0, I): {name}")
    ends = on_host.embed(vae, test[:16]).reshape(8, 2, -1)
    paths = on_host.decode(vae, np.stack([interpolate(a, b, steps=11) for a, b in ends]))
    plots.interpolation(paths, out / "interpolation.png", f"Between test images: {name}")


def draw(edited, originals, repairs, path, title):
    """Rows of images: two attributes from low to high, then the stages of two repairs."""
    strips = {
        f"{name}: from \u22122 to +2 standard deviations": ([""] * 3, rows[:3])
        for name, rows in edited.items()
    }
    for name, ways in repairs.items():
        rows = np.stack([way[: len(AMOUNTS)] for way in (originals, *ways.values())])
        strips[name] = (["original", *ways], rows)
    with plots.page(path, plots.WIDTH, 9) as figure:
        figure.suptitle(title)
        sizes = [len(names) for names, _ in strips.values()]
        panels = figure.subplots(len(strips), height_ratios=sizes)
        for axes, (what, (names, rows)) in zip(panels, strips.items(), strict=True):
            plots.show_rows(axes, rows[:, :, 0].clip(0, 1), names)
            axes.set_title(what)


def main(argv=None):
    parser = experiment_parser(__doc__, "explore-latent")
    parser.add_argument("--epochs", type=count, default=5, help="(default: 5)")
    return run_experiment(__file__, parser, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
