"""Points in the latent space, chosen to be decoded and looked at.

A path between two codes shows what lies between two images; a grid of equally likely codes shows
everything that a model with two latent dimensions can draw; the emptiest places between codes show
what it draws where it never had to draw anything.
"""

from statistics import NormalDist

import numpy as np
from scipy.spatial import cKDTree

PARALLEL = 1e-6  # sine of the angle below which two directions define no arc


def interpolate(z0, z1, steps, spherical=False):
    """Return `steps` codes (steps, L) from z0 (L,) to z1 (L,), both ends included exactly.

    Linear: z(t) = (1 - t) z0 + t z1 with t evenly spaced. Spherical, with theta the angle between
    z0 and z1: z(t) = (sin((1 - t) theta) z0 + sin(t theta) z1) / sin(theta), which keeps the norm
    where both ends have the same (Shoemake 1985, Animating rotation with quaternion curves). Where
    the angle is 0 or pi, or an end is zero, there is no such arc and the path is linear.
    Raises ValueError unless z0 and z1 are two vectors of one length and steps is at least 2.
    """
    z0, z1 = np.asarray(z0), np.asarray(z1)
    if z0.ndim != 1 or z0.shape != z1.shape:
        raise ValueError(f"z0 and z1 must have one shape (L,), got {z0.shape} and {z1.shape}")
    if steps < 2:
        raise ValueError(f"a path has at least its 2 ends, got steps={steps}")
    dtype = np.result_type(z0, z1, np.float32)
    z0, z1 = z0.astype(np.float64), z1.astype(np.float64)
    t = np.linspace(0.0, 1.0, steps)[:, None]
    theta = _angle(z0, z1) if spherical else 0.0
    if np.sin(theta) < PARALLEL:
        path = (1 - t) * z0 + t * z1
    else:
        path = (np.sin((1 - t) * theta) * z0 + np.sin(t * theta) * z1) / np.sin(theta)
    path[0], path[-1] = z0, z1
    return path.astype(dtype)


def _angle(z0, z1):
    """Angle in radians between two vectors, accurate also near 0 and pi; 0 where one is zero."""
    norm0, norm1 = np.linalg.norm(z0), np.linalg.norm(z1)
    if norm0 == 0 or norm1 == 0:
        return 0.0
    u, v = z0 / norm0, z1 / norm1
    return 2 * np.arctan2(np.linalg.norm(u - v), np.linalg.norm(u + v))


def quantile_grid(size):
    """Return the normal quantiles (size,) and the codes (size * size, 2) of a square grid of them.

    Quantile i, counted from 0, is the standard normal's inverse distribution function at
    (i + 0.5) / size, so that every cell of the grid holds the same share of the prior N(0, I).
    The codes are ordered as a picture is: images decoded from them and reshaped to
    (size, size, ...) have z[0] growing to the right and the largest z[1] in the top row.
    Raises ValueError if size is below 1.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    normal = NormalDist()
    values = np.array([normal.inv_cdf((i + 0.5) / size) for i in range(size)])
    right, up = np.meshgrid(values, values[::-1])
    return values, np.stack([right.ravel(), up.ravel()], axis=1)


def holes(codes, count, rng, tries=10):
    """Places (count, L) between the codes (N, L), as far as can be from all of them.

    Of tries * count midpoints of two random codes, those furthest from their nearest code.
    """
    a, b = codes[rng.integers(0, len(codes), (2, tries * count))]
    middle = (a + b) / 2
    distance, _ = cKDTree(codes).query(middle)
    return middle[np.argsort(-distance)[:count]]
