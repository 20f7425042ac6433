"""The tutorial's VAE in JAX: the yardstick for speed on a GPU, where JAX compiles a whole step.

Parameters are a dictionary with the names and shapes of tinyvae's state_dict. Products and
convolutions are float32 without TF32 (precision "highest"), as tinyvae's are.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from variants import LATENT_DIM, STEPS, epoch, inputs

from tinyvae import make_model

jax.config.update("jax_default_matmul_precision", "highest")
LR, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8


def linear(p, name, x):
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def convolution(p, name, x):
    """3x3 with stride 2: halves an image (N, C, H, W)."""
    y = lax.conv_general_dilated(x, p[f"{name}.weight"], (2, 2), [(1, 1), (1, 1)])
    return y + p[f"{name}.bias"][:, None, None]


def transposed(p, name, x):
    """Its adjoint with output_padding 1: doubles an image."""
    weight = p[f"{name}.weight"][:, :, ::-1, ::-1].swapaxes(0, 1)
    y = lax.conv_general_dilated(x, weight, (1, 1), [(1, 2), (1, 2)], lhs_dilation=(2, 2))
    return y + p[f"{name}.bias"][:, None, None]


def logits_of(network, p, x, eps):
    """Images (N, 1, 28, 28) and noise (N, L) -> logits (N, 784), mu and logvar (N, L)."""
    n, relu = len(x), jax.nn.relu
    if network == "conv":
        h = relu(convolution(p, "encoder.trunk.0", x))
        h = relu(convolution(p, "encoder.trunk.2", h)).reshape(n, -1)
        h = relu(linear(p, "encoder.trunk.5", h))
    else:
        h = relu(linear(p, "encoder.trunk.1", x.reshape(n, -1)))
    mu, logvar = linear(p, "encoder.mu", h), linear(p, "encoder.logvar", h)
    h = relu(linear(p, "decoder.0", mu + jnp.exp(0.5 * logvar) * eps))
    if network == "mlp":
        return linear(p, "decoder.2", h), mu, logvar
    h = relu(linear(p, "decoder.2", h)).reshape(n, 64, 7, 7)
    h = relu(transposed(p, "decoder.5", h))
    return transposed(p, "decoder.7", h).reshape(n, -1), mu, logvar


def loss_of(network, p, x, eps):
    """Negative ELBO, nats per image."""
    logits, mu, logvar = logits_of(network, p, x, eps)
    log_px = (x.reshape(logits.shape) * logits - jnp.logaddexp(0, logits)).sum(axis=1)
    kl = 0.5 * (mu * mu + jnp.expm1(logvar) - logvar).sum(axis=1)
    return (kl - log_px).mean()


def start(p):
    """(parameters, first moments, second moments, steps done)"""
    p = {name: jnp.asarray(array) for name, array in p.items()}
    m, v = (jax.tree.map(jnp.zeros_like, p) for _ in range(2))
    return p, m, v, jnp.int32(0)


def train_step(network, state, x, eps):
    """A step of Adam: (state, loss)."""
    p, m, v, t = state
    loss, grad = jax.value_and_grad(partial(loss_of, network))(p, x, eps)
    t = t + 1
    m = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, grad)
    v = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, grad)
    rate = LR / (1 - BETA1**t)
    root = jnp.sqrt(1 - BETA2**t)
    p = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) / root + EPS), p, m, v)
    return (p, m, v, t), loss


def train_epoch(network, state, images, noise, order):
    """All steps in one program: images (n, 1, 28, 28), noise (n, L), order (steps, batch)."""

    def step(state, index):
        return train_step(network, state, images[index], noise[index])

    return lax.scan(step, state, order)  # (state, losses)


def gradient_norm(network, p, x, eps):
    grad = jax.grad(partial(loss_of, network))(p, x, eps)
    return float(jnp.sqrt(sum((g * g).sum() for g in grad.values())))


def compiled(function, network):
    """The function for this network, compiled; the old state's memory is used for the new one."""
    return jax.jit(partial(function, network), donate_argnums=0)


def task(options):
    """(run, about) as in variants.py; with the word "scan" a run is a whole epoch."""
    network, scan = options.network, "scan" in options.variant.split()
    weights = make_model(network=network, latent_dim=LATENT_DIM).state_dict()
    state, (x, eps) = start(weights), inputs(options.batch_size)
    norm = gradient_norm(network, weights, x, eps[0])
    given = (x, eps[0])
    if scan:
        images, noise, order = epoch(x, eps)
        given = (images, noise[0], order)
    given = tuple(map(jnp.asarray, given))
    function = compiled(train_epoch if scan else train_step, network)

    def run():
        nonlocal state
        state, losses = function(state, *given)
        return lambda: float(losses.ravel()[0])

    def about():
        return {"norm": norm, "steps": STEPS if scan else 1}

    return run, about


def device_bytes():
    """The most memory of the device that was in use."""
    return jax.local_devices()[0].memory_stats()["peak_bytes_in_use"]
