"""log p(x) of a VAE with two latent dimensions, as the integral of p(x, z) over z on a lattice.

In 20 dimensions this integral cannot be computed, in 2 it can. A coarse grid over the prior finds
the square cells to begin with. Neighbouring cells are added until p(x, z) is negligible in all new
cells. Then the cells that are not negligible are divided into quarters, and the sum is repeated
with half the step, until the result no longer changes. The lattice also gives the true posterior
p(z|x), and the KL from a Gaussian q to it. All numbers are in nats.

Models must be in float64: model.to(xp, np.float64).
"""

from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax, logsumexp, softmax

from tinyvae.engine.backend import array_module, to_host
from tinyvae.engine.gaussian import log_density
from tinyvae.models.layout import as_vectors, batch_last

RADIUS = 6.0  # half the side of the coarse grid; the prior's probability outside is 4e-9
SIDE = 0.1  # a cell's side, and the coarse grid's step; the grid can miss a much narrower mode
DROP = 15.0  # a cell counts if log f in it is at most this much below the maximum; exp(-15) = 3e-7
TOLERANCE = 1e-4  # nats; the step is halved until the numbers change by less
MAX_NODES = 1 << 20  # the largest lattice
NOISE_RADIUS, NOISE_STEP = 5.5, 0.1  # the ELBO's lattice of noise, in standard deviations
CODES, IMAGES = 200, 10  # codes and images that are computed at a time, to limit the memory
NEIGHBOURS = np.array(list(product((-1, 0, 1), repeat=2)))  # offsets to a cell and to 8 others
QUARTERS = np.array(list(product((0, 1), repeat=2)))  # offsets to the quarters, in half sides


class Lattice(NamedTuple):
    """F functions f >= 0 on a square lattice that covers nearly all of their integrals."""

    z: np.ndarray  # (M, 2), the nodes
    log_f: np.ndarray  # (F, M)
    log_integrals: np.ndarray  # (F,), of each function over the plane
    change: float  # the largest change of a log-integral or a kl(j) when the step was last halved

    def kl(self, j):
        """KL(f_j || f_0), with both functions normalised to densities."""
        return _kl(self.log_f[[j, 0]])

    def level(self, j, share):
        """log f_j on the border of its highest density region with probability `share`.

        This region is the smallest one with this probability. Hyndman 1996, Computing and graphing
        highest density regions.
        """
        values = -np.sort(-self.log_f[j])
        mass = softmax(values).cumsum()
        return float(values[np.searchsorted(mass, share)])


def integrate(log_f, start, side, tolerance):
    """The Lattice of functions f over the plane, with their integrals and kl(j).

    log_f: codes z (M, 2) -> (F, M); start (n, 2): one point or more in every region where f is not
    negligible; side: of a cell, twice the first step. The step is halved until the numbers change
    by less than the tolerance. For smooth functions that decay, the error of a sum over a lattice
    falls exponentially with 1 / step (Trefethen and Weideman 2014, The exponentially convergent
    trapezoidal rule). A ReLU network is not smooth: the error falls like step^2, and a third of the
    last change remains as error. Raises ValueError if the integrals do not converge.
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
    """Evaluate log_f on cells, their neighbours, and so on, until all neighbours are negligible.

    cells (n, 2): the first cells; cell (i, j) is the square from side * (i, j) to
    side * (i + 1, j + 1). Returns the nodes z (M, 2), four in each cell, the values (F, M) and the
    cells that are not negligible.
    """
    highest, covered, parts, new = -np.inf, set(), [], set(map(tuple, cells))
    while new:
        covered |= new
        if len(covered) * len(QUARTERS) > MAX_NODES:
            raise ValueError(
                f"the integral does not converge with {MAX_NODES} nodes: f must decay, and be "
                "smooth on the scale of a hundredth of a cell"
            )
        cells = np.array(sorted(new))
        z = side * (cells[:, None] + 0.25 + 0.5 * QUARTERS).reshape(-1, 2)
        values = log_f(z)  # (F, M)
        parts.append((cells, z, values))
        highest = np.maximum(highest, values.max(axis=1, keepdims=True))
        near = cells[_not_negligible(values, highest)][:, None] + NEIGHBOURS
        new = set(map(tuple, near.reshape(-1, 2))) - covered
    cells, z, values = zip(*parts, strict=True)
    cells, z, values = np.concatenate(cells), np.concatenate(z), np.concatenate(values, axis=1)
    return z, values, cells[_not_negligible(values, highest)]


def _not_negligible(values, highest):
    """For each cell, whether a value in it is at most DROP below the maximum of its function."""
    near = (values > highest - DROP).any(axis=0)
    return near.reshape(-1, len(QUARTERS)).any(axis=1)


def _kl(log_f):
    """KL between two densities from their logs on a lattice (2, M), which need no normalisation."""
    log_p, log_q = log_softmax(log_f, axis=1)
    return float(np.exp(log_p) @ (log_p - log_q))


def log_joint(model, x, z):
    """log p(x, z) = log p(x|z) + log p(z) for images x (N, C, H, W) and codes z (M, L): (N, M)."""
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
    """Yield for each image of x (N, C, H, W) the Lattice of p(x, z) and of Q Gaussians q(z).

    mu, logvar: (Q, N, 2). Function 0 of the Lattice is p(x, z): its log-integral is log p(x), and
    normalised it is the true posterior p(z|x). Functions 1 to Q are the Gaussians. So kl(1) is
    KL(q || p(z|x)) for the first Gaussian.
    Raises ValueError unless the model has two latent dimensions and is in float64.
    """
    _require_two_dimensions(model)
    z, log_p = coarse_grid(model, x)
    for n, row in enumerate(log_p):

        def log_f(z, n=n):
            log_q = log_density(z, mu[:, n, None], logvar[:, n, None]).sum(axis=2)  # (Q, M)
            return np.concatenate([log_joint(model, x[n : n + 1], z), log_q])

        start = np.concatenate([z[row > row.max() - DROP], mu[:, n]])
        yield integrate(log_f, start, SIDE, TOLERANCE)


def coarse_grid(model, x):
    """Codes z (M, 2) on a grid over the prior, the centres of cells, and log p(x, z) (N, M)."""
    steps = np.arange(-RADIUS + SIDE / 2, RADIUS, SIDE)
    z = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    return z, log_joint(model, x, z)


def elbo(model, x, step=NOISE_STEP):
    """The ELBO of each image of x (N, C, H, W), (N,), as an integral over q, without sampling.

    The noise of model.log_weights runs over a square lattice with this step, in a disc. Each node
    has a weight proportional to its density under N(0, I). The disc leaves out a probability of
    exp(-NOISE_RADIUS**2 / 2). Raises ValueError unless the model has two latent dimensions and is
    in float64.
    """
    _require_two_dimensions(model)
    steps = np.arange(-NOISE_RADIUS + step / 2, NOISE_RADIUS, step)
    nodes = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    nodes = nodes[(nodes**2).sum(axis=1) < NOISE_RADIUS**2]
    eps = nodes[:, None].repeat(len(x), axis=1)  # (S, N, 2)
    size = max(1, CODES // len(x))
    parts = [eps[start : start + size] for start in range(0, len(eps), size)]
    log_w = np.concatenate([to_host(model.log_weights(x, part)) for part in parts])  # (S, N)
    return softmax(log_density(nodes, 0.0, 0.0).sum(axis=1)) @ log_w


def _require_two_dimensions(model):
    if model.latent_dim != 2 or model.theta.dtype != np.float64:
        raise ValueError(
            "quadrature needs a VAE with 2 latent dimensions in float64, got "
            f"{model.latent_dim} in {model.theta.dtype}; make the model with latent_dim=2 and call "
            "model.to(xp, np.float64)"
        )
