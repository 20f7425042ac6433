"""The linear VAE, for which log p(x), the posterior, the ELBO and the optimum have closed forms.

    z ~ N(0, I), x|z ~ N(W z + m, s2 I), so x ~ N(m, W W' + s2 I)
    posterior N(M^-1 W'(x - m), s2 M^-1), M = W'W + s2 I; q(z|x) = N(V (x - m), diag)

The model is probabilistic PCA (Tipping and Bishop 1999); as a VAE: Lucas, Tucker, Grosse and
Norouzi 2019. Images x are (N, C, H, W) or (N, D) with D = C H W. All values are in nats. The closed
forms are computed on the host, in float64.
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

CHUNK = 1000  # images in memory at a time
BATCH = 200  # the batch size of training
CALLS = 25  # how often training calls the callback


class LinearGaussian:
    """The model p(x, z) with parameters W (D, L), m (D,) and s2, and its closed forms."""

    def __init__(self, w, m, s2):
        self.w, self.m, self.s2 = w, m, s2
        self.precision = w.T @ w + s2 * np.eye(w.shape[1])  # M; the posterior has precision M / s2

    @classmethod
    def fit(cls, x, latent_dim, s2=None):
        """The maximum-likelihood model of images x; with s2 given, the best model with this s2.

        The covariance of the images has eigenvalues l_1 >= l_2 >= ... and eigenvectors u_i. Column
        i of W is sqrt(l_i - s2) u_i, or zero where l_i < s2. s2 is the mean of the l_i with
        i > latent_dim. Tipping and Bishop 1999, section 3.2. Raises ValueError unless
        1 <= latent_dim < D, and UserError if all l_i with i > latent_dim are zero.
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
                    f"the {len(x)} images vary in no more than {latent_dim} directions, so the "
                    "likelihood has no maximum; give more images"
                )
        scale = np.sqrt(np.maximum(values[:latent_dim] - s2, 0))
        return cls(vectors[:, :latent_dim] * scale, mean, s2)

    @classmethod
    def from_model(cls, model):
        """The LinearGaussian with W, m and s2 of a linear_vae that has a LearnedGaussian."""
        state = model.state_dict()
        s2 = float(np.exp(state["likelihood.logvar"][0]))
        return cls(state["decoder.0.weight"], state["decoder.0.bias"], s2)

    def log_p(self, x):
        """log p(x) of each image, (N,)."""
        covariance = self.w @ self.w.T + self.s2 * np.eye(len(self.m))
        return multivariate_normal(self.m, covariance).logpdf(_vectors(x))

    def posterior_map(self):
        """V (L, D): the posterior has the mean V (x - m)."""
        return np.linalg.solve(self.precision, self.w.T)

    def best_variance(self):
        """The variances (L,) of the q with the largest ELBO. Its mean is the posterior's mean."""
        return self.s2 / np.diag(self.precision)

    def gap(self):
        """log p(x) - ELBO for the q with the largest ELBO: (sum of log M_ii - log |M|) / 2.

        The gap is the same for every x. It is zero if M is diagonal, which means that the columns
        of W are orthogonal.
        """
        _, log_determinant = np.linalg.slogdet(self.precision)
        return 0.5 * (np.log(np.diag(self.precision)).sum() - log_determinant)

    def gap_error(self, x):
        """The largest error of gap() over images x (N, C, H, W), compared with `exact_elbo`."""
        gap = self.log_p(x) - exact_elbo(self.vae(x.shape[1:]), x)
        return float(np.abs(gap - self.gap()).max())

    def kl_to_posterior(self, x, mu, variance):
        """KL(N(mu, diag variance) || p(z|x)), (N,), for images x and means mu (N, L).

        The KL between two Gaussians is in Bishop 2006, exercise 2.13.
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

        The default is the q with the largest ELBO: posterior_map() and best_variance().
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


def train(x, latent_dim, likelihood, steps, lr, xp=np, callback=None):
    """A linear_vae trained on images x (N, C, H, W) by Adam, on the exact ELBO of minibatches.

    This loop is not a Trainer's: its noise is exact_noise, and its learning rate is
    lr (1 - step / steps)^2. The rate falls to zero so that the differences between minibatches
    average out. callback(step, model) is called 25 times.
    """
    model, eps = linear_vae(x.shape[1:], latent_dim, likelihood, xp), exact_noise(BATCH, latent_dim)
    optimizer = Adam(model, lr=lr)
    batches = chain.from_iterable(minibatches(len(x), BATCH, 0, epoch) for epoch in count())
    for step, index in zip(range(1, steps + 1), batches, strict=False):
        optimizer.lr = lr * (1 - (step - 1) / steps) ** 2
        model.loss(x[index], eps[:, : len(index)])
        model.backward()
        optimizer.step()
        if callback and step * CALLS // steps > (step - 1) * CALLS // steps:
            callback(step, model)
    return model


def principal_components(x):
    """Mean (D,), eigenvalues (D,) and eigenvectors (D, D) of the covariance of images x.

    The covariance divides by N. The eigenvalues are sorted from large to small, and column i of the
    last array is the eigenvector of eigenvalue i.
    """
    values, vectors = np.linalg.eigh(np.cov(_vectors(x).T, bias=True))
    return _vectors(x).mean(axis=0), values[::-1], vectors[:, ::-1]


def exact_noise(n, latent_dim):
    """S noise vectors with mean exactly 0 and covariance exactly I: (S, n, latent_dim).

    Each of the n images has the same S vectors. For a linear VAE, log p(x, z) - log q(z|x) is
    quadratic in the noise, so its mean over the S vectors is its mean over N(0, I). All numbers
    are 1 or -1, from columns of a Hadamard matrix. These columns are orthogonal to each other and
    to the first column, which is all ones. With two dimensions the vectors are the corners of a
    square.
    """
    size = 1 << latent_dim.bit_length()  # the least power of two above latent_dim
    signs = hadamard(size)[:, 1 : latent_dim + 1].astype(np.float64)
    return np.repeat(signs[:, None], n, axis=1)


def exact_elbo(model, x):
    """The ELBO of each image, (N,): a mean of a linear VAE's log_weights over exact_noise."""
    noise = exact_noise(CHUNK, model.latent_dim)
    chunks = [x[start : start + CHUNK] for start in range(0, len(x), CHUNK)]
    log_w = [to_host(model.log_weights(part, noise[:, : len(part)])) for part in chunks]
    return np.concatenate(log_w, axis=1).mean(axis=0)


def sorted_kl(model, x):
    """KL(q(z|x) || p(z)) of each dimension, a mean over images, (L,), sorted from large to small.

    Sorted, because a VAE may find the principal components in any order.
    """
    return np.sort(to_host(kl_to_standard(*model.encode(x)).mean(axis=0)))[::-1]


def downsample(images, size):
    """uint8 images (N, 1, H, W) -> means over blocks, (N, 1, size, size) float64 in [0, 1]."""
    n, _, height, width = images.shape
    if height % size or width % size:
        raise ValueError(f"{height}x{width} pixels do not fall into {size}x{size} equal blocks")
    blocks = images.reshape(n, 1, size, height // size, size, width // size)
    return blocks.mean(axis=(3, 5)) / 255


def _vectors(x):
    """Images as rows: (N, D)."""
    return x.reshape(len(x), -1)
