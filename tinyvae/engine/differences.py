"""Finite differences: is a gradient right? Everything here computes in float64.

The upstream gradient is random; docs/gradients.md says why. `python -m tinyvae.gradcheck` applies
these functions to every layer, formula, likelihood and model of tinyvae.
"""

import copy

import numpy as np


def relative_error(a, b):
    """max |a - b| over the larger of max |a| and max |b|; 0 where both are all zero."""
    scale = np.maximum(np.abs(a).max(), np.abs(b).max())
    return float(np.abs(a - b).max() / scale) if scale != 0 else 0.0  # nan stays nan


def numerical_gradient(f, x, step=1e-5):
    """The gradient of the scalar f() with respect to the float64 array x, which f reads.

    Each element in turn is moved up and down by `step` and put back: central differences.
    """
    gradient = np.empty_like(x)
    for index in np.ndindex(x.shape):
        value = x[index]
        x[index] = value + step
        above = f()
        x[index] = value - step
        below = f()
        x[index] = value
        gradient[index] = (above - below) / (2 * step)
    return gradient


def check_layer(layer, x, rng):
    """Errors of a layer's backward at x, {"x": ..., parameter name: ...}.

    Checked is the gradient of sum(y * dy) with a random dy: with dy = 1 a transposed weight
    gradient can pass. x is float64, on the host; a copy of the layer is turned to that.
    """
    layer = copy.deepcopy(layer).to(np, np.float64)
    dy = rng.standard_normal(layer.forward(x.copy()).shape)
    dx = layer.backward(dy.copy())  # copies, since a layer may work in place
    gradients = {"x": (x, dx)} if dx is not None else {}
    for name, parameter in layer.named_parameters():
        gradients[name] = (parameter.value, parameter.grad)

    def f():
        return float((layer.forward(x.copy()) * dy).sum())

    return {
        name: relative_error(numerical_gradient(f, value), gradient)
        for name, (value, gradient) in gradients.items()
    }


def check_function(function, gradient, arrays, rng):
    """The largest error of gradient(*arrays), a tuple of arrays, for an elementwise function."""
    dy = rng.standard_normal(np.shape(function(*arrays)))
    gradients = gradient(*arrays)
    return max(
        relative_error(numerical_gradient(lambda: (function(*arrays) * dy).sum(), x), dx * dy)
        for x, dx in zip(arrays, gradients, strict=True)
    )


def check_direction(f, theta, gradient, rng, step=1e-6):
    """Error of <gradient, v> in a random direction v: a whole model for two evaluations of f.

    theta: the float64 vector that f reads; it is moved by `step` along v, |v| = 1, and put back.
    """
    v = rng.standard_normal(theta.shape)
    # A random v is nearly orthogonal to the gradient, and rounding would drown their product;
    # half of it along the gradient lifts the product above the rounding, half stays random.
    v = v / np.linalg.norm(v) + gradient / np.linalg.norm(gradient)
    v /= np.linalg.norm(v)
    original = theta.copy()
    theta[...] = original + step * v
    above = f()
    theta[...] = original - step * v
    below = f()
    theta[...] = original
    return relative_error(np.array((above - below) / (2 * step)), np.array(gradient @ v))


def check_model(model, *inputs, rng, **options):
    """Error of the backward of model.loss(*inputs, **options), along a random direction."""
    model.to(np, np.float64)

    def f():
        return model.loss(*inputs, **options).total

    f()
    model.backward()
    return check_direction(f, model.theta, model.grad, rng)
