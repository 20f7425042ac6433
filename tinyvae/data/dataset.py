"""A data set is four arrays and a name: images and labels, to train on and to test on.

Every loader in this folder returns one, so nothing here imports a loader.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from tinyvae.errors import UserError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images; name says where they come from and stands on every output."""

    name: str
    x_train: np.ndarray  # (N, 1, 28, 28) uint8
    y_train: np.ndarray  # (N,) int64
    x_test: np.ndarray
    y_test: np.ndarray

    @cached_property
    def fingerprint(self):
        """The SHA-256 of all bytes of the four arrays, in hexadecimal: tells data sets apart."""
        digest = hashlib.sha256()
        for array in (self.x_train, self.y_train, self.x_test, self.y_test):
            digest.update(np.ascontiguousarray(array))
        return digest.hexdigest()

    def head(self, train_size):
        """The same data set with only its first train_size training images.

        Raises UserError for a size below 1 or above the number of training images.
        """
        have = len(self.x_train)
        if not 1 <= train_size <= have:
            raise UserError(
                f"expected a training size from 1 to {have}, the number of training images in "
                f"{self.name}, got {train_size}"
            )
        return replace(
            self,
            x_train=self.x_train[:train_size],
            y_train=self.y_train[:train_size],
        )
