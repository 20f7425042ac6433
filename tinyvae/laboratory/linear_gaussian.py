"""The linear VAE, of which everything is known: a laboratory of exact answers.

    z ~ N(0, I), x|z ~ N(W z + m, s2 I), so x ~ N(m, W W' + s2 I)
    posterior N(M^-1 W'(x - m), s2 M^-1), M = W'W + s2 I; q(z|x) = N(V (x - m), diag)

It is probabilistic PCA: Tipping and Bishop 1999; as a VAE: Lucas, Tucker, Grosse and Norouzi 2019.
Images are (N, C, H, W) or (N, D), D = C H W; all values are in nats; the arithmetic is the host's.
"""

import math
from itertools import chain, count

import numpy as np
from scipy.linalg import hadamard
from scipy.stats import multivariate_normal

from tinyvae.data.batches import minibatches
from tinyvae.engine.backend import to_host
from tinyvae.engine.gaussian import kl_to_standard
from tinyvae.engine.layers import Flatten, Linear, Reshape, Sequential
from tinyvae.engine.likelihoods import Gaussian
from tinyvae.engine.optim import Adam
from tinyvae.errors import UserError
from tinyvae.models.vae import VAE, GaussianEncoder
from tinyvae.rng import generator

CHUNK = 1000  # images measured at a time: bounds the memory
BATCH, LOOKS = 200, 25  # in training


class LinearGaussian:
    """W (D, L), m (D,) and s2, and what follows from them."""

    def __init__(self, w, m, s2):
        self.w, self.m, self.s2 = w, m, s2
        self.precision = w.T @ w + s2 * np.eye(w.shape[1])  # M; the posterior's is M / s2

    @classmethod
    def fit(cls, x, latent_dim, s2=None):
        """The most likely model for images x; with s2 given, the most likely with this s2.

        With eigenvalues l_i and eigenvectors u_i of the covariance, column i of W is
        sqrt(l_i - s2) u_i, or zero where l_i < s2, and s2 is the mean of the l_i that are left
        over. Tipping and Bishop 1999, section 3.2. Raises ValueError unless 1 <= latent_dim < D,
        and UserError for images that leave nothing over.
        """
        mean, values, vectors = principal_components(x)
        if not 1 <= latent_dim < len(values):
            raise ValueError(
                f"latent_dim must be from 1 to {len(values) - 1}, less than the {len(values)} "
                f"dimensions of an image, got {latent_dim}"
            )
        if s2 is None:
            s2 = values[latent_dim:].mean()
            if values[latent_dim] <= 1e-12 * values[0]:
                raise UserError(
                    f"the {len(x)} images vary in no more than {latent_dim} directions, so that "
                    "likelihood has no maximum; give more images"
                )
        scale = np.sqrt(np.maximum(values[:latent_dim] - s2, 0))
        return cls(vectors[:, :latent_dim] * scale, mean, s2)

    @classmethod
    def of(cls, model):
        """The p of a linear_vae with a LearnedGaussian likelihood."""
        state = model.state_dict()
        s2 = float(np.exp(state["likelihood.logvar"][0]))
        return cls(state["decoder.0.weight"], state["decoder.0.bias"], s2)

    def log_p(self, x):
        """log p(x) of each image, (N,)."""
        covariance = self.w @ self.w.T + self.s2 * np.eye(len(self.m))
        return multivariate_normal(self.m, covariance).logpdf(_vectors(x))

    def posterior_map(self):
        """V (L, D) of the posterior's mean V (x - m)."""
        return np.linalg.solve(self.precision, self.w.T)

    def best_variance(self):
        """The variances (L,) of the q with the largest ELBO; its mean is the posterior's."""
        return self.s2 / np.diag(self.precision)

    def gap(self):
        """log p(x) - ELBO of that q, for every x: (sum of log M_ii - log |M|) / 2.

        It is zero where M is diagonal: where the columns of W are orthogonal.
        """
        _, log_determinant = np.linalg.slogdet(self.precision)
        return 0.5 * (np.log(np.diag(self.precision)).sum() - log_determinant)

    def gap_error(self, x):
        """The largest error of gap() over images x (N, C, H, W), by the VAE's own arithmetic."""
        gap = self.log_p(x) - exact_elbo(self.vae(x.shape[1:]), x)
        return float(np.abs(gap - self.gap()).max())

    def kl_to_posterior(self, x, mu, variance):
        """KL(N(mu, diag variance) || p(z|x)), (N,), for images x and means mu (N, L).

        Of two Gaussians: Bishop 2006, exercise 2.13.
        """
        precision = self.precision / self.s2
        off = mu - (_vectors(x) - self.m) @ self.posterior_map().T
        _, log_determinant = np.linalg.slogdet(precision)
        return 0.5 * (
            np.einsum("ni,ij,nj->n", off, precision, off)
            + np.diag(precision) @ variance
            - len(variance)
            - log_determinant
            - np.log(variance).sum()
        )

    def vae(self, shape, v=None, variance=None, xp=np):
        """The VAE for images (C, H, W) with this p and q(z|x) = N(V (x - m), diag variance).

        Its default is the best q: V is posterior_map(), the variance best_variance().
        """
        v = self.posterior_map() if v is None else v
        variance = self.best_variance() if variance is None else variance
        model = linear_vae(shape, len(variance), Gaussian(self.s2), xp)
        model.load_state_dict(
            {
                "encoder.mu.weight": v,
                "encoder.mu.bias": -v @ self.m,
                "encoder.logvar.weight": np.zeros_like(v),
                "encoder.logvar.bias": np.log(variance),
                "decoder.0.weight": self.w,
                "decoder.0.bias": self.m,
            }
        )
        return model


def linear_vae(shape, latent_dim, likelihood, xp=np):
    """A VAE for images (C, H, W) whose networks are one linear layer each, in float64."""
    rng, size = generator(0, "init"), math.prod(shape)
    encoder = GaussianEncoder(Flatten(), size, latent_dim, rng=rng)
    decoder = Sequential(Linear(latent_dim, size, rng=rng), Reshape(*shape))
    return VAE(encoder, decoder, likelihood).to(xp, np.float64)


def train(x, latent_dim, likelihood, steps, lr, xp=np, look=None):
    """A linear_vae trained on images x (N, C, H, W) by Adam, on the exact ELBO of minibatches.

    The learning rate falls from lr to zero as the square of the share of steps that are left: so
    the differences between minibatches average out. look(step, model) is called 25 times.
    """
    model, eps = linear_vae(x.shape[1:], latent_dim, likelihood, xp), exact_noise(BATCH, latent_dim)
    optimizer = Adam(model, lr=lr)
    batches = chain.from_iterable(minibatches(len(x), BATCH, 0, epoch) for epoch in count())
    for step, index in zip(range(1, steps + 1), batches, strict=False):
        optimizer.lr = lr * (1 - (step - 1) / steps) ** 2
        model.loss(x[index], eps[:, : len(index)])
        model.backward()
        optimizer.step()
        if look and step * LOOKS // steps > (step - 1) * LOOKS // steps:
            look(step, model)
    return model


def principal_components(x):
    """Mean (D,), eigenvalues (D,) and eigenvectors (D, D) of the covariance of images x.

    The covariance divides by N; the largest eigenvalue is the first, and its vector a column.
    """
    values, vectors = np.linalg.eigh(np.cov(_vectors(x).T, bias=True))
    return _vectors(x).mean(axis=0), values[::-1], vectors[:, ::-1]


def exact_noise(n, latent_dim):
    """A few noises of mean 0 and covariance I exactly, the same for n images: (S, n, latent_dim).

    A linear VAE's log-density is quadratic in the noise, so means over these are those over
    N(0, I). They are signs: columns of a Hadamard matrix, which are orthogonal to one another and
    to its first, all ones. For two dimensions they are the corners of a square.
    """
    size = 1 << latent_dim.bit_length()  # the least power of two above latent_dim
    signs = hadamard(size)[:, 1 : latent_dim + 1].astype(np.float64)
    return np.repeat(signs[:, None], n, axis=1)


def exact_elbo(model, x):
    """The ELBO of each image under a linear VAE, (N,), by its own arithmetic, without sampling."""
    noise = exact_noise(CHUNK, model.latent_dim)
    chunks = [x[start : start + CHUNK] for start in range(0, len(x), CHUNK)]
    log_w = [to_host(model.log_weights(part, noise[:, : len(part)])) for part in chunks]
    return np.concatenate(log_w, axis=1).mean(axis=0)


def kl_per_dimension(model, x):
    """Mean KL(q(z|x) || p(z)) over images, (L,), from large to small.

    A VAE finds the principal components in any order.
    """
    return np.sort(to_host(kl_to_standard(*model.encode(x)).mean(axis=0)))[::-1]


def shrink(images, size):
    """uint8 images (N, 1, H, W), as means over blocks: (N, 1, size, size) float64 in [0, 1]."""
    n, _, height, width = images.shape
    if height % size or width % size:
        raise ValueError(f"{height}x{width} pixels do not fall into {size}x{size} equal blocks")
    blocks = images.reshape(n, 1, size, height // size, size, width // size)
    return blocks.mean(axis=(3, 5)) / 255


def _vectors(x):
    """Images as rows: (N, D)."""
    return x.reshape(len(x), -1)
