import ctypes
import os
import sys
from types import SimpleNamespace

import cupy_double
import numpy as np
import pytest

from tinyvae import Adam, make_model
from tinyvae.engine.backend import (
    array_module,
    device_name,
    get_backend,
    memory_errors,
    to_host,
)
from tinyvae.errors import UserError


def test_numpy_is_always_there(monkeypatch):
    assert get_backend("numpy") is np

    def no_glibc(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", no_glibc)  # as on macOS and Windows
    assert get_backend("numpy") is np


def test_other_names_are_refused():
    with pytest.raises(UserError, match="backend must be numpy or cupy, got 'jax'"):
        get_backend("jax")


def test_device_name(xp):
    assert (device_name(xp) == "the CPU") == (xp is np)
    assert device_name(cupy_double.cupy) == "Double of a GPU"


def test_arrays_know_their_module_and_come_back(xp):
    x = xp.arange(6.0).reshape(2, 3).T
    assert array_module(x) is xp
    assert type(to_host(x)) is np.ndarray
    np.testing.assert_array_equal(to_host(x), [[0, 3], [1, 4], [2, 5]])


class CUDARuntimeError(RuntimeError):
    def __init__(self, status):
        super().__init__(f"error {status}")
        self.status = status


class DeviceArray:
    """Just enough of a CuPy array for the first calculation, and it may fail."""

    __module__ = "cupy"

    def __init__(self, failure=None):
        self.failure = failure

    def __add__(self, other):
        if self.failure:
            raise self.failure
        return self

    __matmul__ = __add__

    def get(self):
        return np.zeros((2, 2))


def fake_cupy(devices=1, failure=None):
    def count():
        if isinstance(devices, Exception):
            raise devices
        return devices

    runtime = SimpleNamespace(CUDARuntimeError=CUDARuntimeError, getDeviceCount=count)
    return SimpleNamespace(
        cuda=SimpleNamespace(runtime=runtime),
        ndarray=DeviceArray,
        ones=lambda shape, dtype: DeviceArray(failure),
    )


def test_a_working_cupy_is_returned_and_recognised(monkeypatch):
    cupy = fake_cupy()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert get_backend("cupy") is cupy
    assert array_module(DeviceArray()) is cupy
    assert array_module(np.zeros(1)) is np
    assert type(to_host(DeviceArray())) is np.ndarray


@pytest.mark.parametrize(
    "cupy, cause, remedy",
    [
        (None, "CuPy is not installed", 'pip install ".[cuda12]"'),
        (fake_cupy(CUDARuntimeError(35)), "no NVIDIA driver, or one too old", "update the driver"),
        (fake_cupy(CUDARuntimeError(100)), "finds no GPU", "CUDA_VISIBLE_DEVICES"),
        (fake_cupy(devices=0), "finds no GPU", "CUDA_VISIBLE_DEVICES"),
        (fake_cupy(CUDARuntimeError(999)), "CUDA does not start (error 999)", "nvidia-smi"),
        (fake_cupy(failure=ImportError("no nvrtc\nlong story")), "(no nvrtc)", '".[cuda12]"'),
        (fake_cupy(failure=OSError("no libcublas")), "(no libcublas)", '".[cuda12]"'),
        (fake_cupy(failure=RuntimeError()), "calculation fails (RuntimeError)", "[cuda13]"),
    ],
    ids="not-installed no-driver no-device count-0 other import-error os-error runtime".split(),
)
def test_cupy_that_does_not_work_says_why_and_what_to_do(monkeypatch, cupy, cause, remedy):
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    with pytest.raises(UserError) as refusal:
        get_backend("cupy")
    sentence = str(refusal.value)
    assert sentence.startswith("backend cupy: ") and sentence.endswith("or use --backend numpy")
    assert cause in sentence and remedy in sentence and "\n" not in sentence


@pytest.fixture
def cupy_of(monkeypatch, tmp_path):
    """Write a package cupy with this source; none is imported yet."""
    for name in [name for name in sys.modules if name.split(".")[0] == "cupy"]:
        monkeypatch.delitem(sys.modules, name)

    def write(source):
        folder = tmp_path / "cupy"
        folder.mkdir()
        if source is not None:
            (folder / "__init__.py").write_text(source)
        monkeypatch.setattr(sys, "path", [str(tmp_path)])

    yield write
    sys.modules.pop("cupy", None)


@pytest.mark.parametrize(
    "source",
    [
        None,
        "",
        "raise ImportError('libcuda\\nlong story')",
        "raise OSError('not an ELF file')",
        "1 / 0",
        "import cupy.core_is_gone",
    ],
)
def test_remains_of_cupy_are_told_and_leave_numpy_alone(cupy_of, source):
    """None: a folder without __init__.py, which an uninstalled CuPy may leave."""
    cupy_of(source)
    with pytest.raises(UserError, match="CuPy cannot be imported .*uninstall what is left") as no:
        get_backend("cupy")
    assert "\n" not in str(no.value)
    assert array_module(np.zeros(1)) is np and get_backend("numpy") is np


@pytest.mark.parametrize("users", [None, "cub", "cutensor"])
def test_cub_is_off_while_cupy_is_imported_unless_the_user_chose(cupy_of, monkeypatch, users):
    """And the variable is as it was afterwards."""
    monkeypatch.delenv("CUPY_ACCELERATORS", raising=False)
    if users is not None:
        monkeypatch.setenv("CUPY_ACCELERATORS", users)
    cupy_of("import os; seen = os.environ['CUPY_ACCELERATORS']")
    with pytest.raises(UserError):
        get_backend("cupy")
    assert sys.modules["cupy"].seen == (users or "")
    assert os.environ.get("CUPY_ACCELERATORS") == users


class CudaError(RuntimeError):
    """As CuPy has one for CUDA, and one for each library."""

    __module__ = "cupy_backends.cuda.api.runtime"


@pytest.mark.parametrize(
    "text", ["cudaErrorMemoryAllocation: out of memory", "CUBLAS_STATUS_ALLOC_FAILED\nlong story"]
)
def test_a_full_gpu_is_a_memory_error(text):
    with pytest.raises(MemoryError) as full, memory_errors():
        raise CudaError(text)
    assert str(full.value) == text.splitlines()[0]


@pytest.mark.parametrize(
    "error", [CudaError("cudaErrorIllegalAddress: ..."), RuntimeError("out of memory"), KeyError(1)]
)
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as same, memory_errors():
        raise error
    assert same.value is error


@pytest.mark.parametrize(
    "begin", [lambda: get_backend("numpy"), lambda: Adam(make_model(network="mlp"))]
)
def test_memory_is_kept_where_glibc_is(monkeypatch, begin):
    """Also for those who train in Python, and have never heard of get_backend."""
    calls = []
    libc = SimpleNamespace(mallopt=lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: libc)
    begin()
    assert sorted(option for option, _ in calls) == [-3, -1]
    assert all(0 < value < 2**31 for _, value in calls)
