"""What a formula under cupy.fuse meets, for the double of CuPy: placeholders, and what they refuse.

tests/test_kernels.py has the real CuPy trace all formulas of the engine.
"""

import numpy as np

ARITHMETIC = {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide"}
ARITHMETIC |= {"floordiv": "floor_divide", "mod": "remainder", "pow": "power", "matmul": "matmul"}
ARITHMETIC |= {"and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"}
COMPARISONS = {"lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal"}
COMPARISONS |= {"eq": "equal", "ne": "not_equal"}
UNARY = {"neg": "negative", "abs": "absolute", "invert": "invert"}


class Placeholder:
    """What a formula gets in place of an array or a number: it has operators, and little else."""

    __slots__ = ("_value",)
    __array_ufunc__ = None  # so NumPy's functions refuse it, as they refuse CuPy's

    def __init__(self, value):
        self._value = value

    dtype = property(lambda self: np.result_type(self._value))
    ndim = property(lambda self: np.ndim(self._value))

    def __bool__(self):
        raise TypeError("Cannot convert to Python scalar in cupy.fuse: no branch on a value")

    def __setitem__(self, index, value):
        if index is not Ellipsis:
            raise ValueError("The fusion supports `[...]` or `[:]`.")
        self._value[...] = _value_of(value)


def run_fused(formula, values):
    """What the fused kernel returns: nothing, or new arrays as large as its loop."""
    result = formula(*map(Placeholder, values))
    shape = np.broadcast_shapes(*map(np.shape, values))

    def new(x):
        return np.array(np.broadcast_to(_value_of(x), shape), order="C")

    if isinstance(result, tuple):
        return tuple(map(new, result))
    return result if result is None else new(result)


def _value_of(x):
    """The value behind a placeholder; beside placeholders a formula may have Python's numbers."""
    if isinstance(x, Placeholder):
        return x._value
    if type(x) in (bool, int, float):
        return x
    raise TypeError(f"Unsupported type {type(x)} in a fused formula")


def trace(ufunc, args, kwargs):
    """A function of the namespace, called by a formula: no parameter but `out` is supported."""
    if kwargs.keys() - {"out"}:
        raise TypeError(f"Wrong arguments {kwargs}")
    out = kwargs.get("out")
    with np.errstate(all="ignore"):
        result = ufunc(*map(_value_of, args), out=None if out is None else _value_of(out))
    return Placeholder(result) if out is None else out


def give_operators(kind, namespace):
    """Have the operators of a class call the functions of the namespace, as CuPy's do."""

    def operator(name):
        return lambda self, *other: getattr(namespace, name)(self, *other)

    def reflected(name):
        return lambda self, other: getattr(namespace, name)(other, self)

    def in_place(name):
        return lambda self, other: getattr(namespace, name)(self, other, out=self)

    for symbol, name in ARITHMETIC.items():
        setattr(kind, f"__{symbol}__", operator(name))
        setattr(kind, f"__r{symbol}__", reflected(name))
        if name != "matmul":
            setattr(kind, f"__i{symbol}__", in_place(name))
    for symbol, name in (COMPARISONS | UNARY).items():
        setattr(kind, f"__{symbol}__", operator(name))
    kind.__hash__ = None
