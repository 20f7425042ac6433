"""A data set: examples to train on and to test on, with or without labels.

The loaders in this folder import this file, so this file imports no loader.
"""

import hashlib
import sys
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from tinyvae.data.arrays import (
    CHANNELS,
    SPLIT_SEED,
    as_examples,
    as_labels,
    column_name,
    require_grey_levels,
    require_unmasked,
    split,
    zeros_and_ones,
)
from tinyvae.errors import UserError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples x, images (N, C, H, W) with C 1 or 3 or vectors (N, D), and labels y (N,) or None.

    uint8 values stand for value / 255. Images of float32 hold values from 0 to 1; vectors of
    float32 hold any finite values. The name stands on every output. Raises UserError for arrays
    that are not so; `from_arrays` converts other arrays.
    """

    name: str
    x_train: np.ndarray  #: uint8 or float32
    y_train: np.ndarray | None  #: int64, not negative
    x_test: np.ndarray
    y_test: np.ndarray | None
    columns: tuple | None = None  #: the D names of a table's columns
    mean: np.ndarray | None = None  #: (D,) float64: what `standardized` has subtracted
    std: np.ndarray | None = None  #: (D,) float64: what it has then divided by
    source: str | None = None  #: what load_dataset was given, so that a resumed run finds the data

    def __post_init__(self):
        for part in ("x_train", "x_test"):
            self._check_examples(part)
        train, test = ((x.dtype.name, *x.shape[1:]) for x in (self.x_train, self.x_test))
        if train != test:
            raise UserError(
                f"expected x_train and x_test of {self.name} to have the same dtype and shape but "
                f"for the number of examples, found {self.x_train.dtype} {self.x_train.shape} and "
                f"{self.x_test.dtype} {self.x_test.shape}; convert one of them"
            )
        if (self.y_train is None) != (self.y_test is None):
            raise UserError(
                f"expected labels for both or neither of the training and the test set of "
                f"{self.name}, found only {'y_test' if self.y_train is None else 'y_train'}; give "
                f"the other labels too, or none"
            )
        if self.y_train is not None:
            self._check_labels("y_train", len(self.x_train))
            self._check_labels("y_test", len(self.x_test))
        if self.columns is not None and (len(self.columns),) != self.shape:
            raise UserError(
                f"expected one name for each column of {self.name}, found {len(self.columns)} "
                f"names for examples of shape {self.shape}; correct columns"
            )

    @classmethod
    def from_arrays(cls, x, y=None, x_test=None, y_test=None, *, name="arrays", columns=None):
        """A Dataset of what NumPy can read: arrays of any number type and layout, lists, tensors.

        x: grey images (N, H, W), colour images (N, H, W, 3) or (N, 3, H, W), or vectors (N, D).
        uint8 stays uint8, unless no value is above 1: then, as for bool, the values are 0 and 1.
        All other numbers become float32. y: integers (N,) or (N, 1), none negative.
        Without x_test, one fifth of the examples, drawn with seed 0, is the test set; a line on
        stderr says so. The Dataset can share memory with the arrays. Raises UserError.
        """
        if x_test is None and y_test is not None:
            raise UserError(f"expected x_test with y_test of {name}, found y_test alone; give both")
        columns = None if columns is None else tuple(map(str, columns))
        x = as_examples(x, f"x_train of {name}", columns)
        x_test = None if x_test is None else as_examples(x_test, f"x_test of {name}", columns)
        y, y_test = (
            None if labels is None else as_labels(labels, f"{part} of {name}")
            for part, labels in (("y_train", y), ("y_test", y_test))
        )
        both = [array for array in (x, x_test) if array is not None]
        require_grey_levels(name, *both)
        if zeros_and_ones(*both):
            x = x.astype(np.float32)
            x_test = None if x_test is None else x_test.astype(np.float32)
        if x_test is not None:
            return cls(name, x, y, x_test, y_test, columns)
        whole = cls(name, x, y, x, y, columns)  # checked before it is split
        train, test = split(len(x), name)
        print(
            f"{name} has no test set: {len(test)} of its {len(x)} examples, drawn with seed "
            f"{SPLIT_SEED}, are the test set",
            file=sys.stderr,
        )
        y_train, y_test = (None, None) if y is None else (y[train], y[test])
        return replace(whole, x_train=x[train], y_train=y_train, x_test=x[test], y_test=y_test)

    @property
    def shape(self):
        """The shape of one example: (C, H, W) or (D,)."""
        return self.x_train.shape[1:]

    @property
    def is_table(self):
        """Whether the examples are vectors, which are the rows of a table."""
        return len(self.shape) == 1

    @cached_property
    def fingerprint(self):
        """The SHA-256 of what the data set holds, in hexadecimal: it tells data sets apart."""
        digest = hashlib.sha256()
        arrays = (self.x_train, self.y_train, self.x_test, self.y_test, self.mean, self.std)
        for array in arrays:
            if array is not None:
                digest.update(np.ascontiguousarray(array))
        if self.shape != (1, 28, 28):  # MNIST's checkpoints hold a fingerprint without the shape
            digest.update(f"{self.shape} {self.x_train.dtype}".encode())
        return digest.hexdigest()

    def head(self, train_size):
        """The same data set with only its first train_size training examples.

        Raises UserError for a size below 1 or above the number of training examples.
        """
        have = len(self.x_train)
        if not 1 <= train_size <= have:
            raise UserError(
                f"expected a training size from 1 to {have}, the number of training examples in "
                f"{self.name}, got {train_size}"
            )
        return replace(
            self,
            x_train=self.x_train[:train_size],
            y_train=None if self.y_train is None else self.y_train[:train_size],
        )

    def standardized(self):
        """The table as float32 columns of mean 0 and standard deviation 1 over the training set.

        The training set's mean and std, which `original` needs, are kept. A standardized data set
        returns itself. Raises UserError for images and for columns that are constant.
        """
        if not self.is_table:
            raise UserError(
                f"expected a table (N, D) to standardize, found images of shape {self.shape} in "
                f"{self.name}; leave images as they are"
            )
        if self.mean is not None:
            return self
        constant = np.flatnonzero(self.x_train.max(axis=0) == self.x_train.min(axis=0))
        if len(constant):
            shown = ", ".join(self._column(i) for i in constant[:5])
            more = f" and {len(constant) - 5} more" if len(constant) > 5 else ""
            raise UserError(
                f"expected columns that vary over the {len(self.x_train)} training examples of "
                f"{self.name}, found constant: {shown}{more}; leave out these columns"
            )
        mean = self.x_train.mean(axis=0, dtype=np.float64)
        std = self.x_train.std(axis=0, dtype=np.float64)
        x_train, x_test = (
            ((x - mean) / std).astype(np.float32) for x in (self.x_train, self.x_test)
        )
        return replace(self, x_train=x_train, x_test=x_test, mean=mean, std=std)

    def original(self, x):
        """x (..., D) in the units from before `standardized`; unchanged if there was none."""
        return x if self.mean is None else x * self.std + self.mean

    def require_range(self, low, high):
        """Raise UserError unless all values lie from low to high. uint8 counts as value / 255."""
        for part in ("x_train", "x_test"):
            x = getattr(self, part)
            least, most = x.min(), x.max()
            if x.dtype == np.uint8:
                least, most = least / 255, most / 255
            if not (low <= least and most <= high):
                raise UserError(
                    f"expected values from {low:g} to {high:g} in {part} of {self.name}, found "
                    f"{least:g} to {most:g}; rescale them or choose the gaussian likelihood"
                )

    def require_classes(self, classes):
        """Raise UserError unless all labels are from 0 to classes - 1."""
        for part in ("y_train", "y_test"):
            most = getattr(self, part).max()
            if most >= classes:
                raise UserError(
                    f"expected labels from 0 to {classes - 1} in {part} of {self.name}, found "
                    f"{most}; make the model with --classes {most + 1}, or correct the labels"
                )

    def _column(self, index):
        return column_name(index, self.columns)

    def _check_examples(self, part):
        """That self.x_train or self.x_test, `part`, is what the class says."""
        x, what = getattr(self, part), f"{part} of {self.name}"
        if not isinstance(x, np.ndarray) or x.dtype not in (np.uint8, np.float32):
            found = x.dtype if isinstance(x, np.ndarray) else type(x).__name__
            raise UserError(
                f"expected {what} as an array of uint8 or float32, found {found}; "
                f"Dataset.from_arrays converts it"
            )
        require_unmasked(x, what)
        if x.ndim not in (2, 4) or (x.ndim == 4 and x.shape[1] not in CHANNELS):
            raise UserError(
                f"expected {what} as images (N, C, H, W) with 1 or 3 channels or as vectors "
                f"(N, D), found the shape {x.shape}; Dataset.from_arrays takes other layouts"
            )
        if x.size == 0:
            raise UserError(
                f"expected at least one example with at least one value in {what}, found the "
                f"shape {x.shape}; give more data"
            )
        if x.dtype == np.uint8:
            return
        with np.errstate(invalid="ignore"):
            low, high = x.min(), x.max()  # NaN if there is one
        if not np.isfinite(low) or not np.isfinite(high):
            index = np.unravel_index(np.isfinite(x).argmin(), x.shape)
            place = f"{part}[{', '.join(map(str, index))}]"
            if self.columns is not None and x.ndim == 2:
                place += f", {self._column(index[1])}"
            raise UserError(
                f"expected finite values that float32 can hold in {what}, found {x[index]:g} at "
                f"{place}; fill in or leave out such examples"
            )
        if x.ndim == 4 and (low < 0 or high > 1):
            scaled = f"x / {high:g}" if low >= 0 else f"(x + {-low:g}) / {high - low:g}"
            raise UserError(
                f"expected the images in {what} as uint8 from 0 to 255 or as floats from 0 to 1, "
                f"found {low:g} to {high:g}; divide by the maximum, {scaled}, or give uint8"
            )

    def _check_labels(self, part, length):
        y, what = getattr(self, part), f"{part} of {self.name}"
        if not isinstance(y, np.ndarray) or y.dtype.kind not in "iu":
            found = y.dtype if isinstance(y, np.ndarray) else type(y).__name__
            raise UserError(
                f"expected {what} as an array of integers, found {found}; Dataset.from_arrays "
                f"converts bool and lists"
            )
        if y.shape != (length,):
            raise UserError(
                f"expected {length} labels in {what}, one an example, found the shape {y.shape}; "
                f"give each example its label"
            )
        if y.min() < 0:
            raise UserError(
                f"expected labels of 0 or more in {what}, found {y.min()}; number the classes from "
                f"0, as np.unique(y, return_inverse=True)[1] does"
            )
