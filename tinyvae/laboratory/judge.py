"""A judge of decoded images: is there a real image like it, and does a classifier see a digit?

Neither is enough alone. A blur is near many images, and a classifier may be sure of what is no
digit, as it was never shown one.
"""

import numpy as np
from scipy.special import entr

from tinyvae.data.batches import to_float
from tinyvae.engine.layers import Linear, Sequential
from tinyvae.laboratory.measures import distance_to_nearest
from tinyvae.models.classifier import Classifier
from tinyvae.models.networks import ConvNetworks
from tinyvae.rng import generator
from tinyvae.training.on_host import in_batches
from tinyvae.training.trainer import train

CLASSES = 10


class Judge:
    """Knows the training images of a Dataset, and a classifier trained on them for some epochs."""

    def __init__(self, data, epochs, xp=np, seed=0):
        self.real = to_float(data.x_train)
        self.classifier = train_classifier(data, epochs, xp, seed)

    def accuracy(self, images, labels):
        """The share of uint8 images (N, C, H, W) that the classifier gives their label (N,)."""
        return float((self._probabilities(to_float(images)).argmax(axis=1) == labels).mean())

    def __call__(self, images):
        """What it says of images (N, C, H, W) in [0, 1], a dict of means.

        nearest: squared difference per pixel to the nearest real image; confidence: probability of
        the likeliest digit; digits: how many different ones there are, the exponential of the
        entropy of the mean prediction, from 1 to 10.
        """
        p = self._probabilities(images)
        share = p.mean(axis=0, dtype=np.float64)
        return {
            "nearest": float(distance_to_nearest(images, self.real).mean()),
            "confidence": float(p.max(axis=1).mean()),
            "digits": float(np.exp(entr(share).sum())),
        }

    def _probabilities(self, images):
        return in_batches(self.classifier, self.classifier.probabilities, images)


def train_classifier(data, epochs, xp=np, seed=0):
    """A Classifier, the tutorial's convolutions and a linear layer, that has learned the labels."""
    networks = ConvNetworks(data.shape, (), generator(seed, "init classifier"))
    head = Linear(networks.features, CLASSES, rng=networks.rng)
    classifier = Classifier(Sequential(networks.trunk(), head)).to(xp)
    train(classifier, data, epochs, seed=seed)
    return classifier
