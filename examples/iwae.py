"""VAEs and importance-weighted autoencoders with k codes, on the one-layer model of their paper.

The networks are 784-200-200-50 with tanh, and the pixels are drawn anew in every epoch. Models that
are in the output folder already are not trained again. So several processes can share the work,
each with its own --seeds; a last run, with all of them, draws the figure.

python examples/iwae.py --train-size 10000
python examples/iwae.py --dataset digits --models vae-1 iwae-5 --epochs 10
"""

import sys

import numpy as np

from tinyvae.laboratory.experiment import experiment_parser, run_experiment
from tinyvae.laboratory.one_layer import LATENT_DIM, SAMPLES, measured
from tinyvae.training import plots
from tinyvae.training.checkpoint import write_json
from tinyvae.training.command_line import count

PAPER = {  # Burda, Grosse and Salakhutdinov 2016, table 1: the NLL by k
    "vae": {1: 86.76, 5: 86.47, 50: 86.35},
    "iwae": {1: 86.76, 5: 85.54, 50: 84.78},
}
ALL = ["vae-1", "vae-5", "iwae-5", "iwae-50", "vae-50"]  # iwae-1 is vae-1
STYLES = {"vae": (plots.BLUE, "o"), "iwae": (plots.VERMILION, "s")}


def experiment(arguments, data, xp):
    rows, how = [], {"epochs": arguments.epochs, "threads": arguments.threads}
    for name in arguments.models:
        kind, k = name.split("-")
        for seed in arguments.seeds:
            folder = arguments.out / f"{name}-epochs{arguments.epochs}-seed{seed}"
            row = measured(kind, int(k), data, xp, folder, seed=seed, **how)
            print(
                f"{name:7} seed {seed}: NLL {row['nll']:.2f} +- {row['error']:.2f} nats, "
                f"{row['active_units']} active units, {row['seconds']:.0f} s",
                flush=True,
            )
            rows.append(row)
    print(f"\n{data.name:6}k     NLL  (of each seed)  paper, on MNIST  active units")
    means = {}
    for kind, k in dict.fromkeys((row["model"], row["k"]) for row in rows):
        own = [row for row in rows if (row["model"], row["k"]) == (kind, k)]
        nll, active = ([row[what] for row in own] for what in ("nll", "active_units"))
        means[f"{kind}-{k}"] = {"nll": np.mean(nll), "half_range": np.ptp(nll) / 2}
        seeds = " ".join(f"{value:.2f}" for value in nll)
        print(f"{kind:4} {k:3} {np.mean(nll):7.2f}  ({seeds}) {PAPER[kind][k]:13.2f}    {active}")
    about = {"dataset": data.name, "train_images": len(data.x_train), "epochs": arguments.epochs}
    write_json(arguments.out / "iwae.json", about | SAMPLES | {"models": rows, "means": means})
    paper = PAPER if data.source == "mnist" else {}
    draw(rows, paper, arguments.out / "iwae.png", f"{data.name}, {arguments.epochs} epochs")


def draw(rows, paper, path, title):
    """NLL and active units against k: a mark for each seed, a line through the means."""
    with plots.page(path, plots.WIDTH, 3.2) as figure:
        figure.suptitle(title)
        left, right = figure.subplots(1, 2)
        for kind, (colour, mark) in STYLES.items():
            own = [row for row in rows if row["model"] == kind or row["k"] == 1]
            ks = sorted({row["k"] for row in own})
            for axes, what in ((left, "nll"), (right, "active_units")):
                axes.plot([row["k"] for row in own], [row[what] for row in own], mark, c=colour)
                means = [np.mean([row[what] for row in own if row["k"] == k]) for k in ks]
                axes.plot(ks, means, c=colour, label=kind.upper())
            if kind in paper:
                points, label = zip(*paper[kind].items(), strict=True), "3280 epochs (paper)"
                dots = {"ls": ":", "mfc": "none", "label": f"{kind.upper()}, {label}"}
                left.plot(*points, mark, c=colour, **dots)
        left.set(ylabel="negative log-likelihood (nats per image)")
        right.set(ylabel=f"active units of {LATENT_DIM}")
        for axes in (left, right):
            axes.set_xscale("log")
            axes.set_xticks([1, 5, 50], [1, 5, 50])
            axes.minorticks_off()
            axes.set_xlabel("k, codes for each image in training")
            axes.grid(True)
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)


def main(argv=None):
    parser = experiment_parser(__doc__, "iwae")
    parser.add_argument("--epochs", type=count, default=20, help="(default: 20)")
    parser.add_argument("--threads", type=count, default=2, help="(default: 2)")
    parser.add_argument(
        "--models", nargs="+", choices=ALL, default=ALL[:-1], help="(default: all but vae-50)"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1], help="(default: 0 1)")
    return run_experiment(__file__, parser, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
