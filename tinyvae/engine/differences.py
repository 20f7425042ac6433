"""Finite differences: they check a gradient against values of the function, in float64.

The upstream gradient is random; docs/book/08_checks.md says why. `python -m tinyvae.gradcheck`
applies these functions to every layer, formula, likelihood and model of tinyvae.
"""

import copy

import numpy as np


def relative_error(a, b):
    """max |a - b| / max(|a|, |b|), with maxima over all elements; 0 if all elements are zero."""
    scale = np.maximum(np.abs(a).max(), np.abs(b).max())
    return float(np.abs(a - b).max() / scale) if scale != 0 else 0.0  # nan stays nan


def numerical_gradient(f, x, step=1e-5):
    """The gradient of the scalar f() with respect to the float64 array x, which f reads.

    Central differences: each element in turn is changed by +step and -step, then restored. The
    result has the shape of x. Nocedal and Wright 2006, section 8.1.
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
    """Relative errors of a layer's backward at x: {"x": error of dx, parameter name: error}.

    It checks the gradient of sum(y * dy) with a random dy, because with dy = 1 a transposed weight
    gradient can pass. x: float64, on the host. The layer is copied, and stays as it is.
    """
    layer = copy.deepcopy(layer).to(np, np.float64)
    layer.grad[...] = 1  # a backward sets it; one that adds to it must not pass
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
    """The largest relative error of gradient(*arrays), the derivatives of function(*arrays).

    function: elementwise; gradient: returns a tuple, one derivative for each array.
    """
    dy = rng.standard_normal(np.shape(function(*arrays)))
    gradients = gradient(*arrays)
    return max(
        relative_error(numerical_gradient(lambda: (function(*arrays) * dy).sum(), x), dx * dy)
        for x, dx in zip(arrays, gradients, strict=True)
    )


def check_direction(f, theta, gradient, rng, step=1e-6):
    """Relative error of <gradient, v>, the slope of f along a random direction v, |v| = 1.

    It takes two evaluations of f, also for a whole model. theta: the float64 vector that f reads;
    it is changed by +step v and -step v, then restored.
    """
    v = rng.standard_normal(theta.shape)
    # A random v is nearly orthogonal to the gradient: <gradient, v> would be as small as rounding
    # errors. So v is half along the gradient, which makes the product large, and half random.
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
    """Relative error of model.backward() after model.loss(*inputs, **options), along a direction.

    The direction changes the trained parameters only. Of two random directions the smaller error
    counts: a step along one of them may cross the kink of a ReLU, where the slope jumps. The model
    itself is turned to float64 on the host.
    """
    model.to(np, np.float64)
    f = model.frozen(*inputs, **options)
    model.grad[...] = 1  # a backward sets it; one that adds to it must not pass
    model.loss(*inputs, **options)
    model.backward()
    theta, grad = (vector[: model.trained_size] for vector in (model.theta, model.grad))
    return min(check_direction(f, theta, grad, rng) for _ in range(2))


def check_flow(flow, z, h, rng):
    """Relative errors of a normalizing flow at codes z (L, ...) and contexts h (features, N).

    {"z", "h", parameter name: of its backward, "log_det": of its log |det dz'/dz|}. backward is
    checked as in `check_layer`, with random gradients of both outputs. log_det is compared with the
    determinant of the matrix of all dz'_i/dz_j. The flow is copied.
    """
    flow = copy.deepcopy(flow).to(np, np.float64)
    z, h = z.copy(), h.copy()
    y, log_det = flow.forward(z, h)
    dy, dlog_det = rng.standard_normal(y.shape), rng.standard_normal(log_det.shape)
    dz, dh = flow.backward(dy.copy(), dlog_det.copy())
    gradients = {"z": (z, dz), "h": (h, dh)}
    for name, parameter in flow.named_parameters():
        gradients[name] = (parameter.value, parameter.grad)

    def f():
        y, log_det = flow.forward(z, h)
        return float((y * dy).sum() + (log_det * dlog_det).sum())

    errors = {
        name: relative_error(numerical_gradient(f, value), gradient)
        for name, (value, gradient) in gradients.items()
    }
    columns = []  # dz'/dz_j, (L, ...)
    for j in range(len(z)):
        step = 1e-5 * (np.arange(len(z)) == j).reshape(-1, *[1] * (z.ndim - 1))
        columns.append((flow.forward(z + step, h)[0] - flow.forward(z - step, h)[0]) / 2e-5)
    jacobian = np.moveaxis(np.array(columns), (0, 1), (-1, -2))  # (..., L, L)
    return errors | {"log_det": relative_error(np.linalg.slogdet(jacobian)[1], log_det)}
