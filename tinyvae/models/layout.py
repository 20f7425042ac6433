"""Where the batch axis is moved: people have it first (N, ...), the engine has it last (..., N)."""

import math

import numpy as np

from tinyvae.engine.backend import array_module


def batch_last(x, like):
    """(N, ...) -> (..., N), contiguous, on the device of the array `like`, and of its dtype."""
    xp = array_module(like)
    return xp.ascontiguousarray(xp.moveaxis(xp.asarray(x, dtype=like.dtype), 0, -1))


def batch_first(x):
    """(..., N) -> (N, ...)"""
    return array_module(x).moveaxis(x, -1, 0)


def as_vectors(x, *batch):
    """(C, H, W, N) -> (C H W, *batch), the likelihood's layout."""
    return x.reshape(math.prod(x.shape[:-1]), *batch)


def require_floats(x, ndims, axes):
    """Refuse an x that is no array of floats with a batch axis and this number of axes."""
    if np.ma.is_masked(x):
        raise ValueError("expected floats, none of them missing, got a masked array; fill them")
    kind = getattr(getattr(x, "dtype", None), "kind", "")  # "": a list or a tensor
    if kind != "f" or x.ndim not in ndims or len(x) < 1:
        got = f"{x.dtype} of shape {x.shape}" if kind else type(x).__name__
        remedy = "" if kind == "f" else "; convert it, for example uint8 by tinyvae.data.to_float"
        raise ValueError(f"expected floats of shape {axes} with N >= 1, got {got}{remedy}")


def require_noise(eps, n, noise_dim):
    """Refuse noise that is not eps (samples, n, noise_dim) with one sample or more."""
    shape = getattr(eps, "shape", ())  # a list has none
    real = shape and eps.dtype.kind in "fiu" and not np.ma.is_masked(eps)
    if not real or len(shape) != 3 or shape[0] < 1 or shape[1:] != (n, noise_dim):
        got = shape if real else getattr(eps, "dtype", type(eps).__name__)
        raise ValueError(f"eps must be (samples >= 1, {n}, {noise_dim}), got {got}")


def require_log_prob(log_px, shape):
    """Refuse a likelihood whose log p(x|z) is not one number for each sample of each example."""
    if log_px.shape != shape:
        raise ValueError(
            f"log_prob of the likelihood must give {shape}, got {log_px.shape}: a sum over the "
            "dimensions of an example"
        )


def require_same_size(output, x):
    """Refuse a decoder whose output is not an example like x: the two might broadcast."""
    if output.shape[:-1] != x.shape[:-1]:
        raise ValueError(
            f"the decoder gives {output.shape[:-1]} for examples of {x.shape[:-1]}: "
            "both must be equal"
        )
