"""What happens to images between the data set and the network: binarized, shuffled, scaled.

Images stay bytes until the last moment, a quarter of their size as numbers.
"""

import numpy as np

from tinyvae.engine.backend import array_module
from tinyvae.errors import UserError
from tinyvae.rng import generator

BINARIZATIONS = ("none", "threshold", "dynamic")


def binarize(images, mode, rng=None):
    """uint8 images of any shape with grey levels made black or white: 0 or 255.

    mode "none" returns them unchanged; "threshold" makes 128 and above white; "dynamic" draws each
    pixel from rng, white with probability pixel / 255 exactly (Salakhutdinov and Murray 2008).
    Raises UserError for another mode, TypeError for images that are not uint8.
    """
    if mode not in BINARIZATIONS:
        raise UserError(f"expected a binarization among {', '.join(BINARIZATIONS)}, got {mode!r}")
    _require_bytes(images)
    if mode == "none":
        return images
    if mode == "threshold":
        white = images >= 128
    else:  # of the 255 equally likely values 0..254, as many as the pixel says are below it
        white = rng.integers(0, 255, size=images.shape, dtype=np.uint8) < images
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


def to_float(images, dtype=np.float32):
    """uint8 images (N, ...), NumPy's or CuPy's, as numbers in [0, 1] of this dtype.

    In memory the batch is the last axis, as models want it. Raises TypeError for images that are
    not uint8.
    """
    _require_bytes(images)
    xp = array_module(images)
    x = xp.empty((*images.shape[1:], len(images)), dtype=dtype)
    xp.divide(xp.moveaxis(images, 0, -1), 255, out=x, dtype=dtype)
    return xp.moveaxis(x, -1, 0)


def entropy_floor(images):
    """The least mean Bernoulli reconstruction loss of uint8 images (N, ...), in nats per image.

    -(x log p + (1 - x) log(1 - p)) is least at p = x = pixel / 255, where it is the entropy of a
    coin with that probability: zero only for black and white. So no model of grey levels gets below
    the sum of these entropies over an image, averaged over images.
    """
    x = np.arange(1, 255) / 255
    entropy = np.zeros(256)  # by grey level
    entropy[1:255] = -(x * np.log(x) + (1 - x) * np.log(1 - x))
    counts = np.zeros(256)
    for start in range(0, len(images), 1000):  # bincount makes 8 bytes of each pixel
        counts += np.bincount(images[start : start + 1000].ravel(), minlength=256)
    return float(counts @ entropy) / len(images)


def _require_bytes(images):
    if images.dtype != np.uint8:
        raise TypeError(f"expected images of dtype uint8, got {images.dtype}")
