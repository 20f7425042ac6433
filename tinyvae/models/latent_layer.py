"""What both kinds of inference of a hierarchical VAE are made of: one latent layer of it.

Latent layers have three axes, (L_i, S, N): the dimensions of the layer, the samples, the batch.
"""

from typing import NamedTuple

from tinyvae.engine.activations import ReLU
from tinyvae.engine.backend import array_module
from tinyvae.engine.gaussian import log_density_of_draw
from tinyvae.engine.layers import Linear, Sequential
from tinyvae.models.vae import GaussianEncoder


class GaussianLayer(GaussianEncoder):
    """mu and logvar of a layer, (L, S, N), from a sample z of another layer, (M, S, N)."""

    @classmethod
    def build(cls, networks, inside, latent_dim):
        """From `inside` dimensions through one hidden layer, as wide as the features of x."""
        trunk, width = one_hidden_layer(networks, inside), networks.features
        return cls(trunk, width, latent_dim, rng=networks.rng)

    def forward(self, z):
        heads = super().forward(z.reshape(len(z), -1))  # the samples are folded into the batch
        return tuple(head.reshape(-1, *z.shape[1:]) for head in heads)

    def backward(self, dmu, dlogvar):
        dz = super().backward(dmu.reshape(len(dmu), -1), dlogvar.reshape(len(dlogvar), -1))
        return dz.reshape(-1, *dmu.shape[1:])


class Inferred(NamedTuple):
    """A latent layer: its noise, its sample z, and (mu, logvar) of q and of p."""

    eps: object
    z: object
    q: tuple
    p: tuple  # N(0, I) in the top layer
    own: tuple = ()  # in a Ladder: what x alone says of z


def log_q(layer):
    """log q of each dimension of the sample of an Inferred layer, (L_i, S, N)."""
    return log_density_of_draw(layer.eps, layer.q[1])


def standard(z):
    """mu and logvar of N(0, I), each of z's shape."""
    zero = array_module(z).zeros_like(z)
    return zero, zero


def one_hidden_layer(networks, inside):
    """(inside, N) -> (networks.features, N)"""
    hidden = Linear(inside, networks.features, rng=networks.rng)
    return Sequential(hidden, ReLU(inplace=True))
