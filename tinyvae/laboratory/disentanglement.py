"""Whether single dimensions of a code represent the factors that made an image: MIG and SAP.

Both scores measure how much each latent dimension tells about one factor, and report the gap
between the best and the second best dimension. The gap is 1 if one dimension alone tells
everything. It is 0 if two dimensions tell the same, or if no dimension tells anything. Codes are
(N, L) with L >= 2. Factors are {name: (N,)}, where integers are classes and floats are quantities.
Order, sign and scale of the dimensions do not matter.
"""

import numpy as np
from scipy.special import entr

BINS = 20  # into which a quantity is divided


def mig(codes, factors):
    """The mutual information gap of each factor, {name: gap}. Chen et al. 2018, section 4.

    The gap of the mutual information I(z_j; v) over the dimensions j, divided by the entropy H(v)
    of the factor v. Quantities are divided into BINS bins with equally many values; finer
    differences are lost. Estimated from N images, I of two independent quantities is not 0 but
    about (BINS - 1)^2 / 2N nats, which is 0.02 for N = 10,000. This bias is in both sides of the
    gap. It cancels if both are small, and makes the gap of a perfect code smaller than 1.
    Raises ValueError for other shapes and for a factor that never changes.
    """
    dimensions = [_classes(column) for column in _columns(codes, factors)]
    gaps = {}
    for name, factor in factors.items():
        classes = _classes(factor)
        information = [_information(dimension, classes) for dimension in dimensions]
        gaps[name] = _gap(information) / _information(classes, classes)  # I(v; v) = H(v)
    return gaps


def sap(codes, factors):
    """The separated attribute predictability, {name: gap} by factor. Kumar et al. 2018, section 3.

    The gap of how well single dimensions predict the factor. For a quantity this is R^2 of a linear
    regression. For K classes it is (a - 1/K) / (1 - 1/K), where a is the balanced accuracy of the
    best guess from the dimension, divided into BINS bins; a random guess gets 0. (The paper takes a
    itself, whose gap cannot exceed 1 - 1/K.) Both scores are a little above 0 by chance, as in MIG.
    Raises ValueError for other shapes and for a factor that never changes.
    """
    columns = _columns(codes, factors)
    return {
        name: _gap([_predictability(column, factor) for column in columns])
        for name, factor in factors.items()
    }


def explained(codes, factors):
    """How well all dimensions together predict each quantity, {name: R^2}, by least squares.

    The code as a whole may determine a factor although no single dimension does. Then R^2 is near 1
    and the gaps are near 0. Classes are left out. Raises ValueError for other shapes and for
    constant factors.
    """
    columns = _columns(codes, factors)
    design = np.vstack([columns, np.ones_like(columns[0])]).T  # (N, L + 1)
    scores = {}
    for name, factor in factors.items():
        if factor.dtype.kind == "f":
            fit = design @ np.linalg.lstsq(design, factor)[0]
            scores[name] = 1 - float(np.var(factor - fit) / np.var(factor))
    return scores


def _gap(scores):
    second, best = np.sort(scores)[-2:]
    return float(best - second)


def _classes(values):
    """Values (N,) as integers 0, 1, ...: classes are numbered, quantities are divided into bins.

    The bins hold equally many values. Equal values share a bin, so a constant has one bin.
    """
    if values.dtype.kind == "f":
        edges = np.quantile(values, np.arange(1, BINS) / BINS)
        values = np.searchsorted(edges, values, side="right")
    return np.unique(values, return_inverse=True)[1]


def _joint(a, b):
    """The joint distribution (A, B) of the classes a (N,) and b (N,), from their counts."""
    counts = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(counts, (a, b), 1)
    return counts / len(a)


def _information(a, b):
    """I(a; b) = H(a) + H(b) - H(a, b) in nats."""
    p = _joint(a, b)
    return entr(p.sum(axis=1)).sum() + entr(p.sum(axis=0)).sum() - entr(p).sum()


def _predictability(column, factor):
    if factor.dtype.kind == "f":
        return np.corrcoef(column, factor)[0, 1] ** 2 if np.ptp(column) else 0.0
    p = _joint(_classes(column), _classes(factor))
    given = p / p.sum(axis=0)  # the probability of each bin given the class
    chance = 1 / p.shape[1]
    accuracy = chance * given.max(axis=1).sum()  # each bin guesses its most likely class
    return (accuracy - chance) / (1 - chance)


def _columns(codes, factors):
    """The dimensions of codes as rows (L, N). Raises ValueError for wrong shapes and factors."""
    codes = np.asarray(codes, np.float64)
    if codes.ndim != 2 or codes.shape[1] < 2:
        raise ValueError(f"codes must be (N, L) with L of at least 2, got {codes.shape}")
    for name, factor in factors.items():
        if factor.shape != codes.shape[:1] or factor.dtype.kind not in "iuf":
            raise ValueError(
                f"factor {name} must be integers or floats ({len(codes)},), got {factor.dtype} "
                f"of shape {factor.shape}"
            )
        if np.ptp(factor) == 0:
            raise ValueError(f"factor {name} must have two values or more, got {factor[0]} only")
    return codes.T
