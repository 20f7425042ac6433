"""Classes: labels as vectors, their log-probabilities from logits, and the cross-entropy.

K is the number of classes. A label is a whole number from 0 to K - 1. Units are nats.
"""

import numpy as np

from tinyvae.engine.backend import array_module


def one_hot(labels, classes, dtype=np.float32, what="labels"):
    """Labels (...) -> (K, ...): 1 in the row of the label, 0 in the other K - 1 rows.

    what: their name in errors. Raises ValueError for labels that are no integers and, on the host,
    for labels out of range.
    """
    if labels.dtype.kind not in "iub":
        raise ValueError(f"{what} must be integers, got {labels.dtype}; use {what}.astype(int)")
    if isinstance(labels, np.ndarray) and not ((0 <= labels) & (labels < classes)).all():
        raise ValueError(
            f"{what} must be from 0 to {classes - 1}, got {labels.min()} to {labels.max()}"
        )
    rows = array_module(labels).arange(classes).reshape(-1, *[1] * labels.ndim)
    return (rows == labels).astype(dtype)


def log_softmax(logits):
    """Logits (K, ...) -> log-probabilities of the K classes, (K, ...); no logit is too large."""
    xp = array_module(logits)
    logits = logits - logits.max(axis=0)
    return logits - xp.log(xp.exp(logits).sum(axis=0))


def cross_entropy(logits, labels):
    """-log softmax(logits)[label], (...), for logits (K, ...) and labels (...).

    Bishop 2006, eq. 4.108. Raises ValueError for labels of another shape, and as `one_hot` does.
    """
    return -(_one_hot_like(logits, labels) * log_softmax(logits)).sum(axis=0)


def cross_entropy_grad(logits, labels):
    """The gradient of cross_entropy: dlogits, (K, ...). Bishop 2006, eq. 4.109."""
    # -log p = log(sum of exp(logits)) - logit of the label, and the first has the gradient softmax
    softmax = array_module(logits).exp(log_softmax(logits))
    return softmax - _one_hot_like(logits, labels)


def _one_hot_like(logits, labels):
    if labels.shape != logits.shape[1:]:
        raise ValueError(f"labels must be {logits.shape[1:]}, one an example, got {labels.shape}")
    return one_hot(labels, len(logits), logits.dtype)
