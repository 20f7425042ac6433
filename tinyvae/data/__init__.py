"""Images to learn from: MNIST and synthetic digits, and the way they come in minibatches."""

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
