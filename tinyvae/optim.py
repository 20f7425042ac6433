"""Optimizers on a model's flat vectors theta and grad, and the clipping of grad.

Names and defaults are PyTorch's.
"""

import math

import numpy as np

from tinyvae.backend import array_module

# NumPy updates theta in blocks that stay in the cache (docs/performance.md says what it buys).
BLOCK = 1 << 17


class SGD:
    """Gradient descent with momentum: v = momentum v + grad, theta -= lr v."""

    def __init__(self, model, lr, momentum=0.0):
        self.model, self.lr, self.momentum = model, _positive(lr), momentum
        self.state = {"velocity": array_module(model.theta).zeros_like(model.theta)}

    def step(self):
        for theta, grad, velocity in _blocks(self.model, self.state["velocity"]):
            velocity *= self.momentum
            velocity += grad
            theta -= self.lr * velocity


class Adam:
    """Adam. Kingma and Ba 2015, algorithm 1."""

    def __init__(self, model, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
        self.model, self.lr, self.betas, self.eps = model, _positive(lr), betas, eps
        xp = array_module(model.theta)
        self.state = {
            "step": np.zeros((), dtype=np.int64),
            "m": xp.zeros_like(model.theta),
            "v": xp.zeros_like(model.theta),
        }

    def step(self):
        self.state["step"] += 1
        t, (beta1, beta2) = int(self.state["step"]), self.betas
        # m / (1 - beta1^t) and v / (1 - beta2^t), the corrections for starting at zero, are
        # folded into the scalars: lr m^ / (sqrt(v^) + eps) = rate m / (sqrt(v) + small).
        root = math.sqrt(1 - beta2**t)
        rate, small = self.lr * root / (1 - beta1**t), self.eps * root
        xp = array_module(self.model.theta)
        for theta, grad, m, v in _blocks(self.model, self.state["m"], self.state["v"]):
            m += (1 - beta1) * (grad - m)
            v += (1 - beta2) * (grad * grad - v)
            theta -= rate * m / (xp.sqrt(v) + small)


def _positive(lr):
    if not lr > 0:
        raise ValueError(f"the learning rate lr must be positive, got {lr}")
    return lr


def _blocks(model, *state):
    """theta, grad and the state, block by block on the host, whole on a GPU."""
    vectors = (model.theta, model.grad, *state)
    size = BLOCK if array_module(model.theta) is np else model.theta.size
    for start in range(0, model.theta.size, size):
        yield [vector[start : start + size] for vector in vectors]


def clip_grad_norm(model, max_norm):
    """Scale the gradient down to Euclidean length max_norm if it is longer; return its length."""
    xp = array_module(model.grad)
    norm = xp.sqrt((model.grad * model.grad).sum())
    model.grad *= xp.minimum(1, max_norm / (norm + 1e-6))
    return norm
