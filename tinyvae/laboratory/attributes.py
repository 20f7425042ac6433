"""Attributes of handwriting: their measurement in images, and their directions in a latent space.

Images are NumPy arrays (N, 1, H, W) in [0, 1]. For synthetic digits the true attributes are known:
tinyvae.data.digits returns them as factors.
"""

import numpy as np

from tinyvae.data.batches import to_float
from tinyvae.data.digits import load_digits
from tinyvae.training import on_host

DIGITS = 5000  # synthetic digits from which the directions are learned
AMOUNTS = np.linspace(-2, 2, 9)  # changes of an attribute, in its standard deviations


def slant(images):
    """Shift to the right per unit of height, (N,): positive if the digit leans to the right.

    This is -cov(x, y) / var(y) of the ink, with y downwards. A shear to the left by the slant makes
    the covariance zero. Castro et al. 2019, "Morpho-MNIST".
    """
    ink = images[:, 0] / images[:, 0].sum(axis=(1, 2), keepdims=True)
    y, x = np.indices(ink.shape[1:])
    x = x - (ink * x).sum(axis=(1, 2))[:, None, None]
    y = y - (ink * y).sum(axis=(1, 2))[:, None, None]
    return -(ink * x * y).sum(axis=(1, 2)) / (ink * y * y).sum(axis=(1, 2))


def thickness(images):
    """Width of the strokes in pixels, (N,): twice the area of the ink over its outline's length.

    A stroke of length l and width w has the area l w and an outline of length about 2 l. The length
    of the outline is computed as the total variation of the image. By the coarea formula (Rudin,
    Osher and Fatemi 1992) the total variation is the mean length of the outline over all
    thresholds, so a blurred edge counts like a sharp one. The image gradient is Roberts' cross,
    the differences along both diagonals of 2 by 2 pixels, whose length hardly depends on the
    direction of the edge.
    """
    x = np.pad(images[:, 0], ((0, 0), (1, 1), (1, 1)))
    falling, rising = x[:, 1:, 1:] - x[:, :-1, :-1], x[:, :-1, 1:] - x[:, 1:, :-1]
    outline = np.hypot(falling, rising).sum(axis=(1, 2)) / np.sqrt(2)
    return 2 * images.sum(axis=(1, 2, 3)) / outline


def attribute_vectors(codes, labels, attributes):
    """Directions (A, L): how codes (N, L) change when an attribute, of (N, A), grows by one unit.

    Least squares: code = vector of its label + attributes @ directions + residual, with labels
    (N,). The vectors of the labels take up the differences between the digits. Without them, the
    direction of thickness would contain, for example, that ones look thin.
    """
    one_hot = labels[:, None] == np.unique(labels)
    solution, *_ = np.linalg.lstsq(np.hstack([one_hot, attributes]), codes, rcond=None)
    return solution[one_hot.shape[1] :]


def arithmetic(model, images):
    """Add attribute vectors to the codes of uint8 images (N, 1, H, W), and measure the effect.

    The vectors are learned on synthetic digits, whose true slant and thickness are known. Returns
    {attribute: {number: value}} and {attribute: decoded images (N, len(AMOUNTS), 1, H, W)}.
    """
    digits, labels, factors = load_digits(DIGITS, seed=2)
    known = np.stack([factors[name] for name in ATTRIBUTES], axis=1)
    directions = attribute_vectors(on_host.embed(model, digits), labels, known)
    codes, numbers, pictures = on_host.embed(model, images), {}, {}
    for (name, measure), factor, direction in zip(
        ATTRIBUTES.items(), known.T, directions, strict=True
    ):
        amounts = AMOUNTS * factor.std()
        pictures[name] = on_host.decode(model, codes[:, None] + amounts[:, None] * direction)
        slope, correlation = response(pictures[name], amounts, measure)
        true = np.corrcoef(measure(to_float(digits)), factor)[0, 1]
        numbers[name] = {
            "slope": slope,
            "correlation": correlation,
            "measured against true, synthetic digits": float(true),
        }
    return numbers, pictures


def response(images, amounts, measure):
    """How the measured attribute of images (N, T, 1, H, W) depends on the amounts (T,) added.

    Returns the slope and the correlation. slope: the growth of the mean measured attribute for one
    unit added, which is 1 if the attribute vector is right. correlation: between the measured
    attribute and the amount, computed for each of the N rows and averaged.
    """
    values = measure(images.reshape(-1, *images.shape[2:])).reshape(images.shape[:2])  # (N, T)
    correlation = np.mean([np.corrcoef(amounts, row)[0, 1] for row in values])
    return float(np.polyfit(amounts, values.mean(axis=0), 1)[0]), float(correlation)


ATTRIBUTES = {"slant": slant, "thickness": thickness}
