"""Points of the latent space that are worth decoding and looking at.

Points on a path between two codes show how one example changes into another. Points on a grid of
quantiles show all that a model with two latent dimensions generates. Points in holes, far from the
code of any example, show what the decoder does where training gave it no examples.
"""

from statistics import NormalDist

import numpy as np
from scipy.spatial import cKDTree

PARALLEL = 1e-6  # two codes count as parallel if the sine of their angle is smaller


def interpolate(z0, z1, steps, spherical=False):
    """Return `steps` codes (steps, L) on a path from z0 (L,) to z1 (L,), both ends included.

    Linear: z(t) = (1 - t) z0 + t z1 with t evenly spaced from 0 to 1. Spherical, where theta is the
    angle between z0 and z1: z(t) = (sin((1 - t) theta) z0 + sin(t theta) z1) / sin(theta). If z0
    and z1 have the same norm, all codes of the spherical path have it too (Shoemake 1985, Animating
    rotation with quaternion curves). If theta is 0 or pi, or z0 or z1 is zero, sin(theta) is 0 or
    theta is undefined, and the path is linear.
    Raises ValueError unless z0 and z1 are vectors of the same length and steps is at least 2.
    """
    z0, z1 = np.asarray(z0), np.asarray(z1)
    if z0.ndim != 1 or z0.shape != z1.shape:
        raise ValueError(f"z0 and z1 must have the same shape (L,), got {z0.shape} and {z1.shape}")
    if steps < 2:
        raise ValueError(f"steps must be at least 2, got {steps}")
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
    """Return the angle in radians between two vectors, accurate near 0 and pi; 0 if one is zero."""
    norm0, norm1 = np.linalg.norm(z0), np.linalg.norm(z1)
    if norm0 == 0 or norm1 == 0:
        return 0.0
    u, v = z0 / norm0, z1 / norm1
    return 2 * np.arctan2(np.linalg.norm(u - v), np.linalg.norm(u + v))


def quantile_grid(size):
    """Return quantiles (size,) of N(0, 1) and the codes (size * size, 2) of their square grid.

    Quantile i, counted from 0, is the inverse cumulative distribution function of N(0, 1) at
    (i + 0.5) / size, so every cell of the grid has the same probability under the prior N(0, I).
    The codes run row by row from the top left: z[0] increases to the right, and the top row has the
    largest z[1]. Reshape what is decoded from them to (size, size, ...).
    Raises ValueError if size is below 1.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    normal = NormalDist()
    values = np.array([normal.inv_cdf((i + 0.5) / size) for i in range(size)])
    right, up = np.meshgrid(values, values[::-1])
    return values, np.stack([right.ravel(), up.ravel()], axis=1)


def holes(codes, count, rng, tries=10):
    """Return `count` points (count, L) between the codes (N, L) and far from all of them.

    The candidates are the midpoints of tries * count random pairs of codes. The points are the
    candidates with the largest distance to their nearest code.
    """
    a, b = codes[rng.integers(0, len(codes), (2, tries * count))]
    midpoints = (a + b) / 2
    distance, _ = cKDTree(codes).query(midpoints)
    return midpoints[np.argsort(-distance)[:count]]
