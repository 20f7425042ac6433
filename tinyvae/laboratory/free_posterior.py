"""A q of its own for each image, fitted by gradient: the best that an encoder could have said.

An encoder has to find q for every image with the same weights. What that costs, beside what a
diagonal Gaussian costs, is the split of the gap between log p(x) and the ELBO by Cremer, Li and
Duvenaud 2018, Inference suboptimality in variational autoencoders.
"""

import copy

import numpy as np

from tinyvae.engine.backend import array_module, to_host
from tinyvae.engine.module import Module, Parameter
from tinyvae.engine.optim import Adam
from tinyvae.laboratory import quadrature
from tinyvae.rng import generator


class FreePosterior(Module):
    """In the place of a GaussianEncoder: the parameters are mu and logvar (L, N) of N images."""

    def __init__(self, mu, logvar):
        self.mu, self.logvar = Parameter(mu), Parameter(logvar)

    def forward(self, x):
        if x.shape[-1] != self.mu.value.shape[1]:
            raise ValueError(
                f"FreePosterior: has a q for each of {self.mu.value.shape[1]} images and for no "
                f"others, got {x.shape[-1]}"
            )
        return self.mu.value, self.logvar.value

    def backward(self, dmu, dlogvar):
        self.mu.grad[...], self.logvar.grad[...] = dmu, dlogvar


def with_posteriors(model, mu, logvar):
    """A copy of the VAE with N(mu, exp(logvar)), mu and logvar (N, L), as q of N images."""
    copied = copy.deepcopy(model)
    copied.encoder = FreePosterior(mu.T, logvar.T)
    return copied.to(array_module(model.theta), model.theta.dtype)


def fit_posteriors(model, x, mu, logvar, steps=300, samples=16, lr=0.05, seed=0):
    """mu and logvar (N, L) of the diagonal Gaussian with the largest ELBO of each image.

    x (N, C, H, W). The search starts from the given mu and logvar (N, L), and finds the best q of
    the hill on which they stand: by Adam, at a rate that falls from lr to 0, with `samples` new
    draws of z an image and step (an even number, at least 2 L). The decoder stays as it is.
    """
    fitted = with_posteriors(model, mu, logvar)
    # A copy of the encoder has vectors of its own, so the optimizer changes q alone.
    xp, dtype = array_module(model.theta), model.theta.dtype
    fitted.encoder = copy.deepcopy(fitted.encoder).to(xp, dtype)
    optimizer = Adam(fitted.encoder, lr=lr)
    for step in range(steps):
        fitted.loss(x, _matched(generator(seed, "free posterior", step), samples, *mu.shape))
        fitted.backward()
        optimizer.lr = lr * (1 - step / steps)
        optimizer.step()
    return tuple(to_host(part) for part in fitted.encode(x))


def _matched(rng, samples, n, latent_dim):
    """Noise (S, N, L) whose mean over S is exactly 0 and whose covariance is exactly I.

    So a gradient is exact where log p(x, z) is quadratic in z, as it nearly is over a narrow q.
    """
    half, _ = np.linalg.qr(rng.standard_normal((n, samples // 2, latent_dim)))  # orthonormal
    half = np.moveaxis(half, 1, 0) * np.sqrt(samples // 2)
    return np.concatenate([half, -half])


def best_posteriors(model, x):
    """mu and logvar (N, 2) of the best q for each image, of a VAE with two latent dimensions.

    The better of two searches: from the encoder's q, and from the highest point of p(x, z) in a
    look at the whole prior, as the encoder's may stand on the wrong hill.
    """
    mu, logvar = (to_host(part) for part in model.encode(x))
    z, table = quadrature.look(model, x)
    single = copy.deepcopy(model).to(array_module(model.theta))  # float32: half the time
    fits = [fit_posteriors(single, x, start, logvar) for start in (mu, z[table.argmax(axis=1)])]
    first, second = (quadrature.elbo(with_posteriors(model, *q), x, step=0.4) for q in fits)
    return (np.where((first > second)[:, None], *parts) for parts in zip(*fits, strict=True))


def split_gap(model, x):
    """What log p(x) - ELBO is made of, for a VAE with two latent dimensions, in float64.

    x (N, C, H, W). Two results. First a dict of arrays (N,), in nats: log_p, and the `change` of
    its Lattice; elbo and kl, that is, KL(q || true posterior), of the encoder's q, and those of the
    best q; approximation_gap = log_p - elbo_best, the least that a diagonal Gaussian costs;
    amortization_gap = elbo_best - elbo, what the encoder costs (Cremer, Li and Duvenaud 2018,
    section 3). Then for each image the Lattice of p(x, z), the encoder's q and the best q.
    """
    encoder, best = [to_host(part) for part in model.encode(x)], [*best_posteriors(model, x)]
    elbo = quadrature.elbo(model, x)
    elbo_best = quadrature.elbo(with_posteriors(model, *best), x)
    mu, logvar = (np.stack(parts) for parts in zip(encoder, best, strict=True))  # (2, N, 2)
    lattices = list(quadrature.true_posteriors(model, x, mu, logvar))
    log_p = np.array([lattice.log_integrals[0] for lattice in lattices])
    numbers = {
        "log_p": log_p,
        "change": np.array([lattice.change for lattice in lattices]),
        "elbo": elbo,
        "elbo_best": elbo_best,
        "kl": np.array([lattice.kl(1) for lattice in lattices]),
        "kl_best": np.array([lattice.kl(2) for lattice in lattices]),
        "approximation_gap": log_p - elbo_best,
        "amortization_gap": elbo_best - elbo,
    }
    return numbers, lattices
