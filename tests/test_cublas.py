"""Products by cuBLAS itself, which the double of CuPy stands in for."""

import ctypes

import numpy as np
import pytest

from tinyvae import Linear
from tinyvae.engine.backend import matmul, products_by, to_host
from tinyvae.training.cublas import KINDS, Cublas

LAYOUTS = {
    "rows": lambda x: x,
    "columns": lambda x: x.T.copy().T,
    "neither": lambda x: x.repeat(2, axis=1)[:, ::2],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("left", LAYOUTS)
@pytest.mark.parametrize("right", LAYOUTS)
@pytest.mark.parametrize("sizes", [(5, 3, 4), (1, 3, 4), (5, 1, 4), (5, 3, 1), (1, 1, 1)], ids=str)
def test_cublas_multiplies_matrices_of_every_layout(double, sizes, left, right, dtype):
    (m, k, n), rng = sizes, np.random.default_rng(0)
    a = LAYOUTS[left](double.asarray(rng.standard_normal((m, k)), dtype=dtype))
    b = LAYOUTS[right](double.asarray(rng.standard_normal((k, n)), dtype=dtype))
    out, cublas = double.empty((m, n), dtype=dtype), Cublas(double)
    with cublas.stream, products_by(cublas):
        assert matmul(a, b, out=out) is out
        np.testing.assert_allclose(matmul(a, b).get(), out.get())
        vector = matmul(a, b[:, 0])
        assert (vector.shape, vector.dtype) == ((m,), dtype)
    np.testing.assert_allclose(out.get(), to_host(a) @ to_host(b), rtol=1e-6)
    np.testing.assert_allclose(vector.get(), out.get()[:, 0], rtol=1e-6)


def test_the_functions_of_cublas_are_found_in_the_real_library():
    """Which needs no GPU, but NVIDIA's library."""
    pytest.importorskip("cupy")
    try:
        from cupy.cuda import cublas
    except ImportError as error:
        pytest.skip(str(error))
    library = ctypes.CDLL(cublas.__file__)
    assert cublas.create
    for name in (
        "cublasSetStream_v2",
        "cublasSetWorkspace_v2",
        *(name for name, _ in KINDS.values()),
    ):
        assert getattr(library, name)


def test_what_cublas_does_not_multiply(double):
    x, cublas = double.ones((2, 2), dtype=np.float32), Cublas(double)
    for a, b, out in (
        (x.astype(np.int64), x.astype(np.int64), None),
        (x, x.astype(np.float64), None),
        (x, x, double.ones((2, 2))),
        (x, x, double.ones((2, 4), dtype=np.float32)[:, ::2]),
        (x[None], x, None),
    ):
        with cublas.stream, pytest.raises(NotImplementedError, match="a product of"):
            cublas(a, b, out)


def test_products_on_the_host_are_numpys(monkeypatch):
    def refuse(a, b, out):
        raise AssertionError

    x = np.random.default_rng(0).random((3, 4), dtype=np.float32)
    with products_by(refuse):
        assert matmul(x, x.T).tobytes() == (x @ x.T).tobytes()
        Linear(4, 2, rng=np.random.default_rng(0)).forward(x.T)
    with pytest.raises(KeyError), products_by(refuse):
        raise KeyError
    assert matmul(x, x[0]).tobytes() == (x @ x[0]).tobytes()
