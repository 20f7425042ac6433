"""SGD and Adam on a model's vectors theta and grad, with PyTorch's names and defaults."""

import math

import numpy as np

from tinyvae.engine.backend import array_module, fused, keep_freed_memory

# NumPy updates theta in blocks that fit in the cache (docs/performance.md has the measurement).
BLOCK = 1 << 18


class Optimizer:
    """What SGD and Adam share: the model, the learning rate, and `state`, all there is to save.

    A model, or a single layer, whose parameters are not gathered yet is gathered (`model.to()`).
    Raises ValueError unless the numbers of the method are in their ranges: lr above 0, momentum and
    betas in [0, 1), eps above 0.
    """

    def __init__(self, model, lr):
        _require("lr", lr, 0 < lr < math.inf, "positive and finite")
        if not model.gathered:
            model.to()
        keep_freed_memory()  # of every step for the next one
        self.model, self.lr, self._theta = model, lr, model.theta
        self.state = {"step": np.zeros((), dtype=np.int64)}

    def __setstate__(self, state):  # a copy of an optimizer has a copy of the model
        vars(self).update(state)
        self._theta = self.model.theta

    def step(self, run=map, scalars=None):
        """Change theta once. Raises ValueError if a parameter of the model would not be trained.

        run: the builtin map, or the `map` of tinyvae.training.threads.Threads; scalars: those of
        this step, if they lie on the device already.
        """
        self.model.require_parameters_in(self._theta)
        self.state["step"] += 1
        self._update(run, *(scalars or self.scalars(int(self.state["step"]))))

    def scalars(self, t):
        """The numbers of step t, counted from 1, that are the same for all parameters."""
        raise NotImplementedError

    def _each_block(self, run, update, *state):
        """Call update(theta, grad, *state), on the CPU block by block."""
        xp, size = array_module(self._theta), self.model.trained_size
        # an even number of blocks, so that two threads get equally many
        count = max(1, 2 * -(-size // (2 * BLOCK))) if xp is np else 1
        vectors = self._trained(self._theta), self._trained(self.model.grad), *state
        list(run(update, *(xp.array_split(vector, count) for vector in vectors)))

    def _trained(self, vector):
        """The stretch of theta or grad that belongs to the parameters that are trained."""
        return vector[: self.model.trained_size]


class SGD(Optimizer):
    """Gradient descent with momentum: v = momentum v + grad, theta -= lr v. Polyak 1964."""

    def __init__(self, model, lr, momentum=0.0):
        super().__init__(model, lr)
        self.momentum = _require("momentum", momentum, 0 <= momentum < 1, "in [0, 1)")
        self.state["velocity"] = array_module(model.theta).zeros_like(self._trained(model.theta))

    def scalars(self, t):
        return (self.lr,)

    def _update(self, run, lr):
        def update(theta, grad, velocity):
            velocity *= self.momentum
            velocity += grad
            theta -= lr * velocity

        self._each_block(run, update, self.state["velocity"])


class Adam(Optimizer):
    """Adam, Kingma and Ba 2015, algorithm 1, with sums M and V in place of the paper's means.

    The paper's m is (1 - beta1) M and its v is (1 - beta2) V: PyTorch's exp_avg and exp_avg_sq.
    """

    def __init__(self, model, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
        super().__init__(model, lr)
        in_range = len(betas) == 2 and all(0 <= beta < 1 for beta in betas)
        self.betas = _require("betas", betas, in_range, "two numbers in [0, 1)")
        self.eps = _require("eps", eps, 0 < eps < math.inf, "positive and finite")
        xp, theta = array_module(model.theta), self._trained(model.theta)
        self.state |= {"M": xp.zeros_like(theta), "V": xp.zeros_like(theta)}

    def scalars(self, t):
        beta1, beta2 = self.betas
        # The paper's corrected means are m^ = mean1 M and v^ = mean2 V. Its step is
        # lr m^ / (sqrt(v^) + eps) = rate M / (sqrt(V) + small), with all scalars in two numbers.
        mean1, mean2 = (1 - beta1) / (1 - beta1**t), (1 - beta2) / (1 - beta2**t)
        rate, small = self.lr * mean1 / math.sqrt(mean2), self.eps / math.sqrt(mean2)
        return rate, small

    def _update(self, run, rate, small):
        def update(theta, grad, M, V):
            _adam(grad, *self.betas, rate, small, theta, M, V)

        self._each_block(run, update, self.state["M"], self.state["V"])


@fused
def _adam(grad, beta1, beta2, rate, small, theta, M, V):
    xp = array_module(theta)
    M *= beta1
    M += grad
    V *= beta2
    V += grad * grad
    # theta -= rate * M / (sqrt(V) + small), all in one new array
    change = xp.sqrt(V)
    change += small
    xp.divide(M, change, out=change)
    change *= rate
    theta -= change


def _require(name, value, valid, expected):
    if not valid:
        raise ValueError(f"{name} must be {expected}, got {value}")
    return value


def clip_grad_norm(model, max_norm):
    """Scale the gradient down to Euclidean length max_norm if it is longer; return its length.

    It is the gradient of the trained parameters; what other parameters have as `grad` stays. The
    length is a scalar on the model's device. Pascanu, Mikolov and Bengio 2013, algorithm 1. Raises
    ValueError unless max_norm is positive and finite.
    """
    _require("max_norm", max_norm, 0 < max_norm < math.inf, "positive and finite")
    xp, grad = array_module(model.grad), model.grad[: model.trained_size]
    norm = xp.sqrt((grad * grad).sum())
    grad *= xp.minimum(1, max_norm / (norm + 1e-6))
    return norm
