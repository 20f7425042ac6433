"""A linear VAE with two latent dimensions, whose log p(x) and true posterior have closed forms."""

import numpy as np

from tinyvae.laboratory.linear_gaussian import LinearGaussian

SHAPE, D, L = (1, 5, 1), 5, 2


class LinearToy:
    def __init__(self, w, m, s2, variance=(0.3, 0.2), xp=np):
        """q(z|x) of the model is N(V (x - m), diag variance) with a V near the best."""
        self.w, self.m, self.s2 = w, m, s2
        exact = LinearGaussian(w, m, s2)
        self.log_p = exact.log_p
        self.model = exact.vae(SHAPE, 0.9 * exact.posterior_map(), np.array(variance), xp)

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
