"""What the experiments in examples/ share: arguments, an output folder and an exit code.

    def main(argv=None):
        return run_experiment(__file__, parser(), experiment, argv)

where experiment(arguments, data, xp) does the work and writes into the folder arguments.out.
"""

from pathlib import Path

import numpy as np

from tinyvae.engine.backend import get_backend
from tinyvae.errors import UserError
from tinyvae.training.command_line import Parser, exit_code, given_path, load_data

LEAST = 50  # training images, and test images, of an experiment


def experiment_parser(doc, name):
    """A Parser with arguments for the backend, the data and the output folder (runs/<name>)."""
    parser = Parser(doc)
    parser.add_backend()
    parser.add_data()
    parser.add_argument("--out", type=given_path, metavar="DIR", help=f"(default: runs/{name})")
    parser.set_defaults(backend="numpy", dataset="auto", out=Path("runs") / name)
    return parser


def run_experiment(file, parser, experiment, argv=None):
    """Make the output folder, call experiment(arguments, data, xp) and return the exit code."""

    def run():
        arguments = parser.parse_args(argv)
        xp = get_backend(arguments.backend)
        data = load_data(arguments.dataset, arguments.data_dir, arguments.train_size)
        _require_format_of_mnist(data)
        arguments.out.mkdir(parents=True, exist_ok=True)
        return experiment(arguments, data, xp)

    return exit_code(Path(file).name, run)


def _require_format_of_mnist(data):
    """Refuse data that the networks and figures of the experiments do not fit."""
    labelled = data.y_train is not None and data.y_train.max() < 10
    if data.shape != (1, 28, 28) or data.x_train.dtype != np.uint8 or not labelled:
        raise UserError(
            f"the experiments need uint8 images (1, 28, 28) with labels 0 to 9, as in MNIST, got "
            f"{data.x_train.dtype} {data.shape} {'with' if labelled else 'without'} such labels; "
            "use examples/train.py for other data"
        )
    for part in ("train", "test"):
        labels = getattr(data, f"y_{part}")
        if len(labels) < LEAST or labels.min() == labels.max():
            raise UserError(
                f"the experiments need at least {LEAST} {part} images, of two digits or more, got "
                f"{len(labels)} of {len(np.unique(labels))}; give more"
            )
