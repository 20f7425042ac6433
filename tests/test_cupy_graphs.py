"""Streams, graphs and cuBLAS of the double: what is captured happens in replays, and only there."""

import ctypes
import inspect

import cupy_double
import cupy_graphs
import numpy as np
import pytest
from cupy_counts import counted
from cupy_double import NAMES, cupy

FLOAT = np.float32


@pytest.fixture(autouse=True)
def double(monkeypatch):
    return cupy_double.install(monkeypatch)


def captured(step):
    stream, pool = cupy.cuda.Stream(non_blocking=True), cupy.cuda.MemoryPool()
    with stream, cupy.cuda.using_allocator(pool.malloc):
        stream.begin_capture()
        try:
            step()
        finally:
            graph = stream.end_capture()
    return graph


@pytest.mark.parametrize("kind", ["Stream", "Graph", "MemoryPool"])
def test_it_has_no_method_and_no_argument_that_cupy_lacks(kind):
    owner, listed = getattr(cupy.cuda, kind), NAMES["cuda"][kind]
    mine = [n for n in vars(owner) if n[0] != "_" and callable(getattr(owner, n))]
    assert mine
    for name in mine:
        parameters = list(inspect.signature(getattr(owner, name)).parameters)
        expected = [item.split("=")[0] for item in listed[name].split(", ") if item]
        assert [p for p in parameters if p != "self"] == expected


def test_what_is_captured_is_done_by_a_replay_with_the_numbers_of_then():
    x, y, number = cupy.ones(3), cupy.zeros(3), 2.0

    def step():
        nonlocal z
        z = x * number
        z += 1
        y[...] = z
        y[cupy.arange(1)] = x[:1]

    z = None
    graph = captured(step)
    assert np.isnan(z.get()).all() and (y.get() == 0).all()
    number = 100.0
    for value in (1.0, 5.0):
        x.fill(value)
        with counted() as counts:
            graph.launch()
        assert counts.names == {"graph": 1}
        assert y.get().tolist() == [value, 2 * value + 1, 2 * value + 1]


def test_what_is_changed_in_place_is_changed_once_a_replay():
    x = cupy.ones(2)

    def step():
        nonlocal x
        x += 1
        x *= 2

    graph = captured(step)
    assert x.tolist() == [1, 1]
    for expected in (4, 10):
        graph.launch()
        assert x.tolist() == [expected, expected]


def test_memory_that_was_not_written_to_is_not_a_number_in_a_replay_either():
    kept = []
    graph = captured(lambda: kept.append(cupy.empty(2)))
    kept[0].fill(1)
    graph.launch()
    assert np.isnan(kept[0].get()).all()


X = cupy.ones((2, 2))


@pytest.mark.parametrize(
    "step, error, words",
    [
        (lambda: X.get(), RuntimeError, "not permitted when stream is capturing"),
        (lambda: float(X[0, 0]), RuntimeError, "not permitted"),
        (lambda: bool(X.sum() > 1), RuntimeError, "not permitted"),
        (lambda: X[X > 0], RuntimeError, "not permitted"),
        (lambda: cupy.nonzero(X), RuntimeError, "not permitted"),
        (lambda: cupy.asarray(np.ones(2)), RuntimeError, "not permitted"),
        (lambda: X[[0]], RuntimeError, "not permitted"),
        (lambda: cupy.cuda.get_current_stream().synchronize(), RuntimeError, "not permitted"),
        (lambda: X @ X, RuntimeError, "calling cuBLAS API"),
        (lambda: cupy.einsum("ij->i", X), RuntimeError, "calling cuBLAS API"),
        (lambda: _on_another_stream(), AssertionError, "another stream"),
        (lambda: _from_the_default_pool(), AssertionError, "default pool"),
    ],
)
def test_what_cannot_be_captured(step, error, words):
    with pytest.raises(error, match=words):
        captured(step)
    assert (X + 1).get().tolist() == [[2, 2], [2, 2]]  # capturing has ended


def _on_another_stream():
    with cupy.cuda.Stream():
        X + 1


def _from_the_default_pool():
    allocators = cupy_graphs._allocators[:]
    cupy_graphs._allocators.clear()
    try:
        X + 1
    finally:
        cupy_graphs._allocators.extend(allocators)


def test_the_default_stream_cannot_capture():
    with pytest.raises(RuntimeError, match="default"):
        cupy.cuda.Stream(null=True).begin_capture()


# cuBLAS


@pytest.fixture
def gemm():
    """cublasSgemm_v2 with its types, and a handle that is ready, inside its stream."""
    library = ctypes.CDLL(cupy.cuda.cublas.__file__)
    handle, place = cupy.cuda.cublas.create(), cupy.empty(1 << 20, dtype=np.uint8)
    with cupy.cuda.Stream() as stream:
        pointer, number = ctypes.c_void_p, ctypes.c_int
        library.cublasSetStream_v2(handle, pointer(stream.ptr))
        library.cublasSetWorkspace_v2(handle, pointer(place.data.ptr), ctypes.c_size_t(1 << 20))
        library.cublasSgemm_v2.argtypes = (
            [pointer, *[number] * 5, pointer, pointer, number]
            + [pointer, number, pointer, pointer, number]
        )  # fmt: skip

        def call(*arguments):
            return library.cublasSgemm_v2(handle, *arguments)

        call.library, call.handle, call.stream = library, handle, stream
        yield call


def arguments():
    """Of a product (3, 2) (2, 4), by columns."""
    a, b, c = (cupy.ones(shape, dtype=FLOAT) for shape in ((2, 3), (4, 2), (4, 3)))
    one, zero = ctypes.byref(ctypes.c_float(1)), ctypes.byref(ctypes.c_float(0))
    return [0, 0, 3, 4, 2, one, a.data.ptr, 3, b.data.ptr, 2, zero, c.data.ptr, 3], (a, b, c)


def test_a_product_by_columns(gemm):
    given, (a, b, c) = arguments()
    a[...], b[...] = cupy.arange(6).reshape(2, 3), cupy.arange(8).reshape(4, 2)
    assert gemm(*given) == 0
    np.testing.assert_array_equal(c.get(), b.get() @ a.get())


@pytest.mark.parametrize("place, wrong", [(7, 2), (9, 1), (12, 2)], ids=["lda", "ldb", "ldc"])
def test_a_leading_dimension_that_is_too_small(gemm, place, wrong):
    given, _arrays = arguments()
    given[place] = wrong
    with pytest.raises(AssertionError):
        gemm(*given)


@pytest.mark.parametrize("place", [6, 8, 11])
def test_a_pointer_to_no_array_or_beyond_one(gemm, place):
    for offset in (1 << 45, 8):
        given, _arrays = arguments()
        given[place] += offset
        with pytest.raises(AssertionError, match="not in an array of the device"):
            gemm(*given)


def test_memory_that_is_free_again(gemm):
    given, arrays = arguments()
    del arrays
    with pytest.raises(AssertionError, match="not in an array of the device"):
        gemm(*given)


def test_no_workspace_after_the_stream_was_set(gemm):
    given, _arrays = arguments()
    gemm.library.cublasSetStream_v2(gemm.handle, ctypes.c_void_p(gemm.stream.ptr))
    with pytest.raises(ValueError):
        gemm(*given)


def test_another_stream_than_the_current_one(gemm):
    given, _arrays = arguments()
    with cupy.cuda.Stream(), pytest.raises(AssertionError):
        gemm(*given)


def test_pointers_need_their_type(gemm):
    given, _arrays = arguments()
    given[6] = 1 << 45  # the array itself may lie at an address of 31 bits
    gemm.library.cublasSgemm_v2.argtypes = None
    with pytest.raises(AssertionError, match="32 bits"):
        gemm(*given)
