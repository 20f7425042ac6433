"""Projecting images on what a decoder can draw: the code is searched, the network stays as it is.

Of all codes the one that explains the pixels which were seen, and is likely a priori. So noise goes
that no code explains, and pixels that are missing come back.
"""

import numpy as np

from tinyvae.engine.activations import Sigmoid
from tinyvae.engine.backend import array_module, to_host
from tinyvae.engine.layers import Sequential
from tinyvae.engine.likelihoods import Gaussian
from tinyvae.engine.module import Module, Parameter
from tinyvae.engine.optim import Adam
from tinyvae.models.base import as_vectors, batch_first, batch_last


class Codes(Module):
    """Codes z (L, N) as parameters, for an optimizer."""

    def __init__(self, z):
        self.z = Parameter(to_host(z))


def project(network, likelihood, start, images, seen, steps=200, lr=0.05):
    """The codes z (N, L) that maximise log p(seen pixels | z) + log p(z), each for its image.

    network: layers (L, N) -> (C, H, W, N), what the likelihood takes; start: codes (N, L) for Adam
    to start from; images: floats (N, C, H, W); seen: the same shape, 1 where a pixel was seen and 0
    where not. This is Bora, Jalal, Price and Dimakis 2017 with a log-likelihood for the squared
    error, so that the prior's weight is not to be chosen. The network's weights get gradients on
    the way, which are left unused. Raises ValueError for shapes that differ.
    """
    if seen.shape != images.shape:
        raise ValueError(f"seen must have the shape of images, {images.shape}, got {seen.shape}")
    xp, n = array_module(start), len(images)
    codes = Codes(start.T).to(xp, start.dtype)
    optimizer, z = Adam(codes, lr), codes.z
    x, seen = (as_vectors(batch_last(array, start), n) for array in (images, seen))  # (D, N)
    for _ in range(steps):
        output = network.forward(z.value)  # (C, H, W, N)
        # loss = -(sum over the seen pixels of log p(x|z)) + z^2 / 2 + constant
        doutput = likelihood.backward(-1.0, x, as_vectors(output, n)) * seen
        z.grad[...] = network.backward(doutput.reshape(output.shape)) + z.value
        optimizer.step()
    return batch_first(z.value)


def repair(vae, images, damaged, seen, noise=0.0):
    """Undo damage in two ways: {name: squared error per pixel}, {name: images (N, C, H, W)}.

    The names are damaged; reconstructed; projected; original, reconstructed.
    images, damaged, seen: (N, C, H, W) on the host. Where seen is 0 a pixel is missing, and the
    error is that of the missing ones; where all are seen, that of all. noise: the standard
    deviation of Gaussian noise that was added to the damaged ones, whose likelihood is then known.
    """
    start = vae.embed(damaged)
    network, likelihood = vae.decoder, vae.likelihood
    if noise:
        network, likelihood = Sequential(vae.decoder, Sigmoid()), Gaussian(noise**2)
    projected = project(network, likelihood, start, damaged, seen)
    ways = {
        "damaged": damaged,
        "reconstructed": to_host(vae.decode(start)),
        "projected": to_host(vae.decode(projected)),
        "original, reconstructed": to_host(vae.reconstruct(images)),
    }
    where = np.ones_like(seen) if seen.all() else 1 - seen
    errors = {
        name: float(np.average((way - images) ** 2, weights=where)) for name, way in ways.items()
    }
    return errors, ways
