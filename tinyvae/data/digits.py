"""Handwritten digits drawn by arithmetic: any number of them, without a file or a network.

A stroke is a spline through a few control points. Slant, size, thickness and the like are drawn at
random for each image, and are returned with it.

Digits as splines covered with Gaussian beads of ink: Revow, Williams & Hinton, "Using generative
models for handwritten digit recognition" (1996). Size and centring: the MNIST set (LeCun et al.
1998). Slant and thickness as factors to recover: Castro et al., "Morpho-MNIST" (2019).
"""

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.special import ndtr

from tinyvae.rng import generator

# The ways to write each digit: (share of the writers, strokes). A stroke passes smoothly through
# its points "x,y" (x to the right, y down, in percent of the digit's height); " / " begins another
# stroke. Where a stroke begins at the end of the stroke before it, the line has a corner.
GLYPHS = {
    0: [
        (5, "38,3 16,12 4,48 14,88 38,97 60,64 56,22 38,4 26,5"),
        (3, "42,15 30,4 10,22 4,62 20,96 48,90 62,52 50,12 24,7"),
        (2, "46,8 22,4 5,36 10,82 34,98 58,70 58,26 40,5"),
    ],
    1: [
        (4, "10,0 10,100"),
        (3, "12,0 10,50 10,100"),
        (2, "0,24 12,14 22,0 / 22,0 20,100"),
        (1, "2,24 12,14 22,0 / 22,0 22,97 / 0,98 22,97 44,96"),
    ],
    2: [
        (4, "4,20 20,4 44,5 52,26 36,58 6,96 / 6,96 32,94 62,93"),
        (3, "8,24 26,3 48,10 46,36 30,70 12,94 1,86 14,70 40,84 72,88"),
        (3, "5,26 18,5 42,4 52,24 40,52 4,94 / 4,94 20,86 40,96 62,88"),
    ],
    3: [
        (5, "6,14 26,2 48,12 42,36 20,46 / 20,46 48,52 56,76 34,98 4,88"),
        (2, "6,6 28,5 54,3 / 54,3 24,40 / 24,40 52,52 52,84 28,99 2,90"),
        (3, "5,12 28,1 48,16 36,40 20,46 20,40 34,44 54,62 48,90 24,99 2,86"),
    ],
    4: [
        (4, "12,4 8,28 4,52 / 4,52 30,54 62,48 / 54,0 50,45 46,100"),
        (3, "10,4 3,40 12,54 32,52 52,40 / 56,0 50,48 44,100"),
        (3, "44,0 26,32 2,62 / 2,62 34,63 68,60 / 44,0 44,100"),
    ],
    5: [
        (4, "14,5 12,24 10,44 / 10,44 34,36 56,60 42,92 4,94 / 14,5 38,5 66,0"),
        (3, "60,2 34,6 16,12 12,34 24,46 48,58 50,80 30,98 2,92"),
        (3, "18,4 14,26 12,44 28,44 50,56 48,84 24,99 2,92 / 18,4 36,7 58,2"),
    ],
    6: [
        (5, "42,0 20,24 5,62 12,92 34,99 52,82 44,62 24,62 9,78"),
        (3, "52,6 38,0 18,18 4,58 14,94 38,97 50,76 38,58 18,62 7,76"),
        (2, "26,0 12,34 6,70 20,97 46,92 52,72 36,62 8,84"),
    ],
    7: [
        (4, "2,10 30,8 58,4 / 58,4 26,100"),
        (2, "2,10 30,8 58,4 / 58,4 42,45 28,100 / 16,52 38,49 62,48"),
        (2, "4,24 6,8 / 6,8 30,8 58,4 / 58,4 38,48 28,100"),
        (1, "2,14 24,2 50,12 46,44 30,100"),
    ],
    8: [
        (4, "50,12 32,1 10,14 20,38 44,58 46,84 26,99 8,84 18,60 44,36 52,12"),
        (3, "58,10 36,1 14,14 22,40 42,62 36,92 14,98 8,80 24,56 46,32 64,0"),
        (3, "28,46 10,30 14,6 36,3 48,22 28,46 / 28,46 8,66 10,92 36,99 52,78 28,46"),
    ],
    9: [
        (4, "48,10 26,2 6,20 10,42 32,44 48,12 / 48,12 42,100"),
        (3, "44,28 26,46 8,34 14,8 38,2 48,22 46,60 34,100"),
        (3, "48,10 26,2 6,20 10,42 32,44 50,12 / 50,12 50,60 42,90 22,99 4,90"),
    ],
}

SIZE, CENTRE, BOX = 28, 14, 20  # pixels: the image, its ink's centre of mass, MNIST's box of ink
BEAD = 0.6  # standard deviation of a bead of ink, in pixels
EDGE = 1.3  # width of the grey edge of a stroke, in pixels
SPACING = 2.5  # between beads along a stroke, in percent of the height (about half a pixel)
REACH = 33  # length scale of the wobble's covariance along a digit, in percent of its height
MARGIN = 1.5  # least distance in pixels from a stroke to the image's border
PRESSURE = 0.1  # relative standard deviation of a stroke's thickness along its way
CHUNK = 128  # images drawn at once, to keep the memory small: 2 MB for each array over their beads


def load_digits(n, seed=0):
    """Draw n labelled handwritten digits; the same n and seed give the same digits.

    Returns images (n, 1, 28, 28) uint8, ink 255 on paper 0; labels (n,) int64, in every ten
    consecutive examples each digit once; and factors, a dict of float arrays (n,):

    variant    which way of writing the digit, an index into GLYPHS[label]
    slant      shift to the right per unit of height: positive leans to the right
    rotation   counter-clockwise, in degrees
    aspect     factor on the width
    scale      longer side of the inked box, as a fraction of MNIST's 20 pixels
    thickness  diameter of the pen, in pixels
    wobble     standard deviation of the control points' displacement, in percent of the height

    The first m of n digits are load_digits(m, seed). Different seeds share no digit.
    Raises ValueError unless n is a positive integer.
    """
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n <= 0:
        raise ValueError(f"n, the number of digits, must be a positive integer, got {n!r}")
    glyphs = [[Glyph(strokes) for _, strokes in GLYPHS[digit]] for digit in range(10)]
    most_points = max(len(glyph.points) for ways in glyphs for glyph in ways)
    # One row of noise for each example, all drawn at once: so m digits are the first of n digits.
    rows = -(-n // 10) * 10
    noise = generator(seed, "digits").standard_normal((rows, 8 + 3 * most_points))
    labels = noise[:, 0].reshape(-1, 10).argsort(axis=1).ravel()[:n].astype(np.int64)
    noise = noise[:n].clip(-2.5, 2.5)
    factors = draw_factors(labels, noise[:, 1:8])
    images = np.empty((n, 1, SIZE, SIZE), np.uint8)
    for digit, ways in enumerate(glyphs):
        for variant, glyph in enumerate(ways):
            members = np.flatnonzero((labels == digit) & (factors["variant"] == variant))
            for start in range(0, len(members), CHUNK):
                chunk = members[start : start + CHUNK]
                own = {name: values[chunk] for name, values in factors.items()}
                images[chunk, 0] = draw(glyph, own, noise[chunk, 8:])
    return images, labels, factors


def draw_factors(labels, noise):
    """Turn standard normal noise (n, 7) into the factors of `load_digits`."""
    variant, slant, rotation, aspect, scale, thickness, wobble = noise.T
    return {
        "variant": choose_variant(labels, ndtr(variant)),
        "slant": 0.15 + 0.25 * slant,
        "rotation": 5.0 * rotation,
        "aspect": np.exp(0.22 + 0.18 * aspect),
        "scale": 0.9 + 0.1 * ndtr(scale),
        "thickness": 1.3 + 1.2 * np.exp(0.38 * thickness),
        "wobble": 4.5 * np.exp(0.25 * wobble),
    }


def choose_variant(labels, uniform):
    """Pick a way of writing each label, as often as its share in GLYPHS, by uniform (n,) draws."""
    variant = np.empty(len(labels))
    for digit, ways in GLYPHS.items():
        shares = np.cumsum([share for share, _ in ways])
        mine = labels == digit
        variant[mine] = np.searchsorted(shares / shares[-1], uniform[mine])
    return variant


class Glyph:
    """One way of writing a digit: K control points and the matrices from them to P beads.

    A spline is linear in its control points. So one (P, K) matrix maps control points to the points
    of all strokes, and another (P, K) matrix maps them to the pieces of line between these points.
    """

    def __init__(self, strokes):
        strokes = [
            np.array([point.split(",") for point in stroke.split()], float)
            for stroke in strokes.split(" / ")
        ]
        self.points = np.concatenate(strokes)  # (K, 2)
        # Displacements are a smooth random field (a Gaussian process). Points at one place have
        # the same displacement, so that corners stay closed and loops bend as a whole. The 1e-6
        # keeps the covariance positive definite.
        gaps = self.points[:, None] - self.points
        covariance = np.exp(-(gaps**2).sum(2) / (2 * REACH**2))
        self.mixing = np.linalg.cholesky(covariance + 1e-6 * np.eye(len(gaps)))  # (K, K)
        columns = np.split(np.eye(len(gaps)), np.cumsum([len(stroke) for stroke in strokes])[:-1])
        beads = [spline_matrices(*pair) for pair in zip(strokes, columns, strict=True)]
        self.path, self.step = (np.concatenate(parts) for parts in zip(*beads, strict=True))


def spline_matrices(stroke, columns):
    """Matrices (P, K) from control points to a stroke's beads and to the line each bead covers."""
    along = np.append(0, np.cumsum(np.hypot(*np.diff(stroke, axis=0).T)))
    spline = CubicSpline(along, columns, bc_type="natural")
    ends = np.linspace(0, along[-1], 1 + int(np.ceil(along[-1] / SPACING)))
    middles = (ends[1:] + ends[:-1]) / 2
    return spline(middles), spline(middles, 1) * ends[1]


def draw(glyph, factors, noise):
    """Draw n images (n, 28, 28) of one glyph from their factors (n,) and noise (n, >= 3K)."""
    n, K = len(noise), len(glyph.points)
    smooth = noise[:, : 3 * K].reshape(n, 3, K) @ glyph.mixing.T
    wobble = factors["wobble"][:, None, None] * smooth[:, :2]
    control = affine(factors) @ (glyph.points.T + wobble)  # (n, 2, K)
    path, length = fit(control @ glyph.path.T, control @ glyph.step.T, factors)
    thickness = 1 + PRESSURE * smooth[:, 2:] @ glyph.path.T  # (n, 1, P)
    return ink(path, length, factors["thickness"] / 2, thickness[:, 0])


def affine(factors):
    """The matrices (n, 2, 2) that widen, then slant, then rotate, where y points down."""
    angle = np.deg2rad(factors["rotation"])
    zero, one = np.zeros_like(angle), np.ones_like(angle)
    rotate = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    slant = np.array([[factors["aspect"], -factors["slant"]], [zero, one]])
    return rotate.transpose(2, 0, 1) @ slant.transpose(2, 0, 1)


def fit(path, step, factors):
    """Scale curves (n, 2, P) into their box of ink and centre their mass, as MNIST's makers did.

    A digit whose mass is near one end is moved less, so that the other end keeps its MARGIN.
    Returns the positions (n, 2, P) of the beads and the length of line (n, P) that each covers, in
    pixels.
    """
    room = BOX * factors["scale"] - factors["thickness"]
    zoom = (room / np.ptp(path, axis=2).max(axis=1))[:, None, None]
    length = np.hypot(*(zoom * step).swapaxes(0, 1))
    path = zoom * path
    mass = (path * length[:, None]).sum(2) / length.sum(1)[:, None]
    margin = factors["thickness"][:, None] / 2 + MARGIN
    shift = np.clip(CENTRE - mass, margin - path.min(axis=2), SIZE - 1 - margin - path.max(axis=2))
    return path + shift[:, :, None], length


def ink(path, length, radius, pressure):
    """Images (n, 28, 28) uint8 of curves given by beads (n, 2, P), in pixels.

    With standard deviation s, bead i at p_i covering the length l_i of a stroke of radius r_i adds

        l_i / (s sqrt(2 pi)) exp((r_i^2 - |x - p_i|^2) / 2s^2)

    at pixel x. Along a stroke these add up to exp((r^2 - d^2) / 2s^2), d the distance to it, so
    their logarithm gives d without a search for the nearest point. Where strokes meet, their ink
    adds up. A bead is a product of two profiles, so the sum over beads is one matrix product.
    From full ink to paper a stroke's edge takes EDGE pixels, in a smooth step.
    """
    own = radius[:, None] * pressure  # (n, P)
    amount = length / (BEAD * np.sqrt(2 * np.pi)) * np.exp(own**2 / (2 * BEAD**2))
    across = profile(path[:, 0]) * amount[:, :, None].astype(np.float32)  # (n, P, 28)
    down = profile(path[:, 1])
    field = np.log(down.transpose(0, 2, 1) @ across)  # (n, 28, 28)
    radius = radius[:, None, None].astype(np.float32)
    distance = np.sqrt(np.maximum(radius**2 - 2 * BEAD**2 * field, 0))
    shade = np.clip(0.5 + (radius - distance) / EDGE, 0, 1)
    return np.rint(255 * shade**2 * (3 - 2 * shade)).astype(np.uint8)


def profile(centres):
    """Unnormalised Gaussians (n, P, 28) over pixel rows or columns around centres (n, P)."""
    gaps = np.arange(SIZE, dtype=np.float32) - centres[:, :, None].astype(np.float32)
    # exp(-30) is no visible ink. Its square is still a normal float32; denormal numbers are slow.
    return np.exp(np.maximum(gaps**2 / (-2 * BEAD**2), -30))
