"""Exercises 6 and 7: reparameterization and the KL divergence of a Gaussian from N(0, 1).

The first functions are the solutions, and they call tinyvae. The tables hold the classic mistakes.
"""

import numpy as np

from tinyvae.engine import gaussian
from tinyvae.engine.gaussian import kl_to_standard, kl_to_standard_grad
from tinyvae.exercises.tasks import Case, Exercise, Task, normal


def reparameterize(mu, logvar, eps):
    return gaussian.reparameterize(mu, logvar, eps)


def reparameterize_backward(dz, logvar, eps):
    return gaussian.reparameterize_backward(dz, logvar, eps)


def kl_loss(mu, logvar):
    return kl_to_standard(mu, logvar).sum(axis=0).mean()


def kl_loss_grad(mu, logvar):
    dmu, dlogvar = kl_to_standard_grad(mu, logvar)
    return dmu / mu.shape[1], dlogvar / mu.shape[1]


def _cases():
    for d, n in ((5, 7), (3, 11)):
        mu, logvar, eps, dz = normal(f"codes {d}", *[(d, n)] * 4)
        yield Case({"mu": mu, "logvar": logvar, "eps": eps, "dz": dz}, {"L": d, "N": n})


# The classic mistakes


def _std(logvar):
    return np.exp(0.5 * logvar)


VARIANCE = "exp(logvar), the variance, stands where sigma = exp(logvar / 2) belongs"
DEVIATION = "exp(logvar / 2), which is sigma, stands where sigma^2 = exp(logvar) belongs"
LOG_SIGMA = "logvar is read as log sigma: sigma^2 is exp(logvar), not exp(2 logvar)"
REPARAMETERIZE = (
    (VARIANCE, lambda mu, logvar, eps: mu + np.exp(logvar) * eps),
    ("logvar stands where sigma belongs", lambda mu, logvar, eps: mu + logvar * eps),
    ("the noise is subtracted", lambda mu, logvar, eps: mu - _std(logvar) * eps),
    ("sigma is missing", lambda mu, logvar, eps: mu + eps),
    ("the noise eps is missing", lambda mu, logvar, eps: mu + _std(logvar)),
    ("the noise is not used: it is the mean", lambda mu, logvar, eps: mu),
    ("mu is missing", lambda mu, logvar, eps: _std(logvar) * eps),
    ("1 / sigma stands where sigma belongs", lambda mu, logvar, eps: mu + eps / _std(logvar)),
    (LOG_SIGMA, lambda mu, logvar, eps: mu + np.exp(2 * logvar) * eps),
    ("mu is multiplied by sigma too", lambda mu, logvar, eps: (mu + eps) * _std(logvar)),
    ("mu and eps have changed places", lambda mu, logvar, eps: mu * _std(logvar) + eps),
    (
        "the square root of logvar stands where sigma belongs",
        lambda mu, logvar, eps: mu + np.sqrt(np.abs(logvar)) * eps,
    ),
)
REPARAMETERIZE_BACKWARD = (
    (
        "the factor 1/2 is missing: the derivative of exp(logvar / 2) is exp(logvar / 2) / 2",
        lambda dz, logvar, eps: (dz, dz * eps * _std(logvar)),
    ),
    (VARIANCE, lambda dz, logvar, eps: (dz, dz * eps * np.exp(logvar))),
    (VARIANCE, lambda dz, logvar, eps: (dz, dz * eps * 0.5 * np.exp(logvar))),
    (
        "dlogvar is the gradient with respect to sigma: the derivative of sigma is missing",
        lambda dz, logvar, eps: (dz, dz * eps),
    ),
    ("eps is missing in dlogvar", lambda dz, logvar, eps: (dz, dz * 0.5 * _std(logvar))),
    ("sigma is missing in dlogvar", lambda dz, logvar, eps: (dz, dz * eps * 0.5)),
    ("logvar stands where sigma belongs", lambda dz, logvar, eps: (dz, dz * eps * 0.5 * logvar)),
    (
        "1 / sigma stands where sigma belongs",
        lambda dz, logvar, eps: (dz, dz * eps * 0.5 / _std(logvar)),
    ),
    (
        "dmu is multiplied by eps; the derivative of z with respect to mu is 1",
        lambda dz, logvar, eps: (dz * eps, dz * eps * 0.5 * _std(logvar)),
    ),
    (
        "the upstream gradient dz is not used",
        lambda dz, logvar, eps: (np.ones_like(dz), eps * 0.5 * _std(logvar)),
    ),
    (
        "dmu is overwritten: dlogvar is computed in place in the array that is dmu too",
        lambda dz, logvar, eps: (dz * eps * 0.5 * _std(logvar),) * 2,
    ),
    (
        "dmu is multiplied by sigma; the derivative of z with respect to mu is 1",
        lambda dz, logvar, eps: (dz * _std(logvar), dz * eps * 0.5 * _std(logvar)),
    ),
)


def _kl(square, variance, log_variance, one=1.0):
    return 0.5 * (square + variance - one - log_variance).sum(axis=0).mean()


KL_LOSS = (
    (DEVIATION, lambda mu, logvar: _kl(mu**2, _std(logvar), logvar)),
    (LOG_SIGMA, lambda mu, logvar: _kl(mu**2, np.exp(2 * logvar), logvar)),
    (LOG_SIGMA, lambda mu, logvar: _kl(mu**2, np.exp(2 * logvar), 2 * logvar)),
    ("logvar is added, not subtracted", lambda mu, logvar: _kl(mu**2, np.exp(logvar), -logvar)),
    ("the -1 is missing", lambda mu, logvar: _kl(mu**2, np.exp(logvar), logvar, 0)),
    ("the 1 is added, not subtracted", lambda mu, logvar: _kl(mu**2, np.exp(logvar), logvar, -1)),
    ("mu^2 is missing", lambda mu, logvar: _kl(0, np.exp(logvar), logvar)),
    ("mu is not squared", lambda mu, logvar: _kl(mu, np.exp(logvar), logvar)),
    ("mu^2 is subtracted, not added", lambda mu, logvar: _kl(-(mu**2), np.exp(logvar), logvar)),
    ("logvar is missing", lambda mu, logvar: _kl(mu**2, np.exp(logvar), 0)),
    ("sigma^2 is missing", lambda mu, logvar: _kl(mu**2, 0, logvar)),
    (
        "q and p have changed places: it is KL(N(0, 1) || N(mu, sigma^2))",
        lambda mu, logvar: _kl(mu**2 * np.exp(-logvar), np.exp(-logvar), -logvar),
    ),
)


def _per_example(dmu, dlogvar):
    return dmu / dmu.shape[1], dlogvar / dmu.shape[1]


KL_LOSS_GRAD = (
    (DEVIATION, lambda mu, logvar: _per_example(mu, 0.5 * (_std(logvar) - 1))),
    (LOG_SIGMA, lambda mu, logvar: _per_example(mu, np.exp(2 * logvar) - 1)),
    (LOG_SIGMA, lambda mu, logvar: _per_example(mu, 0.5 * (np.exp(2 * logvar) - 1))),
    ("the -1 is missing in dlogvar", lambda mu, logvar: _per_example(mu, 0.5 * np.exp(logvar))),
    (
        "the 1 is added in dlogvar, not subtracted",
        lambda mu, logvar: _per_example(mu, 0.5 * (np.exp(logvar) + 1)),
    ),
    (
        "the factor 1/2 is missing in dlogvar",
        lambda mu, logvar: _per_example(mu, np.exp(logvar) - 1),
    ),
    (
        "the factor 1/2 is at exp(logvar) only; it is at the 1 too",
        lambda mu, logvar: _per_example(mu, 0.5 * np.exp(logvar) - 1),
    ),
    (
        "dlogvar is the gradient with respect to sigma",
        lambda mu, logvar: _per_example(mu, _std(logvar) - 1 / _std(logvar)),
    ),
    (
        "dlogvar is the gradient with respect to sigma^2",
        lambda mu, logvar: _per_example(mu, 0.5 * (1 - np.exp(-logvar))),
    ),
    (
        "dmu is divided by sigma^2",
        lambda mu, logvar: _per_example(mu / np.exp(logvar), 0.5 * np.expm1(logvar)),
    ),
)

EXERCISES = (
    Exercise(
        "06_reparameterize.py",
        "reparameterization",
        "07_reparameterization.md",
        (
            Task(reparameterize, "z", REPARAMETERIZE, _cases),
            Task(reparameterize_backward, "dmu dlogvar", REPARAMETERIZE_BACKWARD, _cases),
        ),
    ),
    Exercise(
        "07_kl.py",
        "Gaussian KL",
        "06_gaussian_kl.md",
        (
            Task(kl_loss, "loss", KL_LOSS, _cases),
            Task(kl_loss_grad, "dmu dlogvar", KL_LOSS_GRAD, _cases),
        ),
    ),
)
