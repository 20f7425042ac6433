"""Optimizers on a model's flat vectors theta and grad, and the clipping of grad.

Names and defaults are PyTorch's.
"""

import math

import numpy as np

from tinyvae.engine.backend import array_module, fused

# NumPy updates theta in blocks that stay in the cache (docs/performance.md says what it buys).
BLOCK = 1 << 18


class SGD:
    """Gradient descent with momentum: v = momentum v + grad, theta -= lr v."""

    def __init__(self, model, lr, momentum=0.0):
        self.model, self.lr, self.momentum = model, _positive(lr), momentum
        self.state = {"velocity": array_module(model.theta).zeros_like(model.theta)}

    def step(self, run=map):
        """Change theta. run: the builtin map, or that of a tinyvae.training.parallel.Threads."""

        def update(theta, grad, velocity):
            velocity *= self.momentum
            velocity += grad
            theta -= self.lr * velocity

        _each_block(run, update, self.model.theta, self.model.grad, self.state["velocity"])


class Adam:
    """Adam. Kingma and Ba 2015, algorithm 1, with sums M and V where the paper has means.

    They lack the factors 1 - beta1 and 1 - beta2 of the paper's m and v, PyTorch's exp_avg(_sq).
    """

    def __init__(self, model, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
        self.model, self.lr, self.betas, self.eps = model, _positive(lr), betas, eps
        xp = array_module(model.theta)
        self.state = {
            "step": np.zeros((), dtype=np.int64),
            "M": xp.zeros_like(model.theta),
            "V": xp.zeros_like(model.theta),
        }

    def step(self, run=map):
        """Change theta. run: the builtin map, or that of a tinyvae.training.parallel.Threads."""
        self.state["step"] += 1
        t, (beta1, beta2) = int(self.state["step"]), self.betas
        # The means are m^ = mean1 M and v^ = mean2 V, corrected for starting at zero. All scalars
        # go into two: lr m^ / (sqrt(v^) + eps) = rate M / (sqrt(V) + small).
        mean1, mean2 = (1 - beta1) / (1 - beta1**t), (1 - beta2) / (1 - beta2**t)
        rate, small = self.lr * mean1 / math.sqrt(mean2), self.eps / math.sqrt(mean2)

        def update(theta, grad, M, V):
            _adam(grad, beta1, beta2, rate, small, theta, M, V)

        _each_block(
            run, update, self.model.theta, self.model.grad, self.state["M"], self.state["V"]
        )


@fused(
    "T grad, T beta1, T beta2, T rate, T small",
    "T theta, T M, T V",
    """M = M * beta1 + grad;
    V = V * beta2 + grad * grad;
    theta -= M / (sqrt(V) + small) * rate""",
)
def _adam(grad, beta1, beta2, rate, small, theta, M, V):
    M *= beta1
    M += grad
    V *= beta2
    V += grad * grad
    # theta -= rate * M / (sqrt(V) + small), all in one new array
    change = np.sqrt(V)
    change += small
    np.divide(M, change, out=change)
    change *= rate
    theta -= change


def _positive(lr):
    if not lr > 0:
        raise ValueError(f"the learning rate lr must be positive, got {lr}")
    return lr


def _each_block(run, update, *vectors):
    """Call update on the vectors, block by block on the host, whole on a GPU."""
    xp, size = array_module(vectors[0]), vectors[0].size
    # An even number of blocks is the same for both of two threads.
    count = max(1, 2 * -(-size // (2 * BLOCK))) if xp is np else 1
    list(run(update, *(xp.array_split(vector, count) for vector in vectors)))


def clip_grad_norm(model, max_norm):
    """Scale the gradient down to Euclidean length max_norm if it is longer; return its length."""
    xp = array_module(model.grad)
    norm = xp.sqrt((model.grad * model.grad).sum())
    model.grad *= xp.minimum(1, max_norm / (norm + 1e-6))
    return norm
