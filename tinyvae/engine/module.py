"""What has parameters: `Parameter`, an array of weights; `Module`, which finds them; `Layer`.

All parameters of a model lie one after the other in one vector, `theta`, and their gradients in a
second vector, `grad`. The `value` and the `grad` of a parameter are views into these two vectors.
So an optimizer is a few lines on vectors, a check of a whole model's gradient moves theta along
one direction, and threads add their gradients in one sum. A parameter outside theta would never
train. Therefore assignments write into the views, and what would leave theta raises an error.
"""

import copy
from collections.abc import Mapping
from operator import attrgetter

import numpy as np

from tinyvae.engine.backend import array_module, to_host


def _written_in_place(name):
    """A property for the array in attribute `name`: assigning to it writes into that array."""

    def write(self, new):
        array = getattr(self, name)
        new = array_module(array).asarray(new)
        if new.shape != array.shape:
            raise ValueError(
                f"{type(self).__name__}.{name[1:]}: expected an array of shape {array.shape}, "
                f"got {new.shape}"
            )
        if new is not array:  # `theta -= change` has already written into it
            array[...] = new

    about = "The array itself; assigning writes into it, and raises ValueError for another shape."
    return property(attrgetter(name), write, doc=about)


class Parameter:
    """An array of weights and the gradient of the loss with respect to it, of the same shape.

    Raises ValueError for an array that holds no floats.

    trained=False: no optimizer changes it. The model changes it itself, in `after_step`. Its `grad`
    holds what the model needs for that: any sum over the examples of the batch.
    """

    value, grad = _written_in_place("_value"), _written_in_place("_grad")

    def __init__(self, value, trained=True):
        xp, self.trained = array_module(value), trained
        self._value = xp.array(value, order="C")
        self._grad = xp.zeros_like(self._value)
        self.theta = self.start = None  # the vector that value is a view into, and from where on
        if self._value.dtype.kind != "f":
            raise ValueError(f"a Parameter holds floats, got {self._value.dtype}")

    def bind(self, theta, grad, start):
        """Make value and grad views into the two vectors, from `start` on; return where they end.

        Afterwards value and grad show what the vectors hold; the old numbers are not copied.
        """
        shape, stop = self.value.shape, start + self.value.size
        self._value = theta[start:stop].reshape(shape)
        self._grad = grad[start:stop].reshape(shape)
        self.theta, self.start = theta, start
        return stop

    def __getstate__(self):  # for copy and pickle: a copy is in no vector yet
        return vars(self) | {"theta": None}


class Module:
    """Anything with parameters: layers, networks, likelihoods, models.

    Parameters and other modules are found in its attributes, also in lists, tuples and dicts.
    The first `trained_size` numbers of theta and grad belong to parameters that are trained by an
    optimizer.
    """

    theta, grad = _written_in_place("_theta"), _written_in_place("_grad")

    def named_children(self):
        """(name, Parameter or Module) in the order of definition."""
        return _named_children(vars(self).items())

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

    def to(self, xp=np, dtype=None):
        """Gather values and gradients in new vectors `theta` and `grad` made by xp; return self.

        xp: numpy or cupy; dtype: of the vectors (default: theta's, at first float32). Call `to` on
        the whole model, and before its optimizer and its replicas are made: they would keep the old
        vectors. Raises ValueError for a dtype that is no float, if a layer or a parameter is found
        twice, or if a parameter lies in the theta of another model.
        """
        self._require_own_parameters()
        dtype = np.dtype(dtype or (self.theta.dtype if self.gathered else np.float32))
        if dtype.kind != "f":
            raise ValueError(f"{type(self).__name__}.to: expected a dtype of floats, got {dtype}")
        for _, module in self.named_modules():  # only the top module keeps vectors
            for name in ("_theta", "_grad", "trained_size"):
                vars(module).pop(name, None)

        def joined(arrays):
            host = [to_host(array).ravel() for array in arrays]
            return xp.asarray(np.concatenate([np.zeros(0, dtype), *host]), dtype=dtype)

        parameters = self._in_order()
        return self._bind(joined(p.value for p in parameters), joined(p.grad for p in parameters))

    @property
    def gathered(self):
        """Whether this module has the vectors `theta` and `grad`."""
        return "_theta" in vars(self)

    def require_parameters_in(self, theta):
        """Raise ValueError unless each parameter of this module is a view of its own into theta."""
        parameters = [*_parameters(self)]
        if len(set(map(id, parameters))) < len(parameters):
            self._require_own_parameters()  # raises
        if any(parameter.theta is not theta for parameter in parameters):
            name = next(n for n, p in self.named_parameters() if p.theta is not theta)
            raise ValueError(
                f"{type(self).__name__}: the parameter {name} is not in the vector being trained: "
                "it was put in, or `to` was called, after the optimizer or replica was made; call "
                "`to` on the model and make a new optimizer"
            )
        changed = sum(parameter.value.size for parameter in parameters) != theta.size
        if changed or any(p.trained != (p.start < self.trained_size) for p in parameters):
            raise ValueError(
                f"{type(self).__name__}: a parameter was taken out, or its `trained` was changed, "
                "after `to`; call `to` on the model and make a new optimizer"
            )

    def replica(self):
        """A copy that shares `theta` with this module and has a `grad` of its own."""
        self.require_parameters_in(self.theta)
        copied = copy.deepcopy(self)
        copied._theta, pairs = self.theta, zip(_parameters(self), _parameters(copied), strict=True)
        for own, parameter in pairs:  # layers may have changed places since `to`
            parameter.bind(self.theta, copied.grad, own.start)
        return copied

    def _bind(self, theta, grad):
        self._theta, self._grad, self.trained_size, start = theta, grad, 0, 0
        for parameter in self._in_order():
            start = parameter.bind(theta, grad, start)
            self.trained_size = start if parameter.trained else self.trained_size
        return self

    def _in_order(self):
        """The parameters as they lie in theta: as they were defined, but the trained ones first."""
        return sorted((p for _, p in self.named_parameters()), key=lambda p: not p.trained)

    def _require_own_parameters(self):
        """Raise ValueError if a layer or parameter is found twice, or belongs to another model."""
        modules, parameters = list(self.named_modules()), list(self.named_parameters())
        first, names = {}, set()
        for name, part in modules + parameters:
            if name in names:
                raise ValueError(f"{type(self).__name__}: two parts are called {name}; rename one")
            names.add(name)
            if id(part) in first and isinstance(part, Layer | Parameter):
                raise ValueError(
                    f"{type(self).__name__}: {first[id(part)]} and {name} are the same "
                    f"{type(part).__name__}, and one backward would overwrite the gradient of the "
                    "other; use two objects, for example a copy.deepcopy"
                )
            first[id(part)] = name
        inside = [module.theta for module in (self, *dict(modules).values()) if module.gathered]
        for name, parameter in parameters:
            if parameter.theta is not None and all(parameter.theta is not own for own in inside):
                raise ValueError(
                    f"{type(self).__name__}: the parameter {name} belongs to another model, which "
                    "would lose it; call `to` on that whole model, or take a copy.deepcopy of the "
                    "part first"
                )

    def __getstate__(self):
        """For copy and pickle: the parameters keep the numbers, the vectors stay behind."""
        state = vars(self).copy()
        if self.gathered:
            state |= {"_theta": self.theta[:0], "_grad": None}  # an empty array of the same dtype
        return state

    def __setstate__(self, state):
        vars(self).update(state)
        if self.gathered:
            self.to(array_module(self.theta), self.theta.dtype)

    def state_dict(self):
        """Copies of all parameters on the host: {name: array}, PyTorch's names and shapes."""
        return {name: to_host(p.value).copy() for name, p in self.named_parameters()}

    def load_state_dict(self, state):
        """Write the arrays (or PyTorch tensors) of `state` into the parameters.

        Raises ValueError, and writes nothing, if a name is missing or left over, a shape differs,
        or a value is no array of real numbers.
        """
        if not isinstance(state, Mapping):
            got = type(state).__name__
            raise ValueError(f"state_dict must be a dict {{name: array}}, got {got}")
        parameters = dict(self.named_parameters())
        if parameters.keys() != state.keys():
            missing = sorted(parameters.keys() - state.keys())
            unexpected = sorted(state.keys() - parameters.keys())
            raise ValueError(f"state_dict: missing {missing}, unexpected {unexpected}")
        arrays = {name: _as_numbers(name, array) for name, array in state.items()}
        for name, parameter in parameters.items():
            expected, got = parameter.value.shape, arrays[name].shape
            if expected != got:
                raise ValueError(f"state_dict: {name} must have shape {expected}, got {got}")
        for name, parameter in parameters.items():
            parameter.value = arrays[name]


def _as_numbers(name, array):
    if hasattr(array, "detach"):  # a PyTorch tensor: it may need a gradient, or be bfloat16
        array = array.detach().cpu().double().numpy()
    array = np.asarray(array)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"state_dict: {name} must be an array of real numbers, got {array.dtype}")
    return array


def _named_children(items, prefix=""):
    for name, child in items:
        if isinstance(child, Parameter | Module):
            yield f"{prefix}{name}", child
        elif isinstance(child, dict):
            yield from _named_children(child.items(), f"{prefix}{name}.")
        elif isinstance(child, list | tuple):
            yield from _named_children(enumerate(child), f"{prefix}{name}.")


def _parameters(module):
    """All parameters of a module, faster than named_parameters: every training step asks."""
    stack = [module]
    while stack:
        value = stack.pop()
        if isinstance(value, Parameter):
            yield value
        elif isinstance(value, Module):
            stack += vars(value).values()
        elif isinstance(value, dict):
            stack += value.values()
        elif isinstance(value, (list, tuple)):
            stack += value


class Layer(Module):
    """y = layer.forward(x), then once dx = layer.backward(dy), with dy = dLoss/dy."""

    def forward(self, x):
        """x (..., N) -> y (..., N); keeps what backward needs.

        Raises ValueError for an x of a shape that does not fit the layer, and TypeError for another
        dtype than that of the weights.
        """
        raise NotImplementedError

    def backward(self, dy):
        """dy, of y's shape -> dx, of x's shape; sets the gradients of the layer's parameters.

        Raises ValueError for a dy of another shape, and RuntimeError unless forward was called
        before, once for every backward.
        """
        raise NotImplementedError

    def _consume(self, name):
        """What forward stored under this name. Each backward uses up one forward."""
        if name not in vars(self):
            raise RuntimeError(
                f"{type(self).__name__}.backward: call forward first, once for every backward"
            )
        return vars(self).pop(name)

    def _require_input(self, x, axes, features):
        """Refuse an x without these axes, `features` along the first, and the weights' dtype."""
        if x.ndim != len(axes) or x.shape[0] != features:
            raise ValueError(
                f"{type(self).__name__}: expected input ({', '.join(axes)}) with {axes[0]} = "
                f"{features}, got shape {x.shape}"
            )
        if x.dtype != self.weight.value.dtype:
            raise TypeError(
                f"{type(self).__name__}: the weights are {self.weight.value.dtype}, the input is "
                f"{x.dtype}; convert the input with astype, or the model with `to`"
            )

    def _require_gradient(self, dy, shape):
        if dy.shape != shape:
            raise ValueError(
                f"{type(self).__name__}.backward: dy must have the output's shape {shape}, "
                f"got {dy.shape}"
            )
