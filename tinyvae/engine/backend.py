"""NumPy for the CPU (the host), CuPy for a GPU. This is the only file that imports cupy.

A function computes where its arrays are: it takes `xp = array_module(x)` where it needs a function
of the module, and plain operators elsewhere. So the same layer runs on both.
"""

import ctypes
import os
import sys
from contextlib import contextmanager
from functools import lru_cache, wraps

import numpy as np

from tinyvae.errors import UserError


def array_module(x):
    """The module, numpy or cupy, that made the array x.

    It is cupy, too, for the placeholder that cupy.fuse gives to a formula in place of an array.
    """
    return sys.modules["cupy"] if type(x).__module__.split(".")[0] == "cupy" else np


def to_host(x):
    """x as a NumPy array. A CuPy array is copied, and the copy waits until the GPU is done."""
    return np.asarray(x) if array_module(x) is np else x.get()


_multiply = None  # a function in place of CuPy's matmul, see products_by


def matmul(a, b, out=None):
    """The matrix product a @ b, written into `out` if it is given."""
    xp = array_module(a)
    multiply = xp.matmul if xp is np or _multiply is None else _multiply
    return multiply(a, b, out=out)


@contextmanager
def products_by(multiply):
    """While this lasts, multiply(a, b, out) computes the products on a GPU: training/cublas.py."""
    global _multiply
    before, _multiply = _multiply, multiply
    try:
        yield
    finally:
        _multiply = before


def fused(formula):
    """Decorate an elementwise formula: on a GPU cupy.fuse makes one kernel of it.

    One kernel is faster than one launch for each operation. cupy.fuse calls the formula with
    placeholders, which record the operations. So a formula uses operators and functions of
    `xp = array_module(x)` only; it cannot read shapes or branch on values. Its arguments are arrays
    and Python numbers. It returns new arrays, or it changes given arrays and returns None.
    """
    return on_gpu(lambda cupy: cupy.fuse(formula))(formula)


def on_gpu(make):
    """Decorate a function of NumPy arrays; on a GPU, what make(cupy) returns runs in its place."""
    make = lru_cache(make)

    def decorate(function):
        @wraps(function)
        def call(*arguments):
            xp = array_module(arguments[0])
            return (function if xp is np else make(xp))(*arguments)

        return call

    return decorate


def get_backend(name):
    """The array module called "numpy" or "cupy", ready for use.

    Raises UserError, a sentence with the cause and the remedy, for any other name, or if CuPy is
    not installed or finds no driver, no GPU or no CUDA libraries.
    """
    if name == "numpy":
        keep_freed_memory()
        return np
    if name == "cupy":
        return _working_cupy()
    raise UserError(f"backend must be numpy or cupy, got {name!r}")


def device_name(xp):
    """The name of the device that xp computes on, for people: "the CPU", or the GPU's name."""
    if xp is np:
        return "the CPU"
    runtime = xp.cuda.runtime
    return runtime.getDeviceProperties(runtime.getDevice())["name"].decode()


@contextmanager
def memory_errors():
    """Whatever error CuPy raises when the GPU's memory is full becomes a MemoryError."""
    try:
        yield
    except RuntimeError as error:  # of CUDA or of a library such as cuBLAS
        full = any(words in str(error) for words in ("out of memory", "ALLOC_FAILED"))
        if full and type(error).__module__.startswith("cupy"):
            raise MemoryError(_first_line(error)) from error
        raise


def _working_cupy():
    # CuPy reads this variable when it is imported. By default it would use CUB's reductions, and
    # compiling them would take most of the first epoch (docs/gpu.md).
    unset = "CUPY_ACCELERATORS" not in os.environ
    if unset:
        os.environ["CUPY_ACCELERATORS"] = ""
    try:
        import cupy

        runtime = cupy.cuda.runtime  # missing where a deleted CuPy has left an empty folder
    except Exception as error:  # a broken CuPy raises anything
        what = (
            f"cannot be imported ({_first_line(error)}); uninstall what is left of an earlier CuPy "
            "(packages cupy-*, the folder cupy), then install it"
        )
        if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
            what = "is not installed; install it"
        raise _unusable(f'CuPy {what} with pip install ".[cuda12]" or ".[cuda13]"') from error
    finally:
        if unset:
            del os.environ["CUPY_ACCELERATORS"]
    no_gpu = "the driver finds no GPU; check nvidia-smi and CUDA_VISIBLE_DEVICES"
    old_driver = (
        "there is no NVIDIA driver, or one too old for this CuPy; install or update the driver"
    )
    try:
        devices = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        other = f"CUDA does not start ({error}); check nvidia-smi"
        raise _unusable({35: old_driver, 100: no_gpu}.get(error.status, other)) from error
    if devices == 0:
        raise _unusable(no_gpu)
    try:  # a compiled kernel and a matrix product fail if CUDA libraries are missing
        x = cupy.ones((2, 2), dtype=np.float32)
        ((x + x) @ x).get()
    except Exception as error:  # CuPy raises many classes; some derive from Exception only
        raise _unusable(
            f"the GPU is there but a first calculation fails ({_first_line(error)}); if CUDA "
            'libraries are missing, pip install ".[cuda12]" (or ".[cuda13]") brings them'
        ) from error
    return cupy


def _unusable(why):
    return UserError(f"backend cupy: {why}, or use --backend numpy")


def _first_line(error):
    return (str(error).splitlines() or [type(error).__name__])[0]


def keep_freed_memory():
    """Let glibc keep the memory of freed arrays for later arrays.

    Every training step makes and frees arrays of the same sizes. To get a new page of memory from
    the system costs more than the arithmetic on it (docs/performance.md). Other C libraries
    (macOS, Windows, musl) have no such setting; there this function does nothing.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD: arrays up to 1 GiB come from the heap
    mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: the heap is not returned to the system
