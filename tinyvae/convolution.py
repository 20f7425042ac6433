"""Patches of images: the one idea behind convolution and transposed convolution.

`patches` lays out what a kernel sees at each of its positions, as the columns of a matrix P. It is
linear in the image, and `patches_adjoint` is its transpose: it adds each column back to where it
came from. A convolution is then W @ P, a matrix product, and a transposed convolution is
`patches_adjoint(W.T @ x)`; see layers.py, and docs/convolution.md for the derivation.

Shapes: images (C, H, W, N), batch last; a kernel of Kh x Kw; Ho x Wo positions of it.
"""

from functools import lru_cache
from itertools import product

import numpy as np

from tinyvae.backend import array_module


def output_size(size, kernel, stride, padding):
    """How many positions a kernel has along one axis of an image: Ho from H."""
    return (size + 2 * padding - kernel) // stride + 1


def positions(size, kernel, stride, padding):
    """The same along both axes: (Ho, Wo) from (H, W)."""
    return [output_size(*axis) for axis in zip(size, kernel, stride, padding, strict=True)]


def patches(x, kernel, stride, padding):
    """What the kernel sees: (C, H, W, N) -> (C Kh Kw, Ho Wo N); zeros outside the image.

    kernel, stride, padding: tuples (height, width). Source: the "im2col" of Chellapilla, Puri and
    Simard 2006, section 2.
    """
    c, h, w, n = x.shape
    pixels, outside = _pixels(array_module(x), (h, w), kernel, stride, padding)
    p = x.reshape(c, h * w, n).take(pixels, axis=1)  # (C, Kh Kw Ho Wo, N)
    p[:, outside] = 0
    return p.reshape(c * kernel[0] * kernel[1], -1)


def patches_adjoint(p, shape, kernel, stride, padding):
    """Its transpose: (C Kh Kw, Ho Wo N) -> `shape` (C, H, W, N), overlapping pixels added up.

    <patches(x), p> = <x, patches_adjoint(p)> for all x and p.
    """
    c, h, w, n = shape
    p = p.reshape(c, *kernel, *positions((h, w), kernel, stride, padding), n)
    x = array_module(p).zeros(shape, dtype=p.dtype)
    for in_patches, in_image in _taps((h, w), kernel, stride, padding):
        x[in_image] += p[in_patches]
    return x


def product_with_patches(y, p):
    """The weight gradient of both convolutions, y p^T: y (O, Ho, Wo, N) -> (O, C Kh Kw).

    A sum over the rows of positions, with the patches in front: OpenBLAS does that a fifth faster
    than y @ p.T in one piece, and three times as fast where there are few channels.
    """
    rows = y.shape[1]
    y, p = (m.reshape(len(m), rows, -1).swapaxes(0, 1) for m in (y, p))  # (Ho, ..., Wo N)
    return (p @ y.swapaxes(1, 2)).sum(axis=0).T


@lru_cache
def _pixels(xp, size, kernel, stride, padding):
    """For each row of the patches and each position: the pixel seen, and where none is.

    Pixels are counted row by row; both are index vectors into (Kh, Kw, Ho, Wo), made by xp.
    """
    axes = zip(size, kernel, stride, padding, strict=True)
    rows, columns = (
        # From position t, tap a sees pixel s t + a - p.
        s * np.arange(output_size(length, k, s, p)) + np.arange(k)[:, None] - p
        for length, k, s, p in axes
    )
    rows, columns = rows[:, None, :, None], columns[None, :, None, :]
    inside = (0 <= rows) & (rows < size[0]) & (0 <= columns) & (columns < size[1])
    pixels = np.where(inside, rows * size[1] + columns, 0)
    return xp.asarray(pixels.ravel()), xp.asarray(np.flatnonzero(~inside))


def _taps(size, kernel, stride, padding):
    """For each tap of the kernel: where its pixels stand in the patches, and where in the image."""
    for tap in product(range(kernel[0]), range(kernel[1])):
        axes = zip(tap, size, kernel, stride, padding, strict=True)
        positions, pixels = zip(*(_axis_slices(*axis) for axis in axes), strict=True)
        yield (slice(None), *tap, *positions), (slice(None), *pixels)


def _axis_slices(tap, size, kernel, stride, padding):
    # From position t the tap sees pixel stride * t + tap - padding; keep 0 <= pixel < size.
    offset = tap - padding
    first = max(0, -(offset // stride))
    stop = min(output_size(size, kernel, stride, padding), (size - 1 - offset) // stride + 1)
    if stop <= first:
        return slice(0, 0), slice(0, 0)
    start = stride * first + offset
    return slice(first, stop), slice(start, start + stride * (stop - 1 - first) + 1, stride)
