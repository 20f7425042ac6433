"""log p(x) of a VAE with two latent dimensions, exactly: its integral over z, done on a lattice.

The integral of p(x, z) that a VAE avoids is out of reach in 20 dimensions, not in 2. A look at the
whole prior finds the square cells to start from; neighbours are added until all around them is
negligible; then the step is halved where the mass is, until nothing changes. That gives the true
posterior too, and so how far a Gaussian q is from it. All numbers are in nats.

Models must be in float64, such as model.to(xp, np.float64).
"""

from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax, logsumexp, softmax

from tinyvae.engine.backend import array_module, to_host
from tinyvae.engine.gaussian import log_density
from tinyvae.models.base import as_vectors, batch_last

RADIUS = 6.0  # the look at the prior: outside this square it has a mass of 4e-9
SIDE = 0.1  # of a cell, and the step of that look: it can miss a mode that is far narrower
DROP = 15.0  # a cell counts if it comes so close to the highest; exp(-15) is 3e-7
TOLERANCE = 1e-4  # nats by which halving the step may still change a number
MOST = 1 << 20  # nodes of a lattice
NOISE_RADIUS, NOISE_STEP = 5.5, 0.1  # of the lattice for the ELBO, in standard deviations
CODES, IMAGES = 200, 10  # decoded and compared at a time: bounds the memory
NEIGHBOURS = np.array(list(product((-1, 0, 1), repeat=2)))  # of a cell, and the cell itself
QUARTERS = np.array(list(product((0, 1), repeat=2)))  # of a cell, counted in half sides


class Lattice(NamedTuple):
    """F functions f >= 0 on a square lattice that covers the mass of each of them."""

    z: np.ndarray  # (M, 2), the nodes
    log_f: np.ndarray  # (F, M)
    log_integrals: np.ndarray  # (F,), of each function over the plane
    change: float  # the most by which the last halving of the step changed one of them, or a kl(j)

    def kl(self, j):
        """KL(f_j || f_0) of the densities that the functions become when normalised."""
        return _kl(self.log_f[[j, 0]])

    def level(self, j, share):
        """log f_j on the border of the smallest region that holds this share of its mass.

        Hyndman 1996, Computing and graphing highest density regions.
        """
        values = -np.sort(-self.log_f[j])
        mass = softmax(values).cumsum()
        return float(values[np.searchsorted(mass, share)])


def integrate(log_f, start, side, tolerance):
    """The Lattice of functions f over the plane that gives their integrals and kl(j).

    log_f: codes z (M, 2) -> (F, M); start (n, 2): points from which all the mass can be reached
    uphill; side: of a cell, twice the first step. The step is halved until the numbers change by
    less than the tolerance. The sum over a lattice is exponentially exact for what is smooth and
    decays (Trefethen and Weideman 2014, The exponentially convergent trapezoidal rule); the kinks
    of a ReLU network leave it the second order, where the error is a third of the last change.
    Raises ValueError where the integrals do not settle.
    """
    cells, before = np.floor(np.asarray(start) / side).astype(int), np.inf
    while True:
        z, values, cells = _cover(log_f, cells, side)
        log_integrals = logsumexp(values, axis=1) + 2 * np.log(side / 2)
        now = np.array([*log_integrals, *(_kl(values[[j, 0]]) for j in range(1, len(values)))])
        change = float(np.abs(now - before).max())
        if change < tolerance:
            return Lattice(z, values, log_integrals, change)
        cells, side, before = (2 * cells[:, None] + QUARTERS).reshape(-1, 2), side / 2, now


def _cover(log_f, cells, side):
    """Nodes z, four a cell, values there, and the cells that count; their neighbours are covered.

    cells (n, 2): where to begin; cell (i, j) reaches from side * (i, j) to side * (i + 1, j + 1).
    """
    highest, known, parts, new = -np.inf, set(), [], set(map(tuple, cells))
    while new:
        known |= new
        if len(known) * len(QUARTERS) > MOST:
            raise ValueError(
                f"the integral does not settle on {MOST} nodes: f must decay, and be smooth on "
                "the scale of a hundredth of a cell"
            )
        cells = np.array(sorted(new))
        z = side * (cells[:, None] + 0.25 + 0.5 * QUARTERS).reshape(-1, 2)
        values = log_f(z)  # (F, M)
        parts.append((cells, z, values))
        highest = np.maximum(highest, values.max(axis=1, keepdims=True))
        near = cells[_counts(values, highest)][:, None] + NEIGHBOURS
        new = set(map(tuple, near.reshape(-1, 2))) - known
    cells, z, values = zip(*parts, strict=True)
    cells, z, values = np.concatenate(cells), np.concatenate(z), np.concatenate(values, axis=1)
    return z, values, cells[_counts(values, highest)]


def _counts(values, highest):
    """Which cells hold a value that is within DROP of the highest of its function."""
    near = (values > highest - DROP).any(axis=0)
    return near.reshape(-1, len(QUARTERS)).any(axis=1)


def _kl(log_f):
    """KL of two densities, not normalised, from their logs on a lattice (2, M)."""
    log_p, log_q = log_softmax(log_f, axis=1)
    return float(np.exp(log_p) @ (log_p - log_q))


def log_joint(model, x, z):
    """log p(x, z) = log p(x|z) + log p(z) of images x (N, C, H, W) and codes z (M, L): (N, M)."""
    xp, n = array_module(model.theta), len(x)
    x = as_vectors(batch_last(x, model.theta), n, 1)  # (D, N, 1)
    log_px = []
    for start in range(0, len(z), CODES):
        codes = batch_last(z[start : start + CODES], model.theta)  # (L, M)
        output = as_vectors(model.decoder.forward(codes), 1, codes.shape[1])
        rows = [
            model.likelihood.log_prob(x[:, first : first + IMAGES], output)
            for first in range(0, n, IMAGES)
        ]
        log_px.append(to_host(xp.concatenate(rows)))
    return np.concatenate(log_px, axis=1) + log_density(z, 0.0, 0.0).sum(axis=1)


def true_posteriors(model, x, mu, logvar):
    """Yield for each image of x (N, C, H, W) the Lattice of p(x, z) and of Q Gaussians over z.

    mu, logvar (Q, N, 2): the Gaussians are functions 1 to Q, and integrate to one. Function 0 is
    p(x, z): its log-integral is log p(x), and normalised it is the true posterior p(z|x). So
    kl(1) is KL(q || p(z|x)) of the first of them.
    Raises ValueError for a model with other than two latent dimensions, or not in float64.
    """
    _require(model)
    z, table = look(model, x)
    for n, row in enumerate(table):

        def log_f(z, n=n):
            log_q = log_density(z, mu[:, n, None], logvar[:, n, None]).sum(axis=2)  # (Q, M)
            return np.concatenate([log_joint(model, x[n : n + 1], z), log_q])

        start = np.concatenate([z[row > row.max() - DROP], mu[:, n]])
        yield integrate(log_f, start, SIDE, TOLERANCE)


def look(model, x):
    """All over the prior: codes z (M, 2), the middles of cells, and log p(x, z) there, (N, M)."""
    steps = np.arange(-RADIUS + SIDE / 2, RADIUS, SIDE)
    z = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    return z, log_joint(model, x, z)


def elbo(model, x, step=NOISE_STEP):
    """The ELBO of each image of x (N, C, H, W), (N,): a mean over all of q, without chance.

    The noise of model.log_weights runs over a square lattice of this step, in a disc that holds
    all but exp(-NOISE_RADIUS**2 / 2) of N(0, I), each node with the weight of its density.
    Raises ValueError for a model with other than two latent dimensions, or not in float64.
    """
    _require(model)
    steps = np.arange(-NOISE_RADIUS + step / 2, NOISE_RADIUS, step)
    nodes = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    nodes = nodes[(nodes**2).sum(axis=1) < NOISE_RADIUS**2]
    eps = nodes[:, None].repeat(len(x), axis=1)  # (S, N, 2)
    size = max(1, CODES // len(x))
    parts = [eps[start : start + size] for start in range(0, len(eps), size)]
    log_w = np.concatenate([to_host(model.log_weights(x, part)) for part in parts])  # (S, N)
    return softmax(log_density(nodes, 0.0, 0.0).sum(axis=1)) @ log_w


def _require(model):
    if model.latent_dim != 2 or model.theta.dtype != np.float64:
        raise ValueError(
            "quadrature needs a VAE with 2 latent dimensions in float64, got "
            f"{model.latent_dim} in {model.theta.dtype}: train one, and take model.to(xp, "
            "np.float64)"
        )
