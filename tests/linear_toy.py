"""A linear VAE with two latent dimensions, whose log p(x) and true posterior have closed forms.

z ~ N(0, I), x|z ~ N(W z + m, s2 I); so (z, x) is one Gaussian, and SciPy and linear algebra know
the rest of it without a word from tinyvae.
"""

import numpy as np
from scipy.stats import multivariate_normal

from tinyvae import VAE, Flatten, Gaussian, GaussianEncoder, Linear, Reshape, Sequential

SHAPE, D, L = (1, 5, 1), 5, 2


class LinearToy:
    def __init__(self, w, m, s2, variance=(0.3, 0.2), xp=np):
        """q(z|x) of the model is N(V (x - m), diag variance) with a V near the best."""
        self.w, self.m, self.s2 = w, m, s2
        rng = np.random.default_rng(0)
        encoder = GaussianEncoder(Flatten(), D, L, rng=rng)
        decoder = Sequential(Linear(L, D, rng=rng), Reshape(*SHAPE))
        self.model = VAE(encoder, decoder, Gaussian(s2)).to(xp, np.float64)
        v = 0.9 * np.linalg.solve(w.T @ w + s2 * np.eye(L), w.T)
        self.model.load_state_dict(
            {
                "encoder.mu.weight": v,
                "encoder.mu.bias": -v @ m,
                "encoder.logvar.weight": np.zeros((L, D)),
                "encoder.logvar.bias": np.log(variance),
                "decoder.0.weight": w,
                "decoder.0.bias": m,
            }
        )

    def log_p(self, x):
        covariance = self.w @ self.w.T + self.s2 * np.eye(D)
        return multivariate_normal(self.m, covariance).logpdf(x.reshape(-1, D))

    def posterior(self, x):
        """Means (N, 2), and the covariance that all images share."""
        covariance = np.linalg.inv(np.eye(L) + self.w.T @ self.w / self.s2)
        return (x.reshape(-1, D) - self.m) @ self.w @ covariance / self.s2, covariance


def gaussian_kl(mean, covariance, other_mean, other_covariance):
    """KL between two Gaussians with full covariances. Bishop 2006, exercise 2.13."""
    inverse, off = np.linalg.inv(other_covariance), mean - other_mean
    trace = np.trace(inverse @ covariance) - len(mean)
    (_, log_determinant), (_, other) = map(np.linalg.slogdet, (covariance, other_covariance))
    return 0.5 * (trace + off @ inverse @ off + other - log_determinant)
