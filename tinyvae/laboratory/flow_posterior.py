"""The gap between log p(x) and the ELBO for posteriors with a normalizing flow, in two dimensions.

free_posterior.py finds the best diagonal Gaussian of each image. This file finds the best q(z|x)
with a flow, and it integrates the densities of all of them over the same lattice.
"""

import copy
from typing import NamedTuple

import numpy as np

from tinyvae.engine.flows import Flow
from tinyvae.engine.gaussian import log_density
from tinyvae.engine.module import Module, Parameter
from tinyvae.engine.optim import Adam
from tinyvae.laboratory import quadrature
from tinyvae.laboratory.free_posterior import best_posteriors, with_posteriors
from tinyvae.models.registry import make_model
from tinyvae.rng import generator

TOLERANCE = 1e-3  # nats, see quadrature.integrate
STEP = 0.2  # of the lattice of noise, see quadrature.elbo
CONTEXT = 16  # numbers in the context h of an image, where h is free


class FreeContext(Module):
    """It replaces a ContextEncoder. Its parameters are mu, logvar and h of N images."""

    def __init__(self, mu, logvar, h):
        self.mu, self.logvar, self.h = Parameter(mu), Parameter(logvar), Parameter(h)

    def forward(self, x):
        return self.mu.value, self.logvar.value, self.h.value

    def backward(self, dmu, dlogvar, dh):
        self.mu.grad[...], self.logvar.grad[...], self.h.grad[...] = dmu, dlogvar, dh


class Posterior(NamedTuple):
    """q(z|x) of N images: N(mu, exp(logvar)), and then a flow with the contexts h, if any."""

    mu: np.ndarray  # (N, L)
    logvar: np.ndarray  # (N, L)
    h: np.ndarray = None  # (features, N)
    flow: Flow = None

    def log_density(self, n, z):
        """log q(z|x_n) at codes z (M, L), (M,). A flow must have an inverse."""
        if self.flow is None:
            return log_density(z, self.mu[n], self.logvar[n]).sum(axis=1)
        z, h = z.T[:, :, None], self.h[:, n : n + 1]  # (L, M, 1): M codes of one image
        z0 = self.flow.inverse(z, h)
        _, log_det = self.flow.forward(z0, h)
        log_q0 = log_density(z0[:, :, 0].T, self.mu[n], self.logvar[n]).sum(axis=1)
        return log_q0 - log_det[:, 0]

    @property
    def has_density(self):
        return self.flow is None or all(step.has_inverse for step in self.flow.steps)


def posterior_of(model, x):
    """The Posterior that the encoder of a FlowVAE gives to images x (N, C, H, W)."""
    mu, logvar, h = model.encoder.forward(np.moveaxis(x, 0, -1))
    return Posterior(mu.T.copy(), logvar.T.copy(), h.copy(), copy.deepcopy(model.flow))


def without_flow(model):
    """The VAE with the networks of a FlowVAE; its q(z|x) is q0."""
    settings = {k: v for k, v in model.settings.items() if k not in model.options}
    vae = make_model(**settings | {"model": "vae"}).to(np, model.theta.dtype)
    vae.load_state_dict(
        {name: value for name, value in model.state_dict().items() if name in vae.state_dict()}
    )
    return vae


def fit_flow(vae, x, mu, logvar, kind, number, steps=1000, samples=16, lr=0.01, seed=0):
    """A FlowVAE with the decoder of `vae`, whose flow and mu, logvar, h are the best for images x.

    x: (N, C, H, W); mu, logvar (N, L): where Adam starts, with a flow that changes nothing. The
    flow's weights are the same for all N images; mu, logvar and h (16, N) are an image's own.
    """
    rng, (n, latent_dim) = generator(seed, "free flow"), mu.shape
    model = make_model(**vae.settings | {"model": "flow", "flow": kind})
    model.load_state_dict(model.state_dict() | vae.state_dict())
    model.encoder = FreeContext(mu.T, logvar.T, rng.standard_normal((CONTEXT, n)))
    model.flow = Flow(kind, number, latent_dim, CONTEXT, rng=rng)
    optimizer, x = Adam(model.to(), lr=lr), x.astype(np.float32)
    fixed = [p for part in (model.decoder, model.likelihood) for _, p in part.named_parameters()]
    for step in range(steps):
        model.loss(x, rng.standard_normal((samples, n, latent_dim), np.float32))
        model.backward()
        for parameter in fixed:  # Adam leaves a parameter alone whose gradient is always zero
            parameter.grad[...] = 0
        optimizer.lr = lr * (1 - step / steps)
        optimizer.step()
    return model.to(np, np.float64)


def split_gap(model, x, kinds, number):
    """log p(x) and the ELBO of several q(z|x) for images x (N, C, H, W), in nats.

    model: a FlowVAE with two latent dimensions, in float64. Returns two values. The first is a dict
    of arrays (N,): log_p; elbo and kl of the encoder's q with its flow; elbo_gaussian and
    kl_gaussian of the best diagonal Gaussian; elbo_KIND and kl_KIND of the best q with a flow, for
    every kind. kl is KL(q || p(z|x)), and kinds without an inverse have none. The second is a list
    with the Lattice of p(x, z), the encoder's q, the best Gaussian, and the kinds that have a kl.
    """
    vae = without_flow(model)
    mu, logvar = best_posteriors(vae, x)
    gaussian = with_posteriors(vae, mu, logvar)
    found = {"": (model, posterior_of(model, x)), "_gaussian": (gaussian, Posterior(mu, logvar))}
    for kind in kinds:
        fitted = fit_flow(vae, x, mu, logvar, kind, number)
        found[f"_{kind}"] = fitted, posterior_of(fitted, x)
    numbers = {f"elbo{name}": quadrature.elbo(one, x, STEP) for name, (one, _) in found.items()}
    drawn = {name: q for name, (_, q) in found.items() if q.has_density}
    lattices = list(_lattices(vae, x, list(drawn.values())))
    for j, name in enumerate(drawn, 1):
        numbers[f"kl{name}"] = np.array([lattice.kl(j) for lattice in lattices])
    return {"log_p": np.array([one.log_integrals[0] for one in lattices])} | numbers, lattices


def _lattices(vae, x, posteriors):
    """The Lattice of p(x, z) and of each q(z|x), for every image of x."""
    grid, log_p = quadrature.coarse_grid(vae, x)
    for n, row in enumerate(log_p):

        def log_f(z, n=n):
            log_q = [q.log_density(n, z)[None] for q in posteriors]
            return np.concatenate([quadrature.log_joint(vae, x[n : n + 1], z), *log_q])

        log_q = [q.log_density(n, grid) for q in posteriors]
        starts = [grid[values > values.max() - quadrature.DROP] for values in (row, *log_q)]
        yield quadrature.integrate(log_f, np.concatenate(starts), quadrature.SIDE, TOLERANCE)
