"""The best diagonal Gaussian q(z|x) of each image, found by gradient ascent on its ELBO.

An encoder computes q for all images with the same weights, so its q is not the best q of each
image. Cremer, Li and Duvenaud 2018, Inference suboptimality in variational autoencoders, split the
gap between log p(x) and the ELBO into two parts: the approximation gap, because q is a diagonal
Gaussian, and the amortization gap, because q comes from an encoder.
"""

import copy

import numpy as np

from tinyvae.engine.backend import array_module, to_host
from tinyvae.engine.module import Module, Parameter
from tinyvae.engine.optim import Adam
from tinyvae.laboratory import quadrature
from tinyvae.rng import generator


class FreePosterior(Module):
    """It replaces a GaussianEncoder. Its parameters are mu and logvar (L, N) of N images."""

    def __init__(self, mu, logvar):
        self.mu, self.logvar = Parameter(mu), Parameter(logvar)

    def forward(self, x):
        if x.shape[-1] != self.mu.value.shape[1]:
            raise ValueError(
                f"FreePosterior: expected the {self.mu.value.shape[1]} images that it has a q for, "
                f"got {x.shape[-1]} images"
            )
        return self.mu.value, self.logvar.value

    def backward(self, dmu, dlogvar):
        self.mu.grad[...], self.logvar.grad[...] = dmu, dlogvar


def with_posteriors(model, mu, logvar):
    """A copy of the VAE whose q(z|x) of N images is N(mu, exp(logvar)), mu and logvar (N, L)."""
    copied = copy.deepcopy(model)
    copied.encoder = FreePosterior(mu.T, logvar.T)
    return copied.to(array_module(model.theta), model.theta.dtype)


def fit_posteriors(model, x, mu, logvar, steps=300, samples=16, lr=0.05, seed=0):
    """mu and logvar (N, L) of the diagonal Gaussian with the largest ELBO of each image.

    x: images (N, C, H, W). Adam starts from the given mu and logvar (N, L) and finds a local
    maximum. Its learning rate falls from lr to 0. Each step draws `samples` values of z for each
    image (an even number, at least 2 L). The decoder does not change.
    """
    fitted = with_posteriors(model, mu, logvar)
    # A copy of the encoder has its own theta, so the optimizer changes q but not the decoder.
    xp, dtype = array_module(model.theta), model.theta.dtype
    fitted.encoder = copy.deepcopy(fitted.encoder).to(xp, dtype)
    optimizer = Adam(fitted.encoder, lr=lr)
    for step in range(steps):
        rng = generator(seed, "free posterior", step)
        fitted.loss(x, _moment_matched_noise(rng, samples, *mu.shape))
        fitted.backward()
        optimizer.lr = lr * (1 - step / steps)
        optimizer.step()
    return tuple(to_host(part) for part in fitted.encode(x))


def _moment_matched_noise(rng, samples, n, latent_dim):
    """Noise (S, N, L) whose mean over S is exactly 0 and whose covariance is exactly I.

    So the gradient is exact if log p(x, z) is quadratic in z. Over a narrow q it nearly is.
    """
    half, _ = np.linalg.qr(rng.standard_normal((n, samples // 2, latent_dim)))  # orthonormal
    half = np.moveaxis(half, 1, 0) * np.sqrt(samples // 2)
    return np.concatenate([half, -half])


def best_posteriors(model, x):
    """mu and logvar (N, 2) of the best q for each image, of a VAE with two latent dimensions.

    The better result of two searches. One starts from the encoder's q, the other from the maximum
    of p(x, z) on a coarse grid, because the encoder's q may be near a wrong mode of p(x, z).
    """
    mu, logvar = (to_host(part) for part in model.encode(x))
    z, log_p = quadrature.coarse_grid(model, x)
    single = copy.deepcopy(model).to(array_module(model.theta))  # float32: half the time
    fits = [fit_posteriors(single, x, start, logvar) for start in (mu, z[log_p.argmax(axis=1)])]
    first, second = (quadrature.elbo(with_posteriors(model, *q), x, step=0.4) for q in fits)
    return (np.where((first > second)[:, None], *parts) for parts in zip(*fits, strict=True))


def split_gap(model, x):
    """The two parts of log p(x) - ELBO, for a VAE with two latent dimensions, in float64.

    x (N, C, H, W). Returns two values. The first is a dict of arrays (N,), in nats:
    log_p, and the `change` of its Lattice;
    elbo and kl of the encoder's q, elbo_best and kl_best of the best q, where kl is
    KL(q || true posterior);
    approximation_gap = log_p - elbo_best, the smallest gap of a diagonal Gaussian;
    amortization_gap = elbo_best - elbo, the part that the encoder causes (Cremer, Li and Duvenaud
    2018, section 3).
    The second is a list with the Lattice of p(x, z), the encoder's q and the best q for each image.
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
