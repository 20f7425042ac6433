import ctypes
import sys
from types import SimpleNamespace

import cupy_double
import numpy as np
import pytest

from tinyvae.engine.backend import array_module, device_name, get_backend, to_host
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
        (None, "CuPy cannot be imported", 'pip install ".[cuda12]"'),
        (fake_cupy(CUDARuntimeError(35)), "no NVIDIA driver, or one too old", "update the driver"),
        (fake_cupy(CUDARuntimeError(100)), "finds no GPU", "CUDA_VISIBLE_DEVICES"),
        (fake_cupy(devices=0), "finds no GPU", "CUDA_VISIBLE_DEVICES"),
        (fake_cupy(CUDARuntimeError(999)), "CUDA does not start (error 999)", "nvidia-smi"),
        (fake_cupy(failure=ImportError("no nvrtc\nlong story")), "(no nvrtc)", "cupy-cuda12x[ctk]"),
        (fake_cupy(failure=OSError("no libcublas")), "(no libcublas)", "cupy-cuda12x[ctk]"),
        (fake_cupy(failure=RuntimeError()), "calculation fails (RuntimeError)", "[ctk]"),
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


def test_memory_is_kept_where_glibc_is(monkeypatch):
    calls = []
    libc = SimpleNamespace(mallopt=lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: libc)
    get_backend("numpy")
    assert sorted(option for option, _ in calls) == [-3, -1]
    assert all(0 < value < 2**31 for _, value in calls)
