"""Projection of a damaged image onto the images that a decoder generates.

The search is for the code that maximises the likelihood of the observed pixels times the prior. The
weights of the network do not change. Decoding this code removes noise and fills in missing pixels.
"""

import numpy as np

from tinyvae.engine.activations import Sigmoid
from tinyvae.engine.backend import array_module, to_host
from tinyvae.engine.layers import Sequential
from tinyvae.engine.likelihoods import Gaussian
from tinyvae.engine.module import Module, Parameter
from tinyvae.engine.optim import Adam
from tinyvae.models.layout import as_vectors, batch_first, batch_last


class Codes(Module):
    """Codes z (L, N) as parameters that an optimizer can change."""

    def __init__(self, z):
        self.z = Parameter(to_host(z))


def project(network, likelihood, start, images, seen, steps=200, lr=0.05):
    """The codes z (N, L) that maximise log p(seen pixels | z) + log p(z), one for each image.

    network: layers (L, N) -> (C, H, W, N), the parameters of the likelihood; start: codes (N, L)
    from which Adam starts; images: floats (N, C, H, W); seen: of the same shape, 1 if a pixel is
    observed and 0 if it is missing. The method of Bora, Jalal, Price and Dimakis 2017, with a
    log-likelihood in place of their squared error, so that the prior needs no weight. The gradients
    of the network's weights are computed too, and not used. Raises ValueError if the shapes of
    images and seen differ.
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
    """Repair damaged images by reconstruction and by projection.

    images, damaged, seen: (N, C, H, W) on the host; seen is 0 for missing pixels, else 1; noise:
    the standard deviation of the Gaussian noise in the damaged images. If it is above 0, projection
    uses this Gaussian as the likelihood, else the likelihood of the VAE.
    Returns {way: squared error per pixel} and {way: images (N, C, H, W)}. The ways are "damaged",
    "reconstructed", "projected", and "original, reconstructed". The error is a mean over the
    missing pixels, or over all pixels if none is missing.
    """
    start = vae.embed(damaged.clip(*vae.support))  # noise goes beyond black and white
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
