"""Whether single dimensions of a code stand for the factors that made an image: MIG and SAP.

These two say how much each latent dimension tells of one factor, and take the gap between the best
dimension and the next: 1 if the factor lives in one dimension alone, 0 if two tell the same, or
none tells anything. Codes are (N, L) with L >= 2; factors are {name: (N,)}, where integers are
classes and floats are quantities. Order, sign and scale of the dimensions do not matter.
"""

import numpy as np
from scipy.special import entr

BINS = 20


def mig(codes, factors):
    """The mutual information gap of each factor, {name: gap}. Chen et al. 2018, section 4.

    It is the gap of I(z_j; v) over the dimensions j, divided by the entropy H(v). Quantities are
    cut into BINS equally filled bins, which lose what is finer. From N images, I of two independent
    ones is not 0 but about (BINS - 1)^2 / 2N nats, 0.02 for N = 10,000. Where both sides of a gap
    are small, that cancels; a perfect code's gap falls short of 1 by it, as the second best is 0.
    Raises ValueError for other shapes and for a factor that never changes.
    """
    dimensions = [_classes(column) for column in _columns(codes, factors)]
    gaps = {}
    for name, factor in factors.items():
        classes = _classes(factor)
        told = [_information(dimension, classes) for dimension in dimensions]
        gaps[name] = _gap(told) / _information(classes, classes)  # of itself: the entropy
    return gaps


def sap(codes, factors):
    """The separated attribute predictability, {name: gap} by factor. Kumar et al. 2018, section 3.

    It is the gap of how well one dimension predicts the factor. For a quantity that is R^2 of a
    straight line. For K classes it is (a - 1/K) / (1 - 1/K), where a is the balanced accuracy of
    the best guess from the dimension's bin, of BINS: 0 for a blind guess (the paper takes a
    itself, whose gap cannot exceed 1 - 1/K). Both are a little above 0 by chance, as MIG's are.
    Raises ValueError for other shapes and for a factor that never changes.
    """
    columns = _columns(codes, factors)
    return {
        name: _gap([_predictability(column, factor) for column in columns])
        for name, factor in factors.items()
    }


def explained(codes, factors):
    """How well all dimensions together predict each quantity, {name: R^2}, by least squares.

    A factor may be known to a code, and yet to no dimension of it: then this is near 1 and the gaps
    are near 0. Classes are left out. Raises ValueError for other shapes and constant factors.
    """
    columns = _columns(codes, factors)
    design = np.vstack([columns, np.ones_like(columns[0])]).T  # (N, L + 1)
    found = {}
    for name, factor in factors.items():
        if factor.dtype.kind == "f":
            fit = design @ np.linalg.lstsq(design, factor)[0]
            found[name] = 1 - float(np.var(factor - fit) / np.var(factor))
    return found


def _gap(scores):
    second, best = np.sort(scores)[-2:]
    return float(best - second)


def _classes(values):
    """Integers 0, 1, ... for values (N,): classes as they are, quantities by equally filled bins.

    Equal values share a bin, so a constant has one and tells nothing.
    """
    if values.dtype.kind == "f":
        edges = np.quantile(values, np.arange(1, BINS) / BINS)
        values = np.searchsorted(edges, values, side="right")
    return np.unique(values, return_inverse=True)[1]


def _joint(a, b):
    """How often the classes a (N,) and b (N,) meet, as probabilities (A, B)."""
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
    given = p / p.sum(axis=0)  # the bin's probability given the class
    chance = 1 / p.shape[1]
    accuracy = chance * given.max(axis=1).sum()  # each bin guesses its likeliest class
    return (accuracy - chance) / (1 - chance)


def _columns(codes, factors):
    """The dimensions of codes as rows (L, N), if all shapes are what they must be."""
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
