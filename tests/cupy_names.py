"""What CuPy's namespace and arrays have, and with which parameters: written to cupy_names.json.

python tests/cupy_names.py   # where CuPy is installed; it needs neither a driver nor a GPU
"""

import inspect
import json
import re
from pathlib import Path

import numpy as np

# Of cupy.cuda: classes and functions. (Its module cublas cannot be seen without NVIDIA's library.)
CUDA = ("Stream", "Graph", "MemoryPool", "get_current_stream", "using_allocator")
FILE = Path(__file__).with_suffix(".json")
# Where the signature says **kwargs, and the source which of them are taken.
TAKEN = {"einsum": "*operands, dtype=0, optimize=0"}


def names(cupy):
    """The public names by kind; functions and methods with their parameters.

    "same" are objects that NumPy made. Parameters are written as a function would declare them
    whose defaults are all 0: "a, axis=0, *, out=0". Classes and submodules are left out.
    """
    kinds = {"version": cupy.__version__, "same": [], "ufuncs": [], "functions": {}}
    for name, value in _public(cupy):
        if value is getattr(np, name, None):
            kinds["same"].append(name)
        elif isinstance(value, cupy.ufunc | type(cupy.matmul)):
            kinds["ufuncs"].append(name)
        elif callable(value) and not isinstance(value, type):
            kinds["functions"][name] = TAKEN.get(name) or _parameters(value)
    kinds["cuda"] = {}
    for name in CUDA:
        owner = getattr(cupy.cuda, name)
        kinds["cuda"][name] = (
            _parameters(owner)
            if inspect.isroutine(owner)
            else {member: _parameters(value) for member, value in _public(owner) if callable(value)}
        )
    methods = {name: value for name, value in _public(cupy.ndarray) if callable(value)}
    return kinds | {"methods": {name: _parameters(method) for name, method in methods.items()}}


def _public(owner):
    return [(name, getattr(owner, name)) for name in dir(owner) if not name.startswith("_")]


def _parameters(function):
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # compiled, but documented: "_ndarray_base.clip(self, min=None, int max=0)"
        declared = re.match(r"[\w.]+\((.*?)\)", function.__doc__)[1]
        declared = re.sub(r"(?:[\w.]+ )*(\*{0,2}\w+)(=[^,]+)?", _without_type, declared)
        parameters = inspect.signature(eval(f"lambda {declared}: None")).parameters.values()
    return str(inspect.Signature([_bare(p) for p in parameters if p.name != "self"]))[1:-1]


def _without_type(declared):
    name, default = declared.groups()
    return f"{name}=0" if default else name


def _bare(parameter):
    default = parameter.empty if parameter.default is parameter.empty else 0
    return parameter.replace(default=default, annotation=parameter.empty)


if __name__ == "__main__":
    import cupy

    FILE.write_text(json.dumps(names(cupy), indent=1) + "\n", "utf-8")
