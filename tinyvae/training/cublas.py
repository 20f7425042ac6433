"""Matrix products that CUDA can record. A reader of the formulas may skip this file.

CuPy refuses its own products while a step is recorded; the library behind them, NVIDIA's cuBLAS,
does not. So this file calls cuBLAS itself.
"""

import ctypes
from functools import lru_cache

import numpy as np

WORKSPACE = 32 << 20  # bytes of memory in which cuBLAS may keep partial sums
POINTER, INT = ctypes.c_void_p, ctypes.c_int
GEMM = [POINTER, *[INT] * 5, POINTER, POINTER, INT, POINTER, INT, POINTER, POINTER, INT]
KINDS = {"f": ("cublasSgemm_v2", ctypes.c_float), "d": ("cublasDgemm_v2", ctypes.c_double)}


@lru_cache
def cublas_of(cupy):
    """The Cublas of this process."""
    return Cublas(cupy)


class Cublas:
    """cublas(a, b, out) computes the product a @ b of matrices on the GPU, in its `stream`."""

    def __init__(self, cupy):
        self.cupy, self.stream = cupy, cupy.cuda.Stream(non_blocking=True)
        # CuPy's module depends on the cuBLAS that CuPy uses, so its functions are found there.
        self.library = ctypes.CDLL(cupy.cuda.cublas.__file__)
        self.handle = POINTER(cupy.cuda.cublas.create())
        self.workspace = cupy.empty(WORKSPACE, dtype=np.uint8)
        self._call("cublasSetStream_v2", POINTER(self.stream.ptr))
        # To set the stream gives up the workspace, so the workspace comes second.
        place = POINTER(self.workspace.data.ptr)
        self._call("cublasSetWorkspace_v2", place, ctypes.c_size_t(WORKSPACE))

    def __call__(self, a, b, out=None):
        """a (m, k), b (k, n) or (k,). Raises NotImplementedError for other arrays."""
        name, number = KINDS.get(a.dtype.char, (None, None))
        if out is None:
            out = self.cupy.empty((*a.shape[:1], *b.shape[1:]), dtype=a.dtype)
        same = a.dtype == b.dtype == out.dtype and out.flags.c_contiguous
        if name is None or a.ndim != 2 or b.ndim > 2 or not same:
            raise NotImplementedError(f"a product of {a.dtype} {a.shape} and {b.dtype} {b.shape}")
        (m, k), n = a.shape, b.size // len(b)
        (a, flag_a, lead_a), (b, flag_b, lead_b) = self._layout(a), self._layout(b.reshape(k, n))
        # cuBLAS counts matrices column by column, where we count row by row. So it sees every
        # matrix transposed, and computes out.T = b.T @ a.T.
        getattr(self.library, name).argtypes = GEMM
        one, zero = ctypes.byref(number(1)), ctypes.byref(number(0))
        sizes = (flag_b, flag_a, n, m, k)
        pointers = (b.data.ptr, lead_b, a.data.ptr, lead_a)
        self._call(name, *sizes, one, *pointers, zero, out.data.ptr, n)
        return out

    def _layout(self, x):
        """(x, 1 if it is stored column by column else 0, the length of what is contiguous)."""
        if x.flags.f_contiguous and not x.flags.c_contiguous:
            return x, 1, len(x)
        return self.cupy.ascontiguousarray(x), 0, x.shape[1]

    def _call(self, name, *arguments):
        status = getattr(self.library, name)(self.handle, *arguments)
        if status:
            raise RuntimeError(f"{name} fails with status {status}")
