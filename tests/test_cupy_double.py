"""The double of CuPy refuses what CuPy refuses, counts what costs, and computes what NumPy does."""

import json
import operator
import subprocess
import sys

import numpy as np
import pytest
from cupy_counts import counted
from cupy_double import NAMES, cupy
from cupy_names import FILE, names

from tinyvae.engine import cuda
from tinyvae.engine.backend import array_module, get_backend, to_host

HOST = np.arange(12, dtype=np.float32).reshape(3, 4) - 5


@pytest.fixture
def x():
    return cupy.asarray(HOST)


def test_the_list_is_that_of_the_real_cupy():
    real = pytest.importorskip("cupy")
    listed = json.loads(FILE.read_text("utf-8"))
    if listed["version"] != real.__version__:
        pytest.skip(f"the list is of CuPy {listed['version']}, here is {real.__version__}")
    assert names(real) == listed


@pytest.mark.parametrize("users, accelerators", [(None, "[]"), ("cub", "[1]")])
def test_the_real_cupy_has_no_cub_unless_the_user_chose(monkeypatch, users, accelerators):
    """In a process of its own, because CuPy reads the variable once."""
    pytest.importorskip("cupy")
    monkeypatch.delenv("CUPY_ACCELERATORS", raising=False)
    if users:
        monkeypatch.setenv("CUPY_ACCELERATORS", users)
    code = """from tinyvae import get_backend
from tinyvae.errors import UserError
try:
    get_backend("cupy")
except UserError:  # without a GPU, but CuPy is imported
    pass
import cupy
print(cupy._core.get_reduction_accelerators())"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == accelerators


def test_it_serves_as_the_backend_cupy(monkeypatch, x):
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert get_backend("cupy") is cupy
    assert (cupy.__name__, cupy.__version__) == ("cupy", NAMES["version"])
    assert array_module(x) is cupy and array_module(HOST) is np
    assert type(to_host(x)) is np.ndarray


# Refusals, in the order of an array's life.


def test_no_kind_of_number_that_a_device_lacks():
    for host in (np.array(["a"]), np.array([None]), np.zeros(2, np.longdouble)):
        with pytest.raises(ValueError, match="Unsupported dtype"):
            cupy.asarray(host)


@pytest.mark.parametrize("convert", [np.asarray, np.array, lambda x: np.array([x, x]), HOST.dot])
def test_no_implicit_way_to_the_host(x, convert):
    with pytest.raises(TypeError):
        convert(x)
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.asarray(x)
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.zeros((3, 4))[...] = x


@pytest.mark.parametrize(
    "function",
    [np.exp, np.sum, np.abs, lambda x: np.concatenate([x, x]), lambda x: np.add(x, x), np.ones_like]
    + [
        lambda x: np.add(x, 1),
        lambda x: np.add(x, np.float32(1), out=x),
        lambda x: np.add.reduce(x),
    ],
)
def test_no_numpy_function_of_a_device_array(x, function):
    with pytest.raises(TypeError, match=r"numpy\.\w+ of a device array"):
        function(x)


OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.gt]
OPERATORS += [operator.eq, operator.iadd, operator.imul]


@pytest.mark.parametrize("operate", [*OPERATORS, operator.matmul])
@pytest.mark.parametrize("host", [HOST, HOST[0, 0:1], np.array(2.0)], ids=["2", "1", "0"])
def test_no_array_of_the_host_beside_one_of_the_device(x, operate, host):
    for pair in ((x, host), (host.copy(), x)):
        if operate in (operator.gt, operator.eq) and pair[0].ndim == 0:
            continue  # NumPy makes such an array of its scalar, so CuPy has to take it
        with pytest.raises(TypeError, match="Unsupported type"):
            operate(*pair)


def test_no_array_of_the_host_in_a_function(x):
    for call in (
        lambda: cupy.exp(HOST),
        lambda: cupy.maximum(x, HOST),
        lambda: cupy.stack([x, HOST]),
        lambda: cupy.sum(HOST),
        lambda: x.dot(HOST.T),
        lambda: x + [1, 2, 3, 4],
        lambda: cupy.exp(x, out=HOST.copy()),
    ):
        with pytest.raises(TypeError, match="Unsupported type"):
            call()


@pytest.mark.parametrize("operate", OPERATORS)
def test_scalars_of_numpy_are_operands_as_in_numpy(x, operate):
    for scalar in (2, 2.0, np.float32(2), np.float64(2), np.int64(2)):
        for_host = operate(HOST.astype(np.float64), scalar)
        result = operate(cupy.asarray(HOST, dtype=np.float64), scalar)
        assert result.get().tobytes() == for_host.tobytes() and result.dtype == for_host.dtype
    for scalar in (np.float32(2), np.float64(2)):  # before the operator
        if operate not in (operator.iadd, operator.imul, operator.truediv):
            assert operate(scalar, x).tobytes() == operate(scalar, HOST).tobytes()
            assert operate(scalar, x).dtype == operate(scalar, HOST).dtype


@pytest.mark.parametrize(
    "name", ["errstate", "block", "insert", "einsum_path", "nditer", "vectorize", "Ellipsis", "np"]
)
def test_no_name_that_cupy_lacks(x, name):
    with pytest.raises(AttributeError, match=f"module 'cupy' has no attribute '{name}'"):
        getattr(cupy, name)
    with pytest.raises(AttributeError, match="no attribute 'setflags'"):
        x.setflags(write=False)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: cupy.exp(x, where=x > 0),
        lambda x: cupy.add(x, 1, order="C"),
        lambda x: cupy.sum(x, where=x > 0),
        lambda x: cupy.sum(x, initial=1.0),
        lambda x: x.sum(axis=0, initial=1.0),
        lambda x: x.max(where=x > 0),
        lambda x: cupy.mean(x, where=x > 0),
        lambda x: cupy.take(x, cupy.arange(2), 0, None, "clip"),
        lambda x: x.take(cupy.arange(2), mode="clip"),
        lambda x: cupy.einsum("ij,kj->ik", x, x, out=x),
        lambda x: cupy.tensordot(x, x, 2, out=x),
        lambda x: cupy.zeros((2, 3), like=x),
    ],
)
def test_no_argument_that_cupy_lacks(x, call):
    with pytest.raises(TypeError, match="unexpected keyword|too many positional|got an unexpected"):
        call(x)


def test_casting_is_limited_as_in_cupy(x):
    integers = cupy.arange(3)
    with pytest.raises(TypeError, match="same_kind"):
        integers += 0.5
    with pytest.raises(TypeError, match="safe"):
        cupy.add(x, cupy.ones(4), out=x, casting="safe")
    cupy.add(integers, 0.5, out=integers, casting="unsafe")
    assert integers.tolist() == [0, 1, 2]


def test_no_product_in_place():
    square = cupy.ones((2, 2))
    with pytest.raises(TypeError, match="a = a @ b"):
        square @= square


def test_clip_needs_both_bounds(x):
    with pytest.raises(TypeError, match="a_max"):
        cupy.clip(x, 0)
    np.testing.assert_array_equal(cupy.clip(x, -1, 1).get(), HOST.clip(-1, 1))


def test_what_is_not_written_is_not_a_number(x):
    for array in (cupy.empty(3), cupy.empty((2, 1), np.float32), cupy.empty_like(x)):
        assert np.isnan(array.get()).all()
    assert cupy.empty(3, dtype=np.uint8).dtype == np.uint8


def test_no_index_out_of_range(x):
    far = cupy.asarray([0, 3])
    for call in (lambda: x[far], lambda: x.take(far, axis=0), lambda: cupy.take(x, far, axis=0)):
        with pytest.raises(IndexError):
            call()
    with pytest.raises(IndexError):
        x[far] = 0
    with pytest.raises(IndexError):
        x[3]


def test_no_several_values_for_one_element(x):
    twice, across = cupy.asarray([0, 2, 0]), cupy.asarray([0, -3])
    for index, value in ((twice, cupy.ones((3, 4))), (across, cupy.ones((2, 4)))):
        with pytest.raises(ValueError, match="several values"):
            x[index] = value
    with pytest.raises(ValueError, match="several values"):
        x[twice] += cupy.ones((3, 4))
    with pytest.raises(ValueError, match="several values"):
        x[twice, twice] = cupy.ones(3)
    x[twice] = 7  # one value is the same in any order
    x[cupy.asarray([0, 2])] += cupy.ones((2, 4))
    assert x.get()[:, 0].tolist() == [8, -1, 8]


def test_an_array_of_the_host_is_no_value_for_a_slice(x):
    with pytest.raises(ValueError, match="host array"):
        x[:] = HOST
    with pytest.raises(ValueError, match="host array"):
        x[0] = [1, 2, 3, 4]
    x[:] = np.array(2.0)  # which CuPy reads as a number
    assert (x.get() == 2).all()


def test_arrays_are_neither_keys_nor_several_truths(x):
    with pytest.raises(TypeError, match="unhashable"):
        hash(x)
    with pytest.raises(ValueError, match="truth value"):
        bool(x)
    with pytest.raises(TypeError):
        float(x)


# What comes back.


def test_reductions_and_elements_stay_on_the_device(x):
    for result in (
        x.sum(),
        x.mean(),
        x.max(),
        cupy.sum(x),
        x[1, 2],
        x[1][2],
        x @ x.T @ x[:, 0] @ x[:, 0],
    ):
        assert isinstance(result, cupy.ndarray) and result.shape == ()
    element = x[1, 2]
    element += 10
    assert float(x[1, 2]) == HOST[1, 2] + 10


@pytest.mark.filterwarnings("error")
def test_a_device_does_not_warn(x):
    assert np.isinf((x / 0).get()[0, 0]) and np.isnan(cupy.log(x).get()[0, 0])


def test_what_is_written_into_is_returned_itself(x):
    y = z = x.copy()
    y += 1
    assert y is z and cupy.exp(x, out=z) is z and x.sum(axis=0, out=z[0]).shape == (4,)
    np.testing.assert_array_equal(z.get()[1:], np.exp(HOST)[1:])


def test_the_device_has_memory_of_its_own():
    host = HOST.copy()
    x = cupy.asarray(host)
    host[...] = 0
    back = x.get()
    np.testing.assert_array_equal(back, HOST)
    back[...] = 0
    np.testing.assert_array_equal(x.get(), HOST)


def test_numbers_are_numpys_bit_for_bit():
    host = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
    x = cupy.asarray(host)
    for function in (
        lambda xp, x: xp.exp(x[:, 1:]).sum(axis=0),
        lambda xp, x: 1 / (1 + xp.exp(-xp.abs(x.T))),
        lambda xp, x: (x[0] @ x[1].T).mean(axis=1, dtype=np.float64),
        lambda xp, x: xp.moveaxis(x, 0, -1).reshape(4, -1).var(axis=0),
        lambda xp, x: xp.concatenate([x, x * np.float32(2)], axis=1).take(xp.asarray([2, 0]), 1),
        lambda xp, x: xp.where(x > 0, x, xp.zeros_like(x))[:, xp.asarray([1, 3])],
    ):
        assert (
            function(cupy, x).get().tobytes() == np.ascontiguousarray(function(np, host)).tobytes()
        )


# Counts.


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda x: x + 1, "add"),
        (lambda x: 1 - x, "subtract"),
        (lambda x: -x, "negative"),
        (lambda x: x > 0, "greater"),
        (lambda x: x.__imul__(2), "multiply"),
        (lambda x: x @ x.T, "matmul"),
        (lambda x: cupy.matmul(x, x.T, out=cupy.empty((3, 3), np.float32)), "matmul"),
        (lambda x: x.sum(axis=0), "sum"),
        (lambda x: cupy.sum(x), "sum"),
        (lambda x: cupy.sum(x, axis=0, out=x[0]), "sum"),
        (lambda x: x.T.reshape(-1), "reshape"),
        (lambda x: x.T.ravel(), "ravel"),
        (lambda x: x.copy(), "copy"),
        (lambda x: x.astype(np.float64), "astype"),
        (lambda x: cupy.ascontiguousarray(x.T), "ascontiguousarray"),
        (lambda x: cupy.asarray(x, dtype=np.float64), "asarray"),
        (lambda x: cupy.asarray([x[0, 0], x[1, 1]]), "asarray"),
        (lambda x: cupy.zeros_like(x), "zeros_like"),
        (lambda x: cupy.arange(3), "arange"),
        (lambda x: x.take(cupy.empty(1, int) * 0, axis=0), "take"),
        (lambda x: x[cupy.empty(1, int) * 0], "getitem"),
        (lambda x: cupy.array_equal(x, x), "array_equal"),
        (lambda x: x.fill(3), "fill"),
        (lambda x: x.sort(), "sort"),
        (lambda x: x[:2].__setitem__(0, 3), "setitem"),
        (lambda x: x.__setitem__(slice(None, 2), x[1:]), "setitem"),
    ],
)
def test_what_launches_a_kernel_is_a_call(x, call, name):
    with counted() as counts:
        call(x)
    assert counts.names.pop(name) == 1
    assert counts.calls == (name in ("take", "getitem"))  # for the index that the case makes
    assert (counts.syncs, counts.uploads, counts.downloads) == (0, 0, 0)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.reshape(4, 3),
        lambda x: cupy.reshape(x, -1),
        lambda x: x.ravel(),
        lambda x: (x.T, x.shape, x.dtype, len(x), x.ndim, x.real),
        lambda x: (x.swapaxes(0, 1), x.transpose(), cupy.moveaxis(x, 0, -1)),
        lambda x: (x[0], x[1:, ::2], x[..., None], x[1, 2], x[np.int64(1)]),
        lambda x: (cupy.split(x, 3), cupy.array_split(x, 2, axis=1), list(x)),
        lambda x: (cupy.broadcast_to(x, (2, 3, 4)), x.squeeze(), cupy.expand_dims(x, 0)),
        lambda x: (cupy.ascontiguousarray(x), cupy.asarray(x), x.astype(np.float32, copy=False)),
        lambda x: (cupy.empty(3), cupy.empty_like(x), cupy.zeros(0), x[:0] + 1),
        lambda x: (cupy.result_type(x, x), cupy.float32, cupy.pi, cupy.ndim(x), +x),
    ],
)
def test_views_and_questions_are_free(x, call):
    with counted() as counts:
        call(x)
    assert counts.names == {}
    assert (counts.syncs, counts.uploads, counts.downloads) == (0, 0, 0)


def test_a_view_changed_in_place_is_one_call(x):
    with counted() as counts:
        x[1] += 1
        x[:, 1:] *= x[:, 1:]
    assert counts.names == {"add": 1, "multiply": 1}


@pytest.mark.parametrize(
    "call",
    [
        lambda x: float(x[0, 0]),
        lambda x: int(x[0, 0]),
        lambda x: bool(x[0, 0]),
        lambda x: complex(x[0, 0]),
        lambda x: x[0, 0].item(),
        lambda x: x.get(),
        lambda x: x.tolist(),
        lambda x: x.tobytes(),
        lambda x: repr(x),
        lambda x: str(x),
        lambda x: f"{x}",
        lambda x: x[x > 0],
        lambda x: x.__setitem__(x > 0, 1),
        lambda x: x.nonzero(),
        lambda x: cupy.nonzero(x),
        lambda x: cupy.where(x),
        lambda x: cupy.unique(x),
        lambda x: cupy.flatnonzero(x),
    ],
)
def test_what_waits_for_the_device_is_a_sync(x, call):
    with counted() as counts:
        call(x)
    assert counts.syncs == 1


def test_where_with_three_arguments_does_not_wait(x):
    with counted() as counts:
        cupy.where(x > 0, x, 0)
    assert counts.syncs == 0 and counts.names == {"greater": 1, "where": 1}


def test_copies_from_and_to_the_host(x):
    index = np.array([0, 2])
    with counted() as counts:
        cupy.asarray(HOST)
        cupy.array([1.0, 2.0])
        cupy.ascontiguousarray(HOST.T)
        cupy.asarray(3)
    assert (counts.uploads, counts.downloads, counts.calls, counts.syncs) == (4, 0, 0, 0)
    with counted() as counts:  # CuPy copies indices, and values for them, unasked
        x[index] = x[index]
        x[[0, 1]] = HOST[:2]
        x[cupy.arange(2)] = 0
    assert (counts.uploads, counts.downloads) == (5, 0)
    with counted() as counts:
        x.get()
    assert (counts.uploads, counts.downloads, counts.calls, counts.syncs) == (0, 1, 0, 1)


def test_counting_begins_anew_and_nests(x):
    x + x
    with counted() as outer:
        x + x
        with counted() as inner:
            x * x
        with pytest.raises(KeyError), counted():
            raise KeyError
    x + x
    assert outer.names == {"add": 1, "multiply": 1} and inner.names == {"multiply": 1}


def test_the_double_is_not_an_array_of_numpy(x):
    assert not isinstance(x, np.ndarray) and "_host" not in NAMES["methods"]


# Kernels


def test_a_fused_formula_is_one_call_and_makes_new_arrays_or_writes_into_given_ones(x):
    def formula(x, y):
        return x, cupy.exp(x) - cupy.clip(y, 0, 1)

    def in_place(x, y, out):
        out *= x
        cupy.add(out, y, out=out)

    y = cupy.ones((3, 1), dtype=np.float32)
    with counted() as counts:
        same, result = cupy.fuse(formula)(x, y)
    assert counts.names == {"formula": 1} and same is not x and same.tolist() == x.tolist()
    assert result.tolist() == (np.exp(HOST) - 1).tolist() and result.dtype == np.float32
    same[...] = 0
    np.testing.assert_array_equal(x.get(), HOST)
    assert cupy.fuse(in_place)(x, 0.5, x) is None
    np.testing.assert_array_equal(x.get(), HOST * HOST + 0.5)


def test_results_of_a_fused_formula_are_as_large_as_its_loop(x):
    whole, column = cupy.fuse(lambda x, y: (x, y))(x, x[:, :1])
    assert whole.shape == column.shape == (3, 4)


def test_one_fused_formula_calls_another(x):
    @cupy.fuse
    def inner(x):
        return x + 1

    def outer(x):
        return 2 * inner(x)

    with counted() as counts:
        assert cupy.fuse(outer)(x).tolist() == (2 * (HOST + 1)).tolist()
    assert counts.names == {"outer": 1}


@pytest.mark.parametrize(
    "formula",
    [
        lambda x: np.exp(x),
        lambda x: x + HOST,
        lambda x: x + cupy.asarray(HOST),
        lambda x: np.float32(2) * x,
        lambda x: x if x > 0 else -x,
        lambda x: float(x),
        lambda x: x.shape,
        lambda x: x[0],
        lambda x: x.__setitem__(0, 1),
        lambda x: x.reshape(-1),
        lambda x: x @ x,
        lambda x: cupy.concatenate([x, x]),
        lambda x: cupy.take(x, 0),
        lambda x: cupy.empty_like(x),
        lambda x: cupy.exp(x, dtype=np.float64),
    ],
)
def test_what_a_fused_formula_cannot_do(x, formula):
    with pytest.raises((TypeError, AttributeError, ValueError)):
        cupy.fuse(formula)(x)


def test_what_cannot_be_given_to_a_fused_formula(x):
    add = cupy.fuse(lambda x, y: x + y)
    for other in (HOST, np.float32(1), np.float64(1), [1.0]):
        with pytest.raises(TypeError, match="Invalid argument type"):
            add(x, other)
    with pytest.raises(TypeError):
        add(x, y=x)


def test_what_a_kernel_refuses(x):
    """An array of the host, or of another type."""
    kernel = cuda.gather(cupy)
    with pytest.raises(TypeError, match="Unsupported type"):
        kernel(HOST, *[1] * 11, x)
    with pytest.raises(TypeError, match="Type is mismatched"):
        kernel(x, *[1] * 11, cupy.ones((3, 4)))
