"""Diagonal Gaussians: samples, KL divergences and log-densities, each beside its gradient.

Two endings tell what a gradient function returns. `f_grad` returns the local derivatives, df/dx for
each argument x of f. `f_backward` takes an upstream gradient dy = dLoss/dy of the result y = f(x)
and returns dx = dLoss/dx, so it has the chain rule in it.

All functions work elementwise on arrays that broadcast. One element is one dimension of a Gaussian;
the value of an example is the sum over its dimensions. `logvar` is always log sigma^2. Units are
nats. docs/book/06_gaussian_kl.md and docs/book/07_reparameterization.md derive the formulas.
"""

import math

from tinyvae.engine.activations import sigmoid
from tinyvae.engine.backend import array_module, fused

LOG_2PI = math.log(2 * math.pi)


@fused
def reparameterize(mu, logvar, eps):
    """z = mu + std * eps: z ~ N(mu, std^2) if eps ~ N(0, 1). Kingma and Welling 2014, eq. 4."""
    return mu + _std(logvar) * eps


@fused
def reparameterize_backward(dz, logvar, eps):
    """From dz = dLoss/dz: (dmu, dlogvar), both of dz's shape. dmu may be the array dz itself."""
    # z = mu + std * eps, and d std / d logvar = std / 2
    return dz, dz * eps * (0.5 * _std(logvar))


def _std(logvar):
    # the only line in which a log-variance becomes a standard deviation
    return array_module(logvar).exp(0.5 * logvar)


@fused
def kl_to_standard(mu, logvar):
    """KL(N(mu, sigma^2) || N(0, 1)). Kingma and Welling 2014, appendix B."""
    xp = array_module(logvar)
    # expm1(t) = exp(t) - 1, but exact for small t; exp(t) - 1 could make the KL negative
    return 0.5 * (mu * mu + xp.expm1(logvar) - logvar)


@fused
def kl_to_standard_grad(mu, logvar):
    """The derivatives of kl_to_standard: (dmu, dlogvar). dmu may be the array mu itself."""
    # kl = (mu^2 + exp(logvar) - 1 - logvar) / 2
    return mu, 0.5 * array_module(logvar).expm1(logvar)


@fused
def kl_divergence(mu_q, logvar_q, mu_p, logvar_p):
    """KL(N(mu_q, sigma_q^2) || N(mu_p, sigma_p^2)). Bishop 2006, exercise 2.13."""
    xp = array_module(logvar_q)
    distance = (mu_q - mu_p) * (mu_q - mu_p)
    log_ratio = logvar_q - logvar_p
    return 0.5 * (distance * xp.exp(-logvar_p) + xp.expm1(log_ratio) - log_ratio)


@fused
def kl_divergence_grad(mu_q, logvar_q, mu_p, logvar_p):
    """The derivatives of kl_divergence: (dmu_q, dlogvar_q, dmu_p, dlogvar_p)."""
    xp = array_module(logvar_q)
    # kl = ((mu_q - mu_p)^2 / sigma_p^2 + ratio - 1 - log ratio) / 2, ratio = sigma_q^2 / sigma_p^2
    dmu = (mu_q - mu_p) * xp.exp(-logvar_p)
    dlog_ratio = 0.5 * xp.expm1(logvar_q - logvar_p)
    return dmu, dlog_ratio, -dmu, -(0.5 * dmu * (mu_q - mu_p) + dlog_ratio)


@fused
def log_density(x, mu, logvar):
    """log N(x; mu, sigma^2), with the constant, so that the density integrates to one."""
    distance = (x - mu) * (x - mu)
    return -0.5 * (LOG_2PI + logvar + distance * array_module(logvar).exp(-logvar))


@fused
def log_density_of_draw(eps, logvar):
    """log_density at z = mu + std * eps. There z - mu may be lost in rounding; eps is not."""
    return -0.5 * (LOG_2PI + logvar + eps * eps)


@fused
def log_density_grad(x, mu, logvar):
    """The derivatives of log_density: (dx, dmu, dlogvar)."""
    # log N = -(log 2 pi + logvar + (x - mu)^2 / sigma^2) / 2
    dmu = (x - mu) * array_module(logvar).exp(-logvar)
    return -dmu, dmu, 0.5 * (dmu * (x - mu) - 1)


@fused
def precision_weighted(mu_a, logvar_a, mu_b, logvar_b):
    """(mu, logvar) of the Gaussian that is proportional to N(mu_a, sigma_a^2) N(mu_b, sigma_b^2).

    The precisions 1 / sigma^2 add up, and each mean is weighted by its share of the total
    precision. Soenderby et al. 2016, section 2. No variance is too small or too large.
    """
    a, b = sigmoid(logvar_b - logvar_a), sigmoid(logvar_a - logvar_b)  # the shares, a + b = 1
    return a * mu_a + b * mu_b, -array_module(logvar_a).logaddexp(-logvar_a, -logvar_b)


@fused
def precision_weighted_backward(dmu, dlogvar, mu_a, logvar_a, mu_b, logvar_b):
    """From the gradients of its two results: (dmu_a, dlogvar_a, dmu_b, dlogvar_b)."""
    a, b = sigmoid(logvar_b - logvar_a), sigmoid(logvar_a - logvar_b)
    # mu = a mu_a + b mu_b, and da = -db = a b (dlogvar_b - dlogvar_a)
    shift = dmu * (mu_a - mu_b) * (a * b)
    # logvar = -log(exp(-logvar_a) + exp(-logvar_b))
    return dmu * a, dlogvar * a - shift, dmu * b, dlogvar * b + shift
