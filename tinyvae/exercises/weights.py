"""Exercise 10: importance weights, and the importance-weighted bound.

The first functions are the solutions, and they call tinyvae. The tables hold the classic mistakes.
"""

import numpy as np

from tinyvae.engine import gaussian
from tinyvae.engine.categorical import log_softmax
from tinyvae.exercises.tasks import Case, Exercise, Task, changed, normal
from tinyvae.models.base import Model
from tinyvae.training import evaluation


def log_weights(log_px, z, mu, logvar):
    return log_px + _log_pz(z) - _log_qz(z, mu, logvar)


def normalised_weights(log_w):
    return np.exp(log_softmax(log_w))


def importance_weighted_bound(log_w):
    model = _GivenWeights().to(np, np.float64)
    return evaluation.importance_weighted_bound(model, log_w.T, len(log_w))


def _log_pz(z):
    return gaussian.log_density(z, np.zeros_like(z), np.zeros_like(z)).sum(axis=0)


def _log_qz(z, mu, logvar):
    return gaussian.log_density(z, mu[:, None], logvar[:, None]).sum(axis=0)


class _GivenWeights(Model):
    """A model whose examples (N, S) are the logarithms of their own importance weights."""

    noise_dim = 1

    def log_weights(self, x, eps):
        return x.T


def _sample_cases():
    for s, d, n in ((5, 3, 7), (7, 9, 11)):
        log_px, eps, mu, logvar = normal(f"samples {s}", (s, n), (d, s, n), (d, n), (d, n))
        z = gaussian.reparameterize(mu[:, None], logvar[:, None], eps)
        values = {"log_px": log_px - 5, "z": z, "mu": mu, "logvar": logvar}
        yield Case(values, {"S": s, "L": d, "N": n})


def _weight_cases():
    cases = (
        (5, 7, -3, ""),
        (7, 11, 0, ""),
        (5, 9, -2000, "log_w near -2000"),
        (3, 7, 2000, "log_w near 2000"),
    )
    for s, n, mean, extreme in cases:
        log_w = normal(f"weights {s} {n}", (s, n))[0] + mean
        yield Case({"log_w": log_w}, {"S": s, "N": n}, extreme)
    log_w = normal("weights apart", (3, 5))[0] - 2000 * np.arange(5)
    yield Case({"log_w": log_w}, {"S": 3, "N": 5}, "the examples' log_w 2000 apart")


# The classic mistakes


def _sum(log_w, axis=0):
    return np.exp(log_w).sum(axis=axis)


def _distance(z, mu):
    return (z - mu[:, None]) ** 2


def _constant(z):
    return len(z) * 0.5 * gaussian.LOG_2PI


LOG_WEIGHTS = (
    ("log p(z) is forgotten", lambda log_px, z, *q: log_px - _log_qz(z, *q)),
    ("log q is forgotten", lambda log_px, z, *q: log_px + _log_pz(z)),
    ("log p(x|z) is forgotten", lambda log_px, z, *q: _log_pz(z) - _log_qz(z, *q)),
    ("log q is added, not subtracted", lambda log_px, z, *q: log_px + _log_pz(z) + _log_qz(z, *q)),
    (
        "log p(z) is subtracted, not added",
        lambda log_px, z, *q: log_px - _log_pz(z) - _log_qz(z, *q),
    ),
    (
        "log p(x|z) is subtracted, not added",
        lambda log_px, z, *q: -log_px + _log_pz(z) - _log_qz(z, *q),
    ),
    (
        "log q lacks the constant log(2 pi), which log p(z) has",
        lambda log_px, z, *q: log_weights(log_px, z, *q) - _constant(z),
    ),
    (
        "log p(z) lacks the constant log(2 pi), which log q has",
        lambda log_px, z, *q: log_weights(log_px, z, *q) + _constant(z),
    ),
    (
        "in log q (z - mu)^2 is divided by sigma; it is divided by sigma^2 = exp(logvar)",
        lambda log_px, z, mu, logvar: (
            log_weights(log_px, z, mu, logvar)
            + 0.5
            * (_distance(z, mu) * (np.exp(-0.5 * logvar) - np.exp(-logvar))[:, None]).sum(axis=0)
        ),
    ),
    (
        "logvar is read as log sigma: sigma^2 is exp(logvar), not exp(2 logvar)",
        changed(log_weights, "logvar", lambda logvar: 2 * logvar),
    ),
    (
        "log q lacks the term -logvar / 2",
        lambda log_px, z, mu, logvar: log_weights(log_px, z, mu, logvar) - 0.5 * logvar.sum(axis=0),
    ),
    (
        "in log q the term logvar lacks the factor 1/2",
        lambda log_px, z, mu, logvar: log_weights(log_px, z, mu, logvar) + 0.5 * logvar.sum(axis=0),
    ),
    (
        "in log q (z - mu)^2 / sigma^2 lacks the factor 1/2",
        lambda log_px, z, mu, logvar: (
            log_weights(log_px, z, mu, logvar)
            + 0.5 * (_distance(z, mu) * np.exp(-logvar)[:, None]).sum(axis=0)
        ),
    ),
    ("it is the weight; return its logarithm", lambda *args: np.exp(log_weights(*args))),
    (
        "the KL in closed form stands where the densities of z belong: each sample has its own",
        lambda log_px, z, mu, logvar: log_px - gaussian.kl_to_standard(mu, logvar).sum(axis=0),
    ),
    (
        "the densities of z are averaged over its dimensions; logarithms add up",
        lambda log_px, z, *q: log_px + (_log_pz(z) - _log_qz(z, *q)) / len(z),
    ),
    (
        "the dimensions of z are not summed",
        lambda log_px, z, mu, logvar: (
            log_px
            + gaussian.log_density(z, 0 * z, 0 * z)
            - gaussian.log_density(z, mu[:, None], logvar[:, None])
        ),
    ),
)
TOGETHER = "the weights of all examples are normalised together; each example has a sum of its own"
NORMALISED_WEIGHTS = (
    ("the weights are not normalised", np.exp),
    (
        "the weights are divided by the largest, not by their sum",
        lambda log_w: np.exp(log_w - log_w.max(axis=0)),
    ),
    (
        "the weights are normalised over the examples; the sum is over the samples of an example",
        lambda log_w: np.exp(log_w) / _sum(log_w, axis=1)[:, None],
    ),
    (TOGETHER, lambda log_w: np.exp(log_w) / _sum(log_w, axis=None)),
    (TOGETHER, lambda log_w: (w := np.exp(log_w - log_w.max(axis=0))) / w.sum()),
    (
        "the logarithms are normalised; normalise the weights exp(log_w)",
        lambda log_w: log_w / log_w.sum(axis=0),
    ),
    ("it is the logarithm of the weights", log_softmax),
)
BOUND = (
    (
        "it is the logarithm of the sum over the samples: the weights are not averaged (log S)",
        lambda log_w: np.log(_sum(log_w)),
    ),
    (
        "log N is subtracted in place of log S",
        lambda log_w: np.log(_sum(log_w) / log_w.shape[1]),
    ),
    (
        "it is the mean of the logarithms, an estimate of the ELBO; take the logarithm of the mean",
        lambda log_w: log_w.mean(axis=0),
    ),
    (
        "the mean is over the examples; it is over the samples of each example",
        lambda log_w: np.log(_sum(log_w, axis=1) / log_w.shape[1]),
    ),
    ("the logarithm is missing: it is the mean of w", lambda log_w: np.exp(log_w).mean(axis=0)),
    ("it is the largest log w", lambda log_w: log_w.max(axis=0)),
    (
        "it is the largest log w minus log S",
        lambda log_w: log_w.max(axis=0) - np.log(len(log_w)),
    ),
    (
        "the largest log w is subtracted first, and not added back",
        lambda log_w: np.log(np.exp(log_w - log_w.max(axis=0)).mean(axis=0)),
    ),
    (
        "it is the mean of log w, weighted by the normalised weights",
        lambda log_w: (normalised_weights(log_w) * log_w).sum(axis=0),
    ),
    (
        "it is the mean over the examples too: return one bound for each example",
        lambda log_w: np.log(np.exp(log_w).mean(axis=0)).mean(),
    ),
    (
        "the mean over the examples is in it too: return one bound for each example",
        lambda log_w: np.log(np.exp(log_w).mean()),
    ),
)

EXERCISES = (
    Exercise(
        "10_importance_weights.py",
        "importance weights",
        "04_tightness.md",
        (
            Task(log_weights, "log_w", LOG_WEIGHTS, _sample_cases),
            Task(normalised_weights, "weights", NORMALISED_WEIGHTS, _weight_cases),
            Task(importance_weighted_bound, "bound", BOUND, _weight_cases),
        ),
    ),
)
