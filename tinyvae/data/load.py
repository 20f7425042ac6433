"""Finds the data set that a word or a path names.

"mnist" and "digits" are names, "auto" is the first of the two that can be had, and anything else
is the path of a file or folder. The synthetic digits need nothing but tinyvae, so that "auto"
always gives a data set where the user names no folder.
"""

import os
import sys
from dataclasses import replace

from tinyvae.data.dataset import Dataset
from tinyvae.data.digits import load_digits
from tinyvae.data.files import load_file
from tinyvae.data.mnist import DatasetUnavailable, load_mnist
from tinyvae.errors import UserError

DIGITS_TRAIN = 12_000
DIGITS_TEST = 2_000
CHOICES = ("auto", "mnist", "digits")


def load_dataset(name="auto", data_dir=None):
    """The Dataset called "mnist" or "digits" (synthetic), or the one at a path; see load_file.

    "auto" is MNIST, or the synthetic digits where nobody names a folder and MNIST cannot be
    downloaded; a line on stderr says so. data_dir: a folder to look for MNIST in, see load_mnist.
    The Dataset's source is the name that loads the same data again: "mnist" or "digits" after
    "auto". Raises UserError for a name that is none of these, a missing folder and a damaged file.
    """
    name = os.fspath(name)
    if name in ("auto", "mnist"):
        try:
            return replace(load_mnist(data_dir), source="mnist")
        except DatasetUnavailable as error:
            if name == "mnist":
                raise
            print(
                f"{error}\n*** NO MNIST: TRAINING ON SYNTHETIC DIGITS INSTEAD ***", file=sys.stderr
            )
            name = "digits"
    if name == "digits":
        return replace(_synthetic_digits(), source="digits")
    if _is_missing(name):
        raise UserError(
            f"expected a data set among {', '.join(CHOICES)}, or the path of a file .npz, .npy or "
            f".csv or of a folder with IDX files, got {name!r}, and there is no such file; correct "
            f"the path"
        )
    return replace(load_file(name), source=name)


def _is_missing(path):
    """Whether there is nothing at this path; not where permissions hide what is there."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return True
    except OSError:
        return False
    return False


def _synthetic_digits():
    x_train, y_train, _ = load_digits(DIGITS_TRAIN, seed=0)
    x_test, y_test, _ = load_digits(DIGITS_TEST, seed=1)
    return Dataset("synthetic digits", x_train, y_train, x_test, y_test)
