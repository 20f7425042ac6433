"""The command line in this process, on so few images that a run takes a second."""

from examples import train_mnist
from tinyvae.data import load
from tinyvae.training import report


def make_small():
    """Few digits and few importance samples: what takes most of the time of a short run."""
    load.DIGITS_TRAIN, load.DIGITS_TEST = 400, 60
    report.BOUND_EXAMPLES, report.BOUND_SAMPLES = 20, 5


def train(arguments):
    """The exit code of a run on 200 digits with the small network."""
    return train_mnist.main(
        ["--dataset", "digits", "--train-size", "200", "--network", "mlp", *arguments.split()]
    )
