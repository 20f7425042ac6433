"""Two measures of decoded images: the distance to real images, and what a classifier recognizes.

Neither is enough alone. A blurred image is near many real images. A classifier may be confident
about an image that is no digit, because it was trained on digits only.
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
    """The training images of a Dataset, and a classifier that is trained on them."""

    def __init__(self, data, epochs, xp=np, seed=0):
        self.real = to_float(data.x_train)
        self.classifier = train_classifier(data, epochs, xp, seed)

    def classes(self, images):
        """The likeliest class of each of the images (N, C, H, W) in [0, 1], (N,)."""
        return self._probabilities(images).argmax(axis=1)

    def accuracy(self, images, labels):
        """The classifier's accuracy on uint8 images (N, C, H, W) with labels (N,)."""
        return float((self.classes(to_float(images)) == labels).mean())

    def __call__(self, images):
        """Judge images (N, C, H, W) in [0, 1]: a dict of three numbers.

        nearest: the mean squared difference per pixel to the nearest real image;
        confidence: the mean probability of the most likely digit;
        digits: the effective number of different digits, from 1 to 10, which is the exponential of
        the entropy of the mean prediction.
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
    """A trained Classifier: the encoder's trunk of the tutorial's network, and a linear layer."""
    networks = ConvNetworks(data.shape, (), generator(seed, "init classifier"))
    head = Linear(networks.features, CLASSES, rng=networks.rng)
    classifier = Classifier(Sequential(networks.trunk(), head)).to(xp)
    train(classifier, data, epochs, seed=seed)
    return classifier
