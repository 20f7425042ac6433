"""Data sets have names: "mnist", "digits", and "auto" for the first of them that can be had.

The synthetic digits need nothing but tinyvae, so "auto" always has an answer, and says which.
"""

import sys

from tinyvae.data.dataset import Dataset
from tinyvae.data.digits import load_digits
from tinyvae.data.mnist import DatasetUnavailable, load_mnist
from tinyvae.errors import UserError

DIGITS_TRAIN = 12_000
DIGITS_TEST = 2_000
CHOICES = ("auto", "mnist", "digits")


def load_dataset(name="auto", data_dir=None):
    """The Dataset called "mnist" or "digits" (synthetic); "auto" is the first that can be had.

    data_dir: a folder to look for MNIST in, see load_mnist. "auto" says on stderr when it falls
    back on the synthetic digits. Raises UserError for another name, a missing folder or a damaged
    file, and with "mnist" also where MNIST cannot be had.
    """
    if name not in CHOICES:
        raise UserError(f"expected a data set among {', '.join(CHOICES)}, got {name!r}")
    if name == "digits":
        return _synthetic_digits()
    try:
        return load_mnist(data_dir)
    except DatasetUnavailable as error:
        if name == "mnist":
            raise
        print(f"{error}\n*** NO MNIST: TRAINING ON SYNTHETIC DIGITS INSTEAD ***", file=sys.stderr)
        return _synthetic_digits()


def _synthetic_digits():
    x_train, y_train, _ = load_digits(DIGITS_TRAIN, seed=0)
    x_test, y_test, _ = load_digits(DIGITS_TEST, seed=1)
    return Dataset("synthetic digits", x_train, y_train, x_test, y_test)
