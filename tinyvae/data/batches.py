"""What happens to examples between the data set and the model: binarized, shuffled, scaled.

uint8 data stay uint8 until a minibatch is taken: they need a quarter of the memory of float32.
"""

import numpy as np
from scipy.special import entr

from tinyvae.engine.backend import array_module
from tinyvae.errors import UserError
from tinyvae.rng import generator

BINARIZATIONS = ("none", "threshold", "dynamic")


def binarize(x, mode, rng=None):
    """Examples of any shape, uint8 or floats in [0, 1], made black or white: uint8, 0 or 255.

    mode "none" returns x unchanged; "threshold" makes 128 and above white, or 0.5 and above where
    x holds floats; "dynamic" draws each value from rng, white with probability x, which is
    value / 255 for uint8 (Salakhutdinov and Murray 2008). The probability is exact for uint8, and
    exact to 2^-24 for floats.
    Raises UserError for another mode and for floats beyond [0, 1], TypeError for another dtype.
    """
    if mode not in BINARIZATIONS:
        raise UserError(f"expected a binarization among {', '.join(BINARIZATIONS)}, got {mode!r}")
    bytes_given = _is_uint8(x)
    if mode == "none":
        return x
    if not bytes_given:
        _require_unit_range(x, "values to binarize")
    if mode == "threshold":
        white = x >= (128 if bytes_given else 0.5)
    elif bytes_given:  # a uniform integer from 0 to 254 is below x with probability x / 255
        white = rng.integers(0, 255, size=x.shape, dtype=np.uint8) < x
    else:
        white = rng.random(size=x.shape, dtype=np.float32) < x
    return white * np.uint8(255)


def minibatches(n, batch_size, seed, epoch, xp=np):
    """Yield index arrays of xp that visit n shuffled examples once each; the last may be shorter.

    The order depends on seed and epoch alone. Raises UserError for a batch size below 1.
    """
    if batch_size < 1:
        raise UserError(f"expected a batch size of at least 1, got {batch_size}")
    order = xp.asarray(generator(seed, "shuffle", epoch).permutation(n))
    for start in range(0, n, batch_size):
        yield order[start : start + batch_size]


def to_float(x, dtype=np.float32):
    """Examples (N, ...), NumPy's or CuPy's, as floats of this dtype: uint8 is divided by 255.

    Floats keep their values. In memory the batch is the last axis, as models want it. Raises
    TypeError for another dtype of x.
    """
    xp, bytes_given = array_module(x), _is_uint8(x)
    batch_last = xp.empty((*x.shape[1:], len(x)), dtype=dtype)
    if bytes_given:
        xp.divide(xp.moveaxis(x, 0, -1), 255, out=batch_last, dtype=dtype)
    else:
        batch_last[...] = xp.moveaxis(x, 0, -1)
    return xp.moveaxis(batch_last, -1, 0)


def entropy_floor(x):
    """The least mean Bernoulli reconstruction loss of examples (N, ...), in nats per example.

    x: uint8, or floats in [0, 1]. For one value x the loss -(x log p + (1 - x) log(1 - p)) is
    least at p = x. There it is the entropy of a Bernoulli variable with probability x, which is
    zero only for x = 0 and x = 1. No model of grey levels gets below the sum of these entropies
    over an example, averaged over the examples. Raises UserError for floats beyond [0, 1],
    TypeError for another dtype.
    """
    chunks = (x[start : start + 1000] for start in range(0, len(x), 1000))  # to need less memory
    if not _is_uint8(x):
        _require_unit_range(x, "values for a Bernoulli likelihood")
        return sum(float((entr(p) + entr(1 - p)).sum()) for p in map(np.float64, chunks)) / len(x)
    grey = np.arange(1, 255) / 255
    entropy = np.zeros(256)  # by grey level
    entropy[1:255] = -(grey * np.log(grey) + (1 - grey) * np.log(1 - grey))
    counts = sum(np.bincount(chunk.ravel(), minlength=256) for chunk in chunks)
    return float(counts @ entropy) / len(x)


def _is_uint8(x):
    """Whether x holds uint8, or else floats. Raises TypeError for another dtype."""
    if x.dtype == np.uint8:
        return True
    if x.dtype.kind == "f":
        return False
    raise TypeError(f"expected examples of dtype uint8 or floats, got {x.dtype}")


def _require_unit_range(x, what):
    low, high = x.min(initial=0), x.max(initial=1)  # NaN if there is one
    if not (low >= 0 and high <= 1):
        raise UserError(f"expected {what} from 0 to 1, found {low:g} to {high:g}; rescale the data")
