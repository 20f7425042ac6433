"""A classifier: a network that ends in logits, and the softmax cross-entropy it is trained by.

The experiments use a classifier to judge what a decoder draws: is it a digit, and which one?
"""

import numpy as np

from tinyvae.engine.backend import array_module
from tinyvae.engine.categorical import cross_entropy, cross_entropy_grad, log_softmax
from tinyvae.models.base import Model
from tinyvae.models.layout import batch_first


class Classifier(Model):
    """network: layers (..., N) -> logits (K, N) of K classes."""

    term_names = ("cross_entropy",)
    objective = "cross-entropy"
    wants_labels = True

    def __init__(self, network):
        self.network = network
        super().__init__()

    def _logits(self, x):
        self._discard_saved()
        return self.network.forward(self._to_engine(x))

    def terms(self, x, labels):
        """cross_entropy: its mean in nats over x (N, ...) with labels (N,) from 0 to K - 1."""
        logits, labels = self._logits(x), array_module(self.theta).asarray(labels)
        self._saved = logits, labels
        return {"cross_entropy": cross_entropy(logits, labels).mean(dtype=np.float64)}

    def terms_backward(self, dterms):
        logits, labels = self._take_saved()
        # cross_entropy = mean over the batch
        dloss = dterms["cross_entropy"] / len(labels)
        self.network.backward(dloss * cross_entropy_grad(logits, labels))

    def metrics(self, x, labels):
        """accuracy: 1 where the likeliest class is the label, else 0, (N,)."""
        return {"accuracy": self._logits(x).argmax(axis=0) == labels}

    def probabilities(self, x):
        """Examples x (N, ...) -> the probability of each class, (N, K)."""
        return batch_first(array_module(self.theta).exp(log_softmax(self._logits(x))))
