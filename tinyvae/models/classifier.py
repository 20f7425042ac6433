"""A classifier: a network that ends in logits, and the softmax cross-entropy it is trained by.

The experiments have one judge what a decoder draws: is it a digit, and which?
"""

import numpy as np

from tinyvae.engine.backend import array_module
from tinyvae.engine.module import Module
from tinyvae.models.base import batch_first, batch_last


def log_softmax(logits):
    """Logits (K, N) -> log-probabilities of the K classes, (K, N); no logit is too large."""
    xp = array_module(logits)
    logits = logits - logits.max(axis=0)
    return logits - xp.log(xp.exp(logits).sum(axis=0))


def cross_entropy(logits, labels):
    """-log softmax(logits)[label] in nats, (N,), for labels (N,) from 0 to K - 1.

    Bishop 2006, eq. 4.108. Raises ValueError for labels of another shape.
    """
    return -(_one_hot(logits, labels) * log_softmax(logits)).sum(axis=0)


def cross_entropy_grad(logits, labels):
    """Its gradient dlogits, (K, N). Bishop 2006, eq. 4.109."""
    # -log p = log(sum of exp(logits)) - logit of the label, and the first has the gradient softmax
    return array_module(logits).exp(log_softmax(logits)) - _one_hot(logits, labels)


def _one_hot(logits, labels):
    if labels.shape != logits.shape[1:]:
        raise ValueError(f"labels must be {logits.shape[1:]}, one an image, got {labels.shape}")
    classes = array_module(logits).arange(len(logits))
    return (classes[:, None] == labels).astype(logits.dtype)


class Classifier(Module):
    """network: layers (C, H, W, N) -> logits (K, N)."""

    def __init__(self, network):
        self.network = network
        self.to()

    def _forward(self, x):
        return self.network.forward(batch_last(x, self.theta))

    def loss(self, x, labels):
        """The mean cross-entropy, nats per image, of images x (N, C, H, W) and labels (N,)."""
        labels = array_module(self.theta).asarray(labels)
        self._logits, self._labels = self._forward(x), labels
        return cross_entropy(self._logits, labels).mean(dtype=np.float64)

    def backward(self):
        """Set `grad`, the gradient of the last loss with respect to all parameters."""
        # loss = mean over the batch of the cross-entropy
        dlogits = cross_entropy_grad(self._logits, self._labels) / len(self._labels)
        self.network.backward(dlogits)

    def probabilities(self, x):
        """Images (N, C, H, W) -> the probability of each class, (N, K)."""
        return batch_first(array_module(self.theta).exp(log_softmax(self._forward(x))))
