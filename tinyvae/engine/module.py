"""What has parameters: `Parameter`; `Module`, which finds, names, gathers and saves them; `Layer`.

All parameters of a model lie in one vector `theta`, their gradients in one vector `grad`; the
`value` and `grad` of a parameter are views into them. So an optimizer is arithmetic on vectors.
"""

import copy

import numpy as np

from tinyvae.engine.backend import array_module, to_host


class Parameter:
    """An array of weights and the gradient of the loss with respect to it, of the same shape."""

    def __init__(self, value):
        self.value = value
        self.grad = np.zeros_like(value)


class Module:
    """Anything with parameters: layers, networks, likelihoods, models."""

    def named_children(self):
        """(name, Parameter or Module) in the order of definition."""
        for name, child in vars(self).items():
            if isinstance(child, Parameter | Module):
                yield name, child

    def named_parameters(self, prefix=""):
        """(name, Parameter) of this module and all below it, named as in "encoder.mu.weight"."""
        for name, child in self.named_children():
            if isinstance(child, Parameter):
                yield prefix + name, child
            else:
                yield from child.named_parameters(f"{prefix}{name}.")

    def named_modules(self, prefix=""):
        """(name, Module) of all modules below this one, each after what it contains."""
        for name, child in self.named_children():
            if isinstance(child, Module):
                yield from child.named_modules(f"{prefix}{name}.")
                yield prefix + name, child

    def to(self, xp=np, dtype=np.float32):
        """Gather the parameters into new vectors `theta` and `grad` made by xp, and return self.

        xp: numpy or cupy. For a whole model, before its optimizer and replicas are made: a part
        would get vectors of its own, and leave the model's. Write into the views, do not rebind.
        """
        host = [to_host(parameter.value).ravel() for _, parameter in self.named_parameters()]
        theta = xp.asarray(np.concatenate([np.zeros(0, dtype), *host]), dtype=dtype)
        return self._bind(theta)

    def replica(self):
        """A copy that shares `theta` with this module and has a `grad` of its own."""
        return copy.deepcopy(self)._bind(self.theta)

    def _bind(self, theta):
        """Make the parameters views into theta, and their gradients views into a new `grad`."""
        self.theta, self.grad = theta, array_module(theta).zeros_like(theta)
        start = 0
        for _, parameter in self.named_parameters():
            stop, shape = start + parameter.value.size, parameter.value.shape
            parameter.value = self.theta[start:stop].reshape(shape)
            parameter.grad = self.grad[start:stop].reshape(shape)
            start = stop
        return self

    def state_dict(self):
        """Copies of all parameters on the host: {name: array}, PyTorch's names and shapes."""
        return {name: to_host(p.value).copy() for name, p in self.named_parameters()}

    def load_state_dict(self, state):
        """Write the arrays (or CPU tensors) of `state` into the parameters.

        Raises ValueError, and writes nothing, if a name is missing or left over or a shape differs.
        """
        parameters = dict(self.named_parameters())
        if parameters.keys() != state.keys():
            missing = sorted(parameters.keys() - state.keys())
            unexpected = sorted(state.keys() - parameters.keys())
            raise ValueError(f"state_dict: missing {missing}, unexpected {unexpected}")
        dtypes = {name: parameter.value.dtype for name, parameter in parameters.items()}
        arrays = {name: np.asarray(array, dtype=dtypes[name]) for name, array in state.items()}
        for name, parameter in parameters.items():
            expected, got = parameter.value.shape, arrays[name].shape
            if expected != got:
                raise ValueError(f"state_dict: {name} must have shape {expected}, got {got}")
        for name, parameter in parameters.items():
            parameter.value[...] = array_module(parameter.value).asarray(arrays[name])


class Layer(Module):
    """y = layer.forward(x), then once dx = layer.backward(dy), with dy = dLoss/dy."""

    def forward(self, x):
        raise NotImplementedError

    def backward(self, dy):
        raise NotImplementedError

    def _consume(self, name):
        """What forward kept under this name: each backward uses up one forward."""
        if name not in vars(self):
            raise RuntimeError(
                f"{type(self).__name__}.backward: call forward first, once for every backward"
            )
        return vars(self).pop(name)

    def _require(self, x, expected, features):
        """Refuse an x that has not `features` rows (channels) and the axes of `expected`."""
        if x.ndim != len(expected) or x.shape[0] != features:
            axes = ", ".join(expected)
            raise ValueError(
                f"{type(self).__name__}: expected input ({axes}) with {expected[0]} = {features}, "
                f"got shape {x.shape}"
            )
