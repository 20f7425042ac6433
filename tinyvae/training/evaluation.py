"""How good a model is on examples it may not have seen: the bounds, the error, the units it uses.

The noise belongs to an example, not to its batch, and sums are taken in float64. So the numbers do
not depend on the batch size, except by rounding. All losses are in nats per example.
"""

import math

import numpy as np
from scipy.special import entr

from tinyvae.data.batches import to_float
from tinyvae.engine.backend import array_module, to_host
from tinyvae.rng import generator

ACTIVE_VARIANCE = 0.01  # Burda, Grosse and Salakhutdinov 2016, section 5.2
CHUNK = 10  # importance samples decoded at a time: bounds the memory


@np.errstate(under="ignore")  # exp(-200) is 0, also for a caller who has numbers raise
def evaluate(model, x, labels=None, *, seed=0, batch_size=200):
    """A dict of numbers about a model on examples x (N, ...), as a Dataset holds them.

    Every model:
        each loss term by name, with one sampled z an example: decoding the mean of q(z|x) instead
        would report a value several nats lower, which is not a bound; a term of L dimensions is
        summed, and NAME_per_dimension is the list of its dimensions
        total                   the sum of the terms, with beta = 1 and no free bits
        the mean of each of the model's other `metrics` by name
    Models whose codes are taken from a codebook of K:
        usage                   the share of each of them in all codes of all examples, (K,)
        perplexity              exp(the entropy of these shares): K if all are used equally often
        codes_in_use            how many of them are used at all
    Models with codes:
        mse                     squared error of the mean reconstructions, per pixel or column
        r2_per_column           for vectors (N, D): their coefficient of determination, (D,)
        variance_per_dimension  of the codes over the examples, (L,)
        active_units            how many of these variances are above 0.01 (Burda, Grosse and
                                Salakhutdinov 2016, section 5.2)
        kl_i, active_units_i    of layer i = 1, 2, ..., if the model has several latent layers
    Raises ValueError for examples outside the model's support, for none, and without labels that
    the model needs.
    """
    n, xp = len(x), array_module(model.theta)
    _require_some(model, x, labels)
    if model.noise_dim:
        shape = (1, n, model.noise_dim)
        eps = xp.asarray(generator(seed, "evaluation").standard_normal(shape, np.float32))
    terms, metrics, codes = dict.fromkeys(model.term_names, 0.0), {}, []
    usage, column_error = 0.0, 0.0
    for batch in _slices(n, batch_size, model.weights_per_draw):
        part = _on_device(model, x[batch])
        its_eps = eps[:, batch] if model.noise_dim else None
        its_labels = (xp.asarray(labels[batch]),) if model.wants_labels else ()
        for name, term in model.terms(*model.inputs(part, its_eps, *its_labels)).items():
            terms[name] = terms[name] + len(part) * to_host(term)  # sums over the examples
        for name, values in model.metrics(part, *its_labels).items():
            if name in terms:
                raise ValueError(f"{type(model).__name__}: {name} is both a term and a metric")
            if name == "code":
                codes.append(to_host(values))
                continue
            if name == "usage":
                usage = usage + to_host(values.sum(axis=0, dtype=np.float64))
                continue
            if name == "squared_error":
                column_error = column_error + to_host(values.sum(axis=0, dtype=np.float64))
                name, values = "mse", values.mean(axis=tuple(range(1, values.ndim)))
            metrics[name] = metrics.get(name, 0.0) + float(values.sum(dtype=np.float64))
    numbers = {"total": float(sum(np.sum(term) for term in terms.values()) / n)}
    for name, term in terms.items():
        numbers[name] = float(np.sum(term) / n)
        if np.ndim(term):
            numbers[f"{name}_per_dimension"] = (term / n).tolist()
    numbers |= {name: value / n for name, value in metrics.items()}
    if np.ndim(usage):
        share = usage / n
        numbers["usage"], numbers["codes_in_use"] = share.tolist(), int((share > 0).sum())
        numbers["perplexity"] = float(np.exp(entr(share).sum()))
    if np.ndim(column_error) == 1:
        numbers["r2_per_column"] = _r2(column_error, to_float(to_host(x), np.float64))
    if codes:
        variance = np.concatenate(codes).var(axis=0, dtype=np.float64)
        numbers["variance_per_dimension"] = variance.tolist()
        numbers["active_units"] = int((variance > ACTIVE_VARIANCE).sum())
    start = 0
    for i, size in enumerate(model.latent_layers, 1):
        own, start = slice(start, start + size), start + size
        numbers[f"kl_{i}"] = sum(numbers["kl_per_dimension"][own])
        numbers[f"active_units_{i}"] = int((variance[own] > ACTIVE_VARIANCE).sum())
    return numbers


def _r2(error, x):
    """1 - squared error / variance of each column of x (N, D); None where the variance is 0."""
    variation = len(x) * x.var(axis=0)
    return [1 - float(e / v) if v > 0 else None for e, v in zip(error, variation, strict=True)]


@np.errstate(under="ignore")
def importance_weighted_bound(model, x, samples, labels=None, *, seed=0, batch_size=100):
    """The importance-weighted bound on log p(x) of each example, (N,), from `samples` draws of z.

    The log of the mean of p(x, z) / q(z|x) over z ~ q(z|x). Its expectation is the ELBO for one
    sample, rises with the number of samples, and tends to log p(x). Burda, Grosse and Salakhutdinov
    2016, eq. 8. model: one with `log_weights`; x (N, ...): as a Dataset holds it. In nats. Raises
    ValueError as `evaluate` does.
    """
    if not model.log_weights:
        raise ValueError(f"{type(model).__name__} gives no weights: it has no bound on log p(x)")
    n, rng, xp = len(x), generator(seed, "importance samples"), array_module(model.theta)
    _require_some(model, x, labels)
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    log_sum = np.full(n, -np.inf)
    per_draw = model.weights_per_draw
    for start in range(0, samples, chunk := max(CHUNK, per_draw)):
        size = min(chunk, samples - start)
        draws = -(-size // per_draw)  # rounded up
        eps = xp.asarray(rng.standard_normal((draws, n, model.noise_dim), np.float32))
        for batch in _slices(n, batch_size, draws * per_draw):
            its_labels = xp.asarray(labels[batch]) if model.wants_labels else None
            inputs = model.inputs(_on_device(model, x[batch]), eps[:, batch], its_labels)
            log_w = to_host(model.log_weights(*inputs))[:size].astype(np.float64)  # (size, N)
            log_sum[batch] = np.logaddexp(log_sum[batch], np.logaddexp.reduce(log_w, axis=0))
    return log_sum - math.log(samples)


def _require_some(model, x, labels):
    """Refuse an x without examples, and missing labels."""
    if not len(x):
        raise ValueError("expected at least one example to evaluate a model on, got none")
    if model.wants_labels and labels is None:
        raise ValueError(f"{type(model).__name__} needs labels beside the examples; give labels")


def _on_device(model, x):
    return to_float(array_module(model.theta).asarray(x), model.theta.dtype)


def _slices(n, size, codes=1):
    """Batches of at most `size` examples, with `codes` codes each, and of CHUNK * size codes."""
    size = max(1, min(size, CHUNK * size // codes))
    return [slice(start, start + size) for start in range(0, n, size)]
