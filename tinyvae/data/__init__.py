"""What models learn from: MNIST, files and arrays of one's own, synthetic digits, minibatches.

This folder imports tinyvae.errors, tinyvae.rng and tinyvae.engine, and nothing else of tinyvae.
"""

from tinyvae.data.batches import binarize, entropy_floor, minibatches, to_float
from tinyvae.data.dataset import Dataset
from tinyvae.data.digits import load_digits
from tinyvae.data.load import load_dataset
from tinyvae.data.mnist import load_mnist

__all__ = [
    "Dataset",
    "binarize",
    "entropy_floor",
    "load_dataset",
    "load_digits",
    "load_mnist",
    "minibatches",
    "to_float",
]
