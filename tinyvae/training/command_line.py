"""What all scripts in examples/ share: arguments, and one sentence for a mistake of the user."""

import argparse
import sys
import traceback
from pathlib import Path

import numpy as np

from tinyvae.data import load
from tinyvae.errors import UserError
from tinyvae.training.output import lenient_output
from tinyvae.training.ranks import ALONE

INTERRUPTED = 130  # exit code: 128 + SIGINT


class Parser(argparse.ArgumentParser):
    """An argument parser that refuses in one line, with exit code 2."""

    def __init__(self, doc, **options):
        super().__init__(
            description=doc,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **options,
        )

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}\n")

    def add_backend(self):
        self.add_argument(
            "--backend", choices=("numpy", "cupy"), help="where to compute (default: numpy)"
        )

    def add_data(self, default="auto"):
        named = "auto: MNIST, or synthetic digits where MNIST cannot be had"
        self.add_argument(
            "--dataset",
            metavar="DATA",
            help=f"{', '.join(load.CHOICES)} ({named}), or data of your own: a file .npz, .npy or "
            f".csv, or a folder of IDX files{f' (default: {default})' if default else ''}",
        )
        self.add_argument("--data-dir", type=given_path, help="folder with the MNIST files")
        self.add_argument("--train-size", type=int, metavar="N", help="only the first N examples")


def load_data(dataset="auto", data_dir=None, train_size=None):
    """The Dataset that the arguments of add_data ask for. Raises UserError if it cannot be had."""
    if dataset not in ("auto", "mnist") and data_dir:
        raise UserError(f"--data-dir is for MNIST; leave it out with --dataset {dataset}")
    data = load.load_dataset(dataset, data_dir)
    return data if train_size is None else data.head(train_size)


def exit_code(prog, run, ranks=ALONE):
    """run(), None meaning 0; or 2 after a mistake of the user, told in one line on stderr.

    130 after Ctrl-C. Output that fails changes nothing of that, nor does the caller's np.seterr. Of
    a mistake that all ranks make, rank 0 tells. A rank that fails alone tells, and ends all ranks.
    """

    def failed(code, tell):
        alone = not ranks.all_failed()
        if alone or ranks.rank == 0:
            tell()
        if alone:
            ranks.abort(code)
        return code

    with lenient_output(), np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"):
        try:
            return run() or 0
        except UserError as error:
            message = str(error)
        except MemoryError as error:  # CuPy's too
            message = f"out of memory ({error})"
        except OSError as error:
            place = error.filename or "of the run"
            message = f"cannot use the file or folder {place}: {error.strerror or error}"
        except KeyboardInterrupt as error:
            message = f"\ninterrupted{error}"
            return failed(INTERRUPTED, lambda: print(message, file=sys.stderr))
        except Exception:
            if ranks.size == 1:
                raise
            return failed(1, traceback.print_exc)
        name = f"{prog}, rank {ranks.rank}" if ranks.rank else prog
        return failed(2, lambda: print(f"{name}: {message}", file=sys.stderr, flush=True))


def given_path(text):
    """The type of an argument that names a file or a folder."""
    if not text.strip():  # the path "" is the current folder
        raise argparse.ArgumentTypeError("must name a file or a folder, got nothing")
    return Path(text)


def whole_numbers(text):
    """The type of an argument that is one whole number or several, such as 200,100."""
    try:
        return tuple(map(int, text.split(",")))
    except ValueError:
        reason = f"must be whole numbers with commas between them, such as 200,100, got {text!r}"
        raise argparse.ArgumentTypeError(reason) from None


def count(text):
    """The type of an argument that is a whole number of at least 1."""
    number = int(text)
    if not 1 <= number < 2**63:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text}")
    return number
