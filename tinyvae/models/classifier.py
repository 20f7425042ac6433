"""A classifier: a network that ends in logits, and the softmax cross-entropy it is trained by.

The experiments use a classifier to judge what a decoder draws: is it a digit, and which one?
"""

import numpy as np

from tinyvae.engine.backend import array_module
from tinyvae.models.base import Model
from tinyvae.models.layout import batch_first


def log_softmax(logits):
    """Logits (K, N) -> log-probabilities of the K classes, (K, N); no logit is too large."""
    xp = array_module(logits)
    logits = logits - logits.max(axis=0)
    return logits - xp.log(xp.exp(logits).sum(axis=0))


def cross_entropy(logits, labels):
    """-log softmax(logits)[label] in nats, (N,), for labels (N,) from 0 to K - 1.

    Bishop 2006, eq. 4.108. Raises ValueError for labels of another shape and, on
    the host, for labels out of range.
    """
    return -(_one_hot(logits, labels) * log_softmax(logits)).sum(axis=0)


def cross_entropy_grad(logits, labels):
    """Its gradient dlogits, (K, N). Bishop 2006, eq. 4.109."""
    # -log p = log(sum of exp(logits)) - logit of the label, and the first has the gradient softmax
    return array_module(logits).exp(log_softmax(logits)) - _one_hot(logits, labels)


def _one_hot(logits, labels):
    if labels.shape != logits.shape[1:]:
        raise ValueError(f"labels must be {logits.shape[1:]}, one an example, got {labels.shape}")
    if labels.dtype.kind not in "iub":
        raise ValueError(f"labels must be integers, got {labels.dtype}; use labels.astype(int)")
    if isinstance(labels, np.ndarray) and not ((0 <= labels) & (labels < len(logits))).all():
        raise ValueError(
            f"labels must be from 0 to {len(logits) - 1}, got {labels.min()} to {labels.max()}"
        )
    classes = array_module(logits).arange(len(logits))
    return (classes[:, None] == labels).astype(logits.dtype)


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
        """cross_entropy: its mean over examples x (N, ...) with labels (N,) from 0 to K - 1."""
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
