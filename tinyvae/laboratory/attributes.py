"""Attributes of handwriting: measured in an image, and their directions in a latent space.

On the host, from images (N, 1, H, W) in [0, 1]. tinyvae.data.digits knows the true ones of the
digits that it draws.
"""

import numpy as np

from tinyvae.data.batches import to_float
from tinyvae.data.digits import load_digits
from tinyvae.training import on_host

DIGITS = 5000  # whose factors are known
AMOUNTS = np.linspace(-2, 2, 9)  # in standard deviations of the attribute among them


def slant(images):
    """Shift to the right per unit of height, (N,): positive leans to the right.

    From the ink's second moments, -cov(x, y) / var(y) with y down: what a shear by this much to the
    left makes zero. Castro et al. 2019, "Morpho-MNIST".
    """
    ink = images[:, 0] / images[:, 0].sum(axis=(1, 2), keepdims=True)
    y, x = np.indices(ink.shape[1:])
    x = x - (ink * x).sum(axis=(1, 2))[:, None, None]
    y = y - (ink * y).sum(axis=(1, 2))[:, None, None]
    return -(ink * x * y).sum(axis=(1, 2)) / (ink * y * y).sum(axis=(1, 2))


def thickness(images):
    """Width of the strokes in pixels, (N,): twice the ink over the length of its outline.

    A stroke of length l and width w has the area l w and an outline of about 2 l. The outline of
    grey levels is their total variation, the mean of the outlines over all thresholds (the coarea
    formula; Rudin, Osher and Fatemi 1992), so a blurred edge counts like a sharp one. Its gradient
    is Roberts' cross, both diagonals of 2 by 2 pixels, which hardly depends on the direction.
    """
    x = np.pad(images[:, 0], ((0, 0), (1, 1), (1, 1)))
    falling, rising = x[:, 1:, 1:] - x[:, :-1, :-1], x[:, :-1, 1:] - x[:, 1:, :-1]
    outline = np.hypot(falling, rising).sum(axis=(1, 2)) / np.sqrt(2)
    return 2 * images.sum(axis=(1, 2, 3)) / outline


def attribute_vectors(codes, labels, attributes):
    """Directions (A, L) in which codes (N, L) move, for one unit more of attributes (N, A) each.

    Least squares: code = a vector for its label (N,) + attributes @ directions + rest. So what
    digits have in common with an attribute, such as a one's thin look, does not enter.
    """
    one_hot = labels[:, None] == np.unique(labels)
    solution, *_ = np.linalg.lstsq(np.hstack([one_hot, attributes]), codes, rcond=None)
    return solution[one_hot.shape[1] :]


def arithmetic(model, images):
    """Add attribute vectors to the codes of uint8 images (N, 1, H, W): do their digits obey?

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
    """How an attribute answers to amounts (T,) added: slope and correlation.

    images: (N, T, 1, H, W). slope: by how much the mean measure grows for one unit more, 1 for a
    vector that does what it says; correlation of measure and amount, the mean of those of each row.
    """
    values = measure(images.reshape(-1, *images.shape[2:])).reshape(images.shape[:2])  # (N, T)
    correlation = np.mean([np.corrcoef(amounts, row)[0, 1] for row in values])
    return float(np.polyfit(amounts, values.mean(axis=0), 1)[0]), float(correlation)


ATTRIBUTES = {"slant": slant, "thickness": thickness}
