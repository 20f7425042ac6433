"""What the experiments in examples/ share: arguments, an output folder and an exit code.

    def main(argv=None):
        return run_experiment(__file__, parser(), experiment, argv)

where experiment(arguments, data, xp) does the work and writes into the folder arguments.out.
"""

from pathlib import Path

from tinyvae.engine.backend import get_backend
from tinyvae.training.command_line import Parser, exit_code, load_data


def experiment_parser(doc, name):
    """A Parser with arguments for the backend, the data and the output folder (runs/<name>)."""
    parser = Parser(doc)
    parser.add_backend()
    parser.add_data()
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"(default: runs/{name})")
    parser.set_defaults(backend="numpy", dataset="auto", out=Path("runs") / name)
    return parser


def run_experiment(file, parser, experiment, argv=None):
    """Make the output folder, call experiment(arguments, data, xp) and return the exit code."""

    def run():
        arguments = parser.parse_args(argv)
        xp = get_backend(arguments.backend)
        data = load_data(arguments.dataset, arguments.data_dir, arguments.train_size)
        arguments.out.mkdir(parents=True, exist_ok=True)
        return experiment(arguments, data, xp)

    return exit_code(Path(file).name, run)
