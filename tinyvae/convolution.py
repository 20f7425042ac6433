"""Patches of images: the one idea behind convolution and transposed convolution.

`patches` lays out what a kernel sees at each of its positions, as the columns of a matrix P. It is
linear in the image, and `patches_adjoint` is its transpose: it adds each column back to where it
came from. A convolution is then W @ P, a matrix product, and a transposed convolution is
`patches_adjoint(W.T @ x)`; see layers.py, and docs/convolution.md for the derivation.

Shapes: images (C, H, W, N), batch last; a kernel of Kh x Kw; Ho x Wo positions of it.
"""

from itertools import product

from tinyvae.backend import array_module


def output_size(size, kernel, stride, padding):
    """How many positions a kernel has along one axis of an image: Ho from H."""
    return (size + 2 * padding - kernel) // stride + 1


def positions(size, kernel, stride, padding):
    """The same along both axes: (Ho, Wo) from (H, W)."""
    return [output_size(*axis) for axis in zip(size, kernel, stride, padding, strict=True)]


def patches(x, kernel, stride, padding):
    """What the kernel sees: (C, H, W, N) -> (C Kh Kw, Ho Wo N); zeros outside the image.

    kernel, stride, padding: pairs (height, width). Source: the "im2col" of Chellapilla, Puri and
    Simard 2006, section 2.
    """
    c, h, w, n = x.shape
    ho, wo = positions((h, w), kernel, stride, padding)
    p = array_module(x).zeros((c, *kernel, ho, wo, n), dtype=x.dtype)
    for in_patches, in_image in _taps((h, w), kernel, stride, padding):
        p[in_patches] = x[in_image]
    return p.reshape(c * kernel[0] * kernel[1], ho * wo * n)


def patches_adjoint(p, shape, kernel, stride, padding):
    """Its transpose: (C Kh Kw, Ho Wo N) -> `shape` (C, H, W, N), overlapping pixels added up.

    <patches(x), p> = <x, patches_adjoint(p)> for all x and p.
    """
    c, h, w, n = shape
    ho, wo = positions((h, w), kernel, stride, padding)
    p = p.reshape(c, *kernel, ho, wo, n)
    x = array_module(p).zeros(shape, dtype=p.dtype)
    for in_patches, in_image in _taps((h, w), kernel, stride, padding):
        x[in_image] += p[in_patches]
    return x


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
