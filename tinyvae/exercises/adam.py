"""Exercise 8: one step of Adam, in the paper's form.

`adam_step` is the solution, and it calls tinyvae. The table holds the classic mistakes.
"""

import numpy as np

from tinyvae.engine.module import Module, Parameter
from tinyvae.engine.optim import Adam
from tinyvae.exercises.tasks import Case, Exercise, Task, normal


def adam_step(theta, grad, m, v, t, lr, beta1, beta2, eps):
    model = _Vector(theta, grad)
    optimizer = Adam(model, lr, (beta1, beta2), eps)
    # tinyvae keeps sums M and V: the paper's means are m = (1 - beta1) M and v = (1 - beta2) V.
    M, V = m / (1 - beta1), v / (1 - beta2)
    optimizer.state |= {"step": np.array(t - 1), "M": M, "V": V}
    optimizer.step()
    return model.theta, (1 - beta1) * M, (1 - beta2) * V


class _Vector(Module):
    def __init__(self, theta, grad):
        self.weight = Parameter(theta)
        self.to(np, np.float64)
        self.grad = grad


def _cases():
    for size, t in ((7, 1), (9, 4), (5, 3)):
        theta, grad, m, v = normal(f"adam {size}", *[size] * 4)
        m, v = (0 * m, 0 * v) if t == 1 else (m, v**2)
        values = {"theta": theta, "grad": grad, "m": m, "v": v, "t": t}
        # A large eps, so that its place in the formula shows; small betas, so that 1 - beta * t,
        # which some write for 1 - beta^t, is positive.
        yield Case(values | {"lr": 0.3, "beta1": 0.2, "beta2": 0.1, "eps": 0.1}, {})


# The classic mistakes


def _step(theta, grad, m, v, t, lr, beta1, beta2, eps, wrong):
    """The paper's step with one thing wrong."""
    old = m
    m = beta1 * m + (1 if wrong == "sums" else 1 - beta1) * grad
    square = {"not squared": grad, "squared mean": m**2}.get(wrong, grad**2)
    v = beta2 * v + (1 if wrong == "sums" else 1 - beta2) * square
    t = {"t - 1": t - 1, "t + 1": t + 1}.get(wrong, t)
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    if wrong in ("power", "power of m"):
        m_hat = m / (1 - beta1) ** t
    if wrong in ("power", "power of v"):
        v_hat = v / (1 - beta2) ** t
    if wrong == "no power":
        m_hat, v_hat = m / (1 - beta1), v / (1 - beta2)
    elif wrong == "product":
        m_hat, v_hat = m / (1 - beta1 * t), v / (1 - beta2 * t)
    elif wrong == "multiplied":
        m_hat, v_hat = m * (1 - beta1**t), v * (1 - beta2**t)
    if wrong in ("no correction", "no correction of m"):
        m_hat = m
    if wrong in ("no correction", "no correction of v"):
        v_hat = v
    if wrong == "old m":
        m_hat = old / (1 - beta1**t)
    elif wrong == "grad for m":
        m_hat = grad
    divisor = {
        "eps in root": np.sqrt(v_hat + eps),
        "no root": v_hat + eps,
        "no eps": np.sqrt(v_hat),
        "no division": 1.0,
        "short form": np.sqrt(v_hat) + eps / np.sqrt(1 - beta2**t),
    }.get(wrong, np.sqrt(v_hat) + eps)
    change = (lr if wrong == "plus" else -lr) * m_hat / divisor
    if wrong == "brackets":
        change = -lr * m_hat / np.sqrt(v_hat) + eps
    theta = {"no theta": change, "minus change": -change}.get(wrong, theta + change)
    return (theta, m_hat, v_hat) if wrong == "keeps corrected" else (theta, m, v)


SENTENCES = {
    "no correction": "the correction is missing: divide m by 1 - beta1^t and v by 1 - beta2^t",
    "no correction of m": "m is not divided by 1 - beta1^t; only v is corrected",
    "no correction of v": "v is not divided by 1 - beta2^t; only m is corrected",
    "keeps corrected": "the corrected m and v are kept; return m and v without the correction",
    "eps in root": "eps stands inside the square root; it is added to the root",
    "short form": "eps is added to the root of v before v is corrected (the paper's short form)",
    "no eps": "eps is missing",
    "no root": "the square root of v is missing",
    "plus": "theta moves along the gradient; it moves against the gradient",
    "not squared": "v is a mean of grad; it is a mean of grad^2",
    "squared mean": "v is a mean of m^2; it is a mean of grad^2",
    "sums": "the factors 1 - beta1 and 1 - beta2 are missing: m and v are sums, not means",
    "old m": "theta moves by the m of the step before",
    "grad for m": "theta moves by grad; it moves by the corrected m",
    "t - 1": "t is counted from 0 in the correction; t is 1 in the first step",
    "t + 1": "t is increased before the correction; t is 1 in the first step already",
    "power": "(1 - beta)^t stands where 1 - beta^t belongs",
    "power of m": "(1 - beta1)^t stands where 1 - beta1^t belongs; v is corrected",
    "power of v": "(1 - beta2)^t stands where 1 - beta2^t belongs; m is corrected",
    "no power": "1 - beta stands where 1 - beta^t belongs",
    "brackets": "brackets are missing: divide by (sqrt(v) + eps)",
    "no division": "theta moves by lr m; divide m by sqrt(v) + eps",
    "no theta": "it is the change of theta; add it to theta",
    "minus change": "it is the step alone; subtract it from theta",
    "product": "1 - beta * t stands where 1 - beta^t belongs",
    "multiplied": "m and v are multiplied by 1 - beta^t; they are divided by it",
}


def _exchanged(theta, grad, m, v, t, lr, beta1, beta2, eps):
    return adam_step(theta, grad, m, v, t, lr, beta2, beta1, eps)


def _weights_exchanged(theta, grad, m, v, t, lr, beta1, beta2, eps):
    return _step(theta, grad, m, v, t, lr, 1 - beta1, 1 - beta2, eps, "")


MISTAKES = (
    *(
        (sentence, lambda *arguments, wrong=wrong: _step(*arguments, wrong))
        for wrong, sentence in SENTENCES.items()
    ),
    ("beta1 and beta2 have changed places", _exchanged),
    ("beta and 1 - beta have changed places in the running means", _weights_exchanged),
)

EXERCISES = (
    Exercise(
        "08_adam.py", "Adam", "09_training.md", (Task(adam_step, "theta m v", MISTAKES, _cases),)
    ),
)
