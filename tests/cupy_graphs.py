"""Streams, graphs and cuBLAS of the double of CuPy.

What is captured is not done but noted, and a replay does it with the same arrays: Python's numbers
stay what they were, arrays are read anew. While a stream captures, the double refuses what CuPy and
CUDA refuse (to wait, to copy from the host, CuPy's products), and what would go wrong unseen:
memory of the default pool, which others use between two replays, and work on another stream.
"""

import ctypes
from contextlib import contextmanager
from itertools import count
from weakref import WeakValueDictionary

import numpy as np
from cupy_counts import note_call

PRODUCTS = {"matmul", "dot", "vdot", "inner", "tensordot", "einsum"}  # by cuBLAS
LIBRARY = "the double's cuBLAS"  # as a file name
open_other = ctypes.CDLL
_owners = WeakValueDictionary()  # of memory, by its address
_streams, _allocators, _handles = [], [], {}
_addresses = count(1 << 40, 1 << 8)


# Arrays in what functions take and return.


def arrays_in(value, kind=np.ndarray):
    """All arrays of this kind in value, and in the lists, tuples and dictionaries in it."""
    if isinstance(value, kind):
        yield value
    elif isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from arrays_in(item, kind)


def _without_scalars(result):
    """What NumPy returned, its scalars as arrays without axes: they are memory of the device."""
    if isinstance(result, np.generic):
        return np.asarray(result)
    if isinstance(result, list | tuple):
        return type(result)(map(_without_scalars, result))
    return result


def unwritten(array):
    """The array with no number in it, where its dtype has a value that is none."""
    if array.dtype.kind in "fc":
        array.fill(np.nan)
    return array


# Capture and replay.


class Stream:
    capturing = None  # the stream that captures, of all streams

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        self.ptr = 0 if null else next(_addresses)

    def __enter__(self):
        _streams.append(self)
        return self

    def __exit__(self, *_):
        _streams.pop()

    def synchronize(self):
        refuse_while_capturing()

    def is_capturing(self):
        return Stream.capturing is self

    def begin_capture(self, mode=None):
        if self.ptr == 0 or Stream.capturing is not None:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        self._graph, self._undo, Stream.capturing = Graph(), [], self

    def end_capture(self):
        assert self.is_capturing()
        Stream.capturing = None
        for array, numbers in reversed(self._undo):  # nothing has been done
            if array.flags.writeable:
                array[...] = numbers
        for array in self._graph._made:
            unwritten(array)
        return self._graph


class Graph:
    def __init__(self):
        self._operations, self._made = [], []

    def launch(self, stream=None):
        refuse_while_capturing()
        note_call("graph")
        with np.errstate(all="ignore"):
            for operation in self._operations:
                operation()


def get_current_stream(device_id=-1):
    return _streams[-1] if _streams else Stream(null=True)


def refuse_while_capturing(what="operation not permitted when stream is capturing"):
    if Stream.capturing is not None:
        raise RuntimeError(what)


def execute(compute, args=(), kwargs=None, writes=False):
    """compute(*args, **kwargs) of NumPy arrays; noted instead of done while a stream captures.

    writes: whether it changes its arguments. Else it makes new arrays, or views without a note.
    """
    kwargs = kwargs or {}
    stream = Stream.capturing
    if stream is None:
        return _without_scalars(compute(*args, **kwargs))
    inputs = list(arrays_in((args, kwargs)))
    stream._undo += [(array, array.copy()) for array in inputs]
    result = _without_scalars(compute(*args, **kwargs))

    def made(result):
        return [
            array
            for array in arrays_in(result)
            if not any(np.may_share_memory(array, x) for x in inputs)
        ]

    places = made(result)
    if places and not _allocators:
        raise AssertionError("a captured step uses memory of the default pool")
    if (places or writes) and get_current_stream() is not stream:
        raise AssertionError("work on another stream while a stream captures")

    def again():
        new = made(_without_scalars(compute(*args, **kwargs)))
        for place, numbers in zip(places, new, strict=True):
            place[...] = numbers

    if places or writes:
        stream._graph._operations.append(again)
        stream._graph._made += places
    return result


class MemoryPool:
    def malloc(self, size):
        raise NotImplementedError

    def total_bytes(self):
        return 0


@contextmanager
def using_allocator(allocator=None):
    _allocators.append(allocator)
    try:
        yield
    finally:
        _allocators.pop()


# cuBLAS.


def remember(host):
    """Note who owns the memory of an array, as long as it lives."""
    while isinstance(host.base, np.ndarray):
        host = host.base
    _owners[_address(host)] = host


def _address(host):
    return host.__array_interface__["data"][0]


def _owner(start, size):
    """The live array that these bytes lie in."""
    for address, host in list(_owners.items()):
        if address <= start and start + size <= address + host.nbytes:
            return host
    raise AssertionError(f"{size} bytes at {start} are not in an array of the device")


class cublas:
    __file__ = LIBRARY

    @staticmethod
    def create():
        handle = next(_addresses)
        _handles[handle] = []
        return handle


def open_library(name, *args, **kwargs):
    return Library() if name == LIBRARY else open_other(name, *args, **kwargs)


class Library:
    """The functions of cuBLAS that the engine calls; status 0 is success, 7 an invalid value."""

    def __init__(self):
        self.cublasSetStream_v2 = Function(self._set_stream)
        self.cublasSetWorkspace_v2 = Function(self._set_workspace)
        self.cublasSgemm_v2 = Function(lambda *args: self._gemm(np.float32, *args))
        self.cublasDgemm_v2 = Function(lambda *args: self._gemm(np.float64, *args))

    def _set_stream(self, handle, stream):
        _handles[handle] = [stream]  # and the workspace is given up

    def _set_workspace(self, handle, place, size):
        _owner(place, size)
        _handles[handle].append(size)

    def _gemm(self, dtype, handle, flag_a, flag_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
        """C = A B, all stored column by column: A (m, k), B (k, n), or transposed by a flag."""
        stream, workspace = _handles[handle]
        assert stream == get_current_stream().ptr and workspace >= 1 << 20
        assert (alpha._obj.value, beta._obj.value) == (1, 0)
        assert all(isinstance(x._obj, {4: ctypes.c_float, 8: ctypes.c_double}[dtype().itemsize])
                   for x in (alpha, beta))  # fmt: skip
        if min(m, n, k) < 1:
            return 7

        def matrix(pointer, rows, columns, leading, flag):
            """The rows of its transpose, as NumPy counts them."""
            if flag:
                return matrix(pointer, columns, rows, leading, 0).T
            assert leading >= rows
            size = (leading * (columns - 1) + rows) * dtype().itemsize
            host = _owner(pointer, size)
            buffer = (ctypes.c_char * size).from_address(pointer)
            strides = (leading * dtype().itemsize, dtype().itemsize)
            array = np.ndarray((columns, rows), dtype, buffer, 0, strides)
            owners.append(host)
            return array

        owners = []  # as a graph's pool keeps the memory
        a, b = matrix(a, m, k, lda, flag_a), matrix(b, k, n, ldb, flag_b)
        c = matrix(c, m, n, ldc, 0)
        note_call("gemm")
        execute(lambda b, a, c, _: np.matmul(b, a, out=c), (b, a, c, owners), writes=True)
        return 0


class Function:
    """A function of a C library, called through ctypes."""

    argtypes = None

    def __init__(self, function):
        self.function = function

    def __call__(self, handle, *arguments):
        for kind, value in zip((self.argtypes or [])[1:], arguments, strict=False):
            assert isinstance(value, int) or type(value) in (kind, type(ctypes.byref(kind())))
        wide = [x for x in arguments if isinstance(x, int) and x >= 1 << 31]
        assert self.argtypes or not wide, "ctypes takes an int for 32 bits if it is not told"
        plain = [getattr(value, "value", value) for value in arguments]
        return self.function(getattr(handle, "value", handle), *plain) or 0
