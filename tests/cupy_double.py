"""A double of CuPy for machines without a GPU: NumPy computes, CuPy's rules are kept and counted.

`cupy` stands for the module; what it has is listed in cupy_names.json, which cupy_names.py reads
off the real one. Its arrays refuse what CuPy refuses, and some things that CuPy lets pass although
they hide an error: a NumPy function of a device array, an index out of range (CuPy wraps around),
several values for one element (CuPy stores any of them), a number never written to (NaN here);
cupy_counts.py counts the calls, waits and copies.
"""

import ctypes
import inspect
import json
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cupy_counts
import cupy_graphs
import numpy as np
from cupy_counts import note_call
from cupy_fuse import COMPARISONS, Placeholder, give_operators, run_fused, trace
from cupy_graphs import arrays_in, execute, refuse_while_capturing, unwritten

from tinyvae.engine import convolution

NAMES = json.loads(Path(__file__).with_name("cupy_names.json").read_text("utf-8"))
UFUNC = "*args, out=0, dtype=0, casting=0"  # no where, no order, no subok
FROM_HOST = {"array", "asarray", "asanyarray", "ascontiguousarray", "asfortranarray"}
UNWRITTEN = {"empty", "empty_like"}
IN_PLACE = {"copyto", "fill", "partition", "put", "sort"}
# The size of their result depends on the numbers: the host has to wait for it.
WAITING = {"argwhere", "bincount", "compress", "extract", "flatnonzero", "nonzero", "unique"}
WAITING |= {"intersect1d", "setdiff1d", "setxor1d", "union1d", "unique_all", "unique_counts"}
TRUTHS = {"allclose", "array_equal", "array_equiv"}  # no answers of Python's, as in NumPy
FUSED = {*NAMES["ufuncs"], "clip"} - {"matmul"}  # what a fused formula may call
KINDS = "?bBhHiIlLqQefdFD"  # of numbers that a device has

CONVERSIONS = ("float", "int", "complex", "bool", "repr")


class ndarray:
    """An array on the device: only this file touches the NumPy array behind it."""

    __slots__ = ("_host",)

    def __init__(self, host):
        self._host = np.asarray(host)
        cupy_graphs.remember(self._host)
        if self._host.dtype.char not in KINDS:
            raise ValueError(f"Unsupported dtype {self._host.dtype}")

    def __getattr__(self, name):
        if name not in NAMES["methods"]:
            raise AttributeError(f"'cupy.ndarray' object has no attribute {name!r}")
        parameters = "self, " + NAMES["methods"][name]
        return lambda *args, **kwargs: _call(
            name, getattr(np.ndarray, name), parameters, (self, *args), kwargs
        )

    @property
    def data(self):
        return SimpleNamespace(ptr=self._host.__array_interface__["data"][0])

    def get(self):
        note("syncs", "downloads")
        return np.array(self._host, order="C")

    def __format__(self, spec):
        return format(self.get(), spec)

    def __array__(self, *_, **__):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    # NumPy's functions: CuPy would take them over.

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        if ufunc.__name__ in COMPARISONS.values():  # where NumPy makes arrays of its scalars
            inputs = [x[()] if isinstance(x, np.ndarray) else x for x in inputs]
        beside = [x for x in inputs if not isinstance(x, ndarray)]
        _to_host(beside)
        if method == "__call__" and any(isinstance(x, np.generic) for x in beside) and not kwargs:
            return getattr(cupy, ufunc.__name__)(*inputs)  # an operator after a NumPy scalar
        raise TypeError(_which_library(ufunc))

    def __array_function__(self, function, *_):
        raise TypeError(_which_library(function))

    # Containers.

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    def __getitem__(self, index):
        index, gathers = _on_host(index)
        if gathers:
            note_call("getitem")
        return ndarray(execute(np.ndarray.__getitem__, (self._host, index)))

    def __setitem__(self, index, value):
        index, scatters = _on_host(index)
        if isinstance(value, ndarray):
            value = value._host
        elif scatters:  # CuPy copies it to the device unasked, even a number
            note("uploads")
        elif np.ndim(value):
            raise ValueError("a host array cannot be assigned: make it one of the device")
        if scatters and np.size(value) > 1:
            places = np.arange(self.size).reshape(self.shape)[index]
            if len(np.unique(places)) < places.size:
                raise ValueError("several values for one element: which is stored is undefined")
        if not (isinstance(value, np.ndarray) and _same(self._host[index], value)):
            note_call("setitem")  # else the end of x[index] += y, already done
            execute(np.ndarray.__setitem__, (self._host, index, value), writes=True)

    # Arithmetic.

    def __pos__(self):
        return self

    def __imatmul__(self, other):
        raise TypeError("a @= b makes a new array: write a = a @ b")


def _property(name):
    return property(lambda self: getattr(self._host, name))


def _of_host(name):
    return lambda self: getattr(self.get(), name)()


def _view(name):
    return property(lambda self: ndarray(getattr(self._host, name)))


for name in ("shape", "ndim", "size", "dtype", "itemsize", "nbytes", "strides", "flags"):
    setattr(ndarray, name, _property(name))
for name in ("item", "tolist", "tobytes", *(f"__{x}__" for x in CONVERSIONS)):
    setattr(ndarray, name, _of_host(name))
for name in ("T", "real", "imag"):
    setattr(ndarray, name, _view(name))


class Namespace(ModuleType):
    """The module: its names, and no others, computed by NumPy."""

    def __getattr__(self, name):
        if name in NAMES["same"]:
            return getattr(np, name)
        if name in NAMES["ufuncs"]:
            parameters = UFUNC
        elif name in NAMES["functions"]:
            parameters = NAMES["functions"][name]
        else:
            raise AttributeError(f"module 'cupy' has no attribute {name!r}")

        def function(*args, **kwargs):
            if any(isinstance(x, Placeholder) for x in args):
                if name not in FUSED:
                    raise TypeError(f"cupy.{name} is not supported in a fused formula")
                return trace(getattr(np, name), args, kwargs)
            return _call(name, getattr(np, name), parameters, args, kwargs)

        return function


class CUDARuntimeError(RuntimeError):
    """As CuPy raises it where there is no driver or device."""


class Fusion:
    """A formula fused by cupy.fuse: a single call."""

    def __init__(self, formula):
        self.formula = formula

    def __call__(self, *args):
        if any(isinstance(x, Placeholder) for x in args):  # one fused formula in another
            return self.formula(*args)
        for x in args:
            if type(x) not in (ndarray, bool, int, float):  # NumPy's numbers would count as float64
                raise TypeError(f"Invalid argument type for {self.formula.__name__!r}: {type(x)}")
        note_call(self.formula.__name__.strip("_"))
        return _to_device(execute(run_fused, (self.formula, _to_host(args)), writes=True))


class ElementwiseKernel:
    """A kernel of tinyvae.engine.cuda: the function that it stands for, as a single call.

    tests/test_kernels.py tells whether the operation in CUDA C++ computes the same.
    """

    def __init__(self, inputs, outputs, operation, name):
        self.name = name
        self.function = getattr(convolution, f"_{name}").__wrapped__

    def __call__(self, source, *integers_and_result):
        *integers, result = integers_and_result
        if not (isinstance(source, ndarray) and isinstance(result, ndarray)):
            raise TypeError(f"Unsupported type {type(source)} or {type(result)}")
        if source.dtype != result.dtype:
            raise TypeError(f"Type is mismatched: {source.dtype} and {result.dtype}")
        assert all(type(x) is int for x in integers)
        note_call(self.name)
        execute(self.function, (_to_host(source), *integers, _to_host(result)), writes=True)


cupy = Namespace("cupy", __doc__)
cupy.ElementwiseKernel = ElementwiseKernel
cupy.fuse = Fusion
for kind in (ndarray, Placeholder):
    give_operators(kind, cupy)
    kind.__module__ = "cupy"
cupy.__version__ = NAMES["version"]
cupy.ndarray = ndarray
cupy.cuda = SimpleNamespace(
    runtime=SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        getDeviceCount=lambda: 1,
        getDevice=lambda: 0,
        setDevice=lambda device: None,
        getDeviceProperties=lambda device: {"name": b"Double of a GPU"},
    ),
    **{name: getattr(cupy_graphs, name) for name in (*NAMES["cuda"], "cublas")},
)


def install(monkeypatch):
    """Have `import cupy` give the double, and ctypes its cuBLAS."""
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(ctypes, "CDLL", cupy_graphs.open_library)
    return cupy


def note(*kinds):
    """Count one more of each: "syncs", "uploads", "downloads". None of them can be captured."""
    refuse_while_capturing()
    cupy_counts.note(*kinds)


def _call(name, compute, parameters, args, kwargs):
    """compute(*args, **kwargs) by NumPy: arguments that CuPy lacks are refused, calls counted."""
    given = _signature(parameters).bind(*args, **kwargs).arguments
    if name in FROM_HOST and not list(arrays_in(args[0], ndarray)):
        note("uploads")
        return ndarray(np.array(compute(*args, **kwargs)))  # a copy, always
    if parameters == UFUNC and any(isinstance(x, list | tuple) for x in args):
        raise TypeError(f"Unsupported type: {name} of a list")
    if name in cupy_graphs.PRODUCTS:
        refuse_while_capturing("calling cuBLAS API during stream capture is currently unsupported")
    if name in WAITING or (name == "where" and len(args) == 1):
        note("syncs")
    out = given.get("out")
    args, kwargs = _to_host(args), _to_host(kwargs)
    run = compute
    if name in TRUTHS:
        run = lambda *args, **kwargs: np.bool_(compute(*args, **kwargs))  # noqa: E731
    if name in UNWRITTEN:
        run = lambda *args, **kwargs: unwritten(compute(*args, **kwargs))  # noqa: E731
    writes = out is not None or name in IN_PLACE
    with np.errstate(all="ignore"):  # a device has no floating point warnings
        result = execute(run, args, kwargs, writes)
    if name in UNWRITTEN:
        pass
    elif out is not None or _is_new(result, (args, kwargs)):
        note_call(name)
    return _to_device(result) if out is None else out


@lru_cache
def _signature(parameters):
    return inspect.signature(eval(f"lambda {parameters}: None"))


def _is_new(result, inputs):
    """Whether something was computed: the result is no view of an input, or an input changed."""
    if result is None:
        return True
    return any(
        array.size and not any(np.may_share_memory(array, x) for x in arrays_in(inputs))
        for array in arrays_in(result, np.ndarray | np.generic)
    )


def _to_host(value):
    """What NumPy is to compute with; arrays of the host are refused, its scalars are not."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}: it is on the host, make it xp.asarray")
    if isinstance(value, dict):
        return {key: _to_host(item) for key, item in value.items()}
    return type(value)(map(_to_host, value)) if isinstance(value, list | tuple) else value


def _to_device(result):
    """What NumPy returned, numbers as arrays without axes."""
    if isinstance(result, np.ndarray | np.generic):
        return ndarray(result)
    return type(result)(map(_to_device, result)) if isinstance(result, list | tuple) else result


def _on_host(index):
    """The index for NumPy, which then gives a view if it can; and whether CuPy runs a kernel."""
    items, gathers = [], False
    for item in index if isinstance(index, tuple) else (index,):
        if isinstance(item, list | np.ndarray):  # CuPy copies them to the device unasked
            note("uploads")
            item = ndarray(np.asarray(item))
        if isinstance(item, ndarray):
            gathers, item = True, item._host
            if item.dtype == bool:  # CuPy counts how many are true
                note("syncs")
        items.append(item)
    if not any(item is Ellipsis for item in items):
        items.append(Ellipsis)  # so that a single element, too, is a view
    return tuple(items), gathers


def _same(a, b):
    """Whether a and b are the same numbers in the same places."""
    where = [(x.__array_interface__["data"][0], x.shape, x.strides) for x in (a, b)]
    return where[0] == where[1]


def _which_library(function):
    return f"numpy.{function.__name__} of a device array hides where it runs: call xp's"
