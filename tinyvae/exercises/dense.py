"""Exercises 1 to 3: the linear layer, the ReLU, the sigmoid with the cross-entropy.

The first functions are the solutions, and they call tinyvae. The tables hold the classic mistakes.
"""

import numpy as np

from tinyvae.engine import activations
from tinyvae.engine.activations import ReLU
from tinyvae.engine.categorical import log_softmax
from tinyvae.engine.layers import Linear
from tinyvae.engine.likelihoods import Bernoulli
from tinyvae.exercises.tasks import Case, Exercise, Task, normal
from tinyvae.rng import generator


def linear_forward(x, W, b):
    return _linear(W, b).forward(x)


def linear_backward(dy, x, W):
    layer = _linear(W, np.zeros(len(W)))
    layer.forward(x)
    dx = layer.backward(dy)
    return layer.weight.grad, layer.bias.grad, dx


def _linear(W, b):
    layer = Linear(*reversed(W.shape), rng=generator(0, "exercises")).to(np, np.float64)
    layer.weight.value, layer.bias.value = W, b
    return layer


def relu_forward(x):
    return ReLU().forward(x)


def relu_backward(dy, x):
    layer = ReLU()
    layer.forward(x)
    return layer.backward(dy)


def sigmoid(logits):
    return activations.sigmoid(logits)


def cross_entropy(logits, x):
    return -Bernoulli().log_prob(x, logits).mean()


def cross_entropy_grad(logits, x):
    return Bernoulli().backward(-1 / x.shape[1], x, logits)


def _linear_cases():
    for d, o, n in ((7, 3, 5), (5, 9, 11)):
        x, W, b, dy = normal(f"linear {d}", (d, n), (o, d), o, (o, n))
        yield Case({"x": x, "W": W, "b": b, "dy": dy}, {"D": d, "O": o, "N": n})


def _relu_cases():
    for d, n in ((5, 7), (3, 11)):
        x, dy = normal(f"relu {d}", (d, n), (d, n))
        x[0, 1::3] = 0  # where the derivative is 0 by convention
        yield Case({"x": x, "dy": dy}, {"D": d, "N": n})


def _pixel_cases():
    for d, n, extreme in ((5, 7, ""), (3, 11, ""), (5, 9, "logits near 1000 and -1000")):
        logits, x = normal(f"pixels {d} {n}", (d, n), (d, n))
        x = activations.sigmoid(x)
        if extreme:
            logits = 1000 * np.sign(logits) + 100 * logits
            x[:, ::2] = x[:, ::2] > 0.5  # black and white pixels among the grey ones
        yield Case({"logits": logits, "x": x}, {"D": d, "N": n}, extreme)


# The classic mistakes. `_sigmoid` is the textbook formula, which overflows; u are logits.

BLIND = "the upstream gradient dy is not used"
REVERSED = "the mask is reversed: dy passes where x is negative"
LINEAR_FORWARD = (
    ("the bias is forgotten", lambda x, W, b: W @ x),
    ("the bias is subtracted", lambda x, W, b: W @ x - b[:, None]),
)
LINEAR_BACKWARD = (
    (
        "db is summed over the outputs: db has one number for each output, a sum over the batch",
        lambda dy, x, W: (dy @ x.T, dy.sum(axis=0), W.T @ dy),
    ),
    (
        "db is not summed over the batch: all N examples use the same bias",
        lambda dy, x, W: (dy @ x.T, dy, W.T @ dy),
    ),
    (BLIND, lambda dy, x, W: linear_backward(np.ones_like(dy), x, W)),
)
RELU_FORWARD = (
    ("the minimum stands where the maximum belongs", lambda x: np.minimum(x, 0)),
    ("it is the absolute value of x", np.abs),
    ("it is the derivative: 1 where x is positive", lambda x: (x > 0) * 1.0),
    (
        "np.max(x, 0) is the maximum over axis 0; np.maximum(x, 0) compares each element with 0",
        lambda x: np.max(x, 0),
    ),
)
RELU_BACKWARD = (
    ("the derivative at x = 0 is taken as 1; here it is 0", lambda dy, x: dy * (x >= 0)),
    (f"{BLIND}: it is the local derivative of the ReLU", lambda dy, x: (x > 0) * 1.0),
    ("the mask is forgotten: dy passes where x is negative too", lambda dy, x: dy),
    (REVERSED, lambda dy, x: dy * (x < 0)),
    (REVERSED, lambda dy, x: dy * (x <= 0)),
    (
        "the mask is made of dy: the gradient passes where x is positive, whatever dy is",
        lambda dy, x: dy * (dy > 0),
    ),
    ("dy is multiplied by y in place of the derivative", lambda dy, x: dy * np.maximum(x, 0)),
    ("x stands where dy belongs: it is the ReLU of x", lambda dy, x: np.maximum(x, 0)),
)


def _sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def _entropy(p, x, eps=0.0):
    return -np.sum(x * np.log(p + eps) + (1 - x) * np.log(1 - p + eps)) / x.shape[1]


def _clipped():
    """Probabilities kept away from 0 and 1 by the customary amounts, and logits from large ones."""
    sentence = (
        "probabilities or logits are clipped, or log(p + 1e-8) is taken: this changes the loss"
    )
    for eps in (1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12, 1e-15, 1e-16):
        yield sentence, lambda u, x, eps=eps: _entropy(np.clip(_sigmoid(u), eps, 1 - eps), x)
        yield sentence, lambda u, x, eps=eps: _entropy(_sigmoid(u), x, eps)
    for most in (10, 15, 20, 30, 50, 100, 500, 700, 709):
        yield sentence, lambda u, x, most=most: cross_entropy(np.clip(u, -most, most), x)


DOUBLE = "the sigmoid is applied twice"
NO_SIGMOID = "the sigmoid is missing: the logits are used as probabilities"
SIGMOID = (
    ("exp(l) stands where exp(-l) belongs", lambda u: _sigmoid(-u)),
    ("the 1 in the denominator is missing: it is exp(l)", np.exp),
    ("it is the derivative of the sigmoid", lambda u: _sigmoid(u) * _sigmoid(-u)),
    (DOUBLE, lambda u: _sigmoid(_sigmoid(u))),
    ("it is tanh, which is 2 sigmoid(2 l) - 1", np.tanh),
    (
        "it is the softmax over the pixels; each pixel has a sigmoid of its own",
        lambda u: np.exp(log_softmax(u)),
    ),
    *(
        (
            "the logits are clipped: this changes the probability",
            lambda u, most=most: sigmoid(np.clip(u, -most, most)),
        )
        for most in (5, 10, 15, 20)
    ),
)
CROSS_ENTROPY = (
    (DOUBLE, lambda u, x: _entropy(_sigmoid(_sigmoid(u)), x)),
    (
        "the term (1 - x) log(1 - sigmoid(l)) is missing",
        lambda u, x: -np.sum(x * np.log(_sigmoid(u))) / x.shape[1],
    ),
    (
        "the term x log sigmoid(l) is missing",
        lambda u, x: -np.sum((1 - x) * np.log(_sigmoid(-u))) / x.shape[1],
    ),
    (
        "x and sigmoid(l) have changed places: the logarithms are those of sigmoid(l)",
        lambda u, x: _entropy(x, _sigmoid(u)),
    ),
    (
        "the two logarithms are subtracted; they add up",
        lambda u, x: -np.sum(x * np.log(_sigmoid(u)) - (1 - x) * np.log(_sigmoid(-u))) / x.shape[1],
    ),
    (
        "x l is added, not subtracted: the loss is log(1 + exp(l)) - x l",
        lambda u, x: np.sum(np.logaddexp(0, u) + x * u) / x.shape[1],
    ),
    (
        "it is the squared error of the probabilities",
        lambda u, x: np.sum((_sigmoid(u) - x) ** 2) / x.shape[1],
    ),
    *_clipped(),
)
CROSS_ENTROPY_GRAD = (
    (DOUBLE, lambda u, x: (_sigmoid(_sigmoid(u)) - x) / x.shape[1]),
    (DOUBLE, lambda u, x: (_sigmoid(_sigmoid(u)) - x) * _sigmoid(u) * _sigmoid(-u) / x.shape[1]),
    (NO_SIGMOID, lambda u, x: (u - x) / x.shape[1]),
    (
        "the term of 1 - x is missing, and it is the gradient for the probability",
        lambda u, x: -x / _sigmoid(u) / x.shape[1],
    ),
    (
        "it is the gradient for the probability; multiply by the derivative of the sigmoid",
        lambda u, x: (_sigmoid(u) - x) / (_sigmoid(u) * _sigmoid(-u)) / x.shape[1],
    ),
    (
        "it is multiplied by the derivative of the sigmoid once too often",
        lambda u, x: (_sigmoid(u) - x) * _sigmoid(u) * _sigmoid(-u) / x.shape[1],
    ),
)

EXERCISES = (
    Exercise(
        "01_linear.py",
        "linear layer",
        "08_gradients.md",
        (
            Task(linear_forward, "y", LINEAR_FORWARD, _linear_cases),
            Task(linear_backward, "dW db dx", LINEAR_BACKWARD, _linear_cases),
        ),
    ),
    Exercise(
        "02_relu.py",
        "ReLU",
        "08_gradients.md",
        (
            Task(relu_forward, "y", RELU_FORWARD, _relu_cases),
            Task(relu_backward, "dx", RELU_BACKWARD, _relu_cases),
        ),
    ),
    Exercise(
        "03_cross_entropy.py",
        "sigmoid and cross-entropy",
        "05_decoders.md",
        (
            Task(sigmoid, "sigmoid", SIGMOID, _pixel_cases),
            Task(cross_entropy, "loss", CROSS_ENTROPY, _pixel_cases),
            Task(cross_entropy_grad, "dlogits", CROSS_ENTROPY_GRAD, _pixel_cases),
        ),
    ),
)
