"""The fused kernels: what their CUDA C++ computes is what their NumPy function computes.

Without a GPU the C++ is compiled for the host, if there is a compiler; NVIDIA's own compiler, which
needs no driver, takes it where it is installed; and on a device the kernels run.
"""

import ctypes
import re
import shutil
import subprocess
from functools import lru_cache

import numpy as np
import pytest
from cupy_double import declared

from tinyvae import to_host
from tinyvae.engine.backend import KERNELS, _compiled, array_module
from tinyvae.engine.convolution import positions

C = {np.float32: "float", np.float64: "double", "int32": "int", "float64": "double"}
COMPILER = shutil.which("c++")
DTYPES = [np.float32, np.float64]
pytestmark = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
each_kernel = pytest.mark.parametrize("name", KERNELS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def special(*shape):
    """Also numbers that are none, which no kernel may hide."""
    numbers = normal(*shape)
    numbers.flat[:4] = np.nan, np.inf, -np.inf, 0
    return numbers


def empty(*shape):
    return np.full(shape, np.nan)


def geometry():
    """A kernel that overhangs on all sides, of sizes that all differ: (C, H, W, N), its numbers."""
    c, h, w, n, kernel, stride, padding = 2, 7, 6, 5, (4, 3), (3, 2), (2, 1)
    places = positions((h, w), kernel, stride, padding)
    return (c, h, w, n), (h, w, n, *kernel, *stride, *padding, *places), (c, *kernel, *places, n)


def arguments():
    """Of each kernel: its inputs, and its outputs as they are before; scalars are floats."""
    image, numbers, places = geometry()
    logits = np.concatenate([normal(16, 3, 4), 60 * normal(3, 3, 4), special(1, 3, 4)])  # tails
    x = np.random.default_rng(0).random((20, 1, 4))
    grad, theta, moments = normal(33), normal(33), (normal(33), normal(33) ** 2)
    return {
        "relu_backward": ([special(6, 5), normal(6, 5).clip(0)], [empty(6, 5)]),
        "sigmoid": ([60 * special(9, 7)], [empty(9, 7)]),
        "gather": ([normal(*image), *numbers], [empty(*places)]),
        "scatter": ([normal(*places), *numbers], [empty(*image)]),
        "reparameterize": ([normal(3, 1, 5), normal(3, 1, 5), normal(3, 2, 5)], [empty(3, 2, 5)]),
        "reparameterize_dlogvar": (
            [normal(3, 2, 5), normal(3, 1, 5), normal(2, 5)],
            [empty(3, 2, 5)],
        ),
        "kl_to_standard": ([normal(4, 5), 3 * normal(4, 5)], [empty(4, 5)]),
        "kl_dlogvar": ([3 * normal(4, 5)], [empty(4, 5)]),
        "bernoulli_log_prob": ([x, logits], [empty(20, 3, 4)]),
        "bernoulli_backward": ([x, logits, -0.125], [empty(20, 3, 4)]),
        "adam": ([grad, 0.9, 0.999, 0.01, 1e-7], [theta, *moments]),
    }


def typed(name, dtype):
    """The arguments of a kernel as arrays of this dtype, new ones."""
    return [
        [x.astype(dtype) if isinstance(x, np.ndarray) else x for x in part]
        for part in arguments()[name]
    ]


def run(name, kernel, inputs, outputs):
    """The outputs of a kernel, or of its function: given and overwritten, or returned."""
    if KERNELS[name].function.__code__.co_argcount == len(inputs):  # it makes its output
        return [kernel(*inputs)]
    kernel(*inputs, *outputs)
    return outputs


def by_numpy(name, dtype):
    return run(name, KERNELS[name].function, *typed(name, dtype))


def test_every_kernel_is_tested():
    assert arguments().keys() == KERNELS.keys()


@lru_cache
def library(folder, dtype):
    """All kernels as functions of the host: loops over i around their operations."""
    source = [
        # CUDA's max and min of floats are fmax and fmin, which prefer a number to a NaN
        "#include <cmath>\nusing namespace std;\n#define max fmax\n#define min fmin",
        f"typedef {C[dtype]} T;",
    ]
    for name, kernel in KERNELS.items():
        inputs, outputs = declared(kernel.inputs), declared(kernel.outputs)
        given = [f"const {C.get(kind, 'T')}* _{x}" for _, kind, x in inputs]
        given += [f"T* _{x}" for _, _, x in outputs]
        here = [
            f"const {C.get(kind, 'T')}* {x} = _{x};"
            if raw
            else f"const {C.get(kind, 'T')}& {x} = _{x}[i];"
            for raw, kind, x in inputs
        ]
        here += [f"T& {x} = _{x}[i];" for _, _, x in outputs]
        source.append(
            f'extern "C" void {name}(long _size, {", ".join(given)}) {{\n'
            f"for (long i = 0; i < _size; ++i) {{ {' '.join(here)}\n{kernel.operation};\n}} }}"
        )
    path = folder / f"{C[dtype]}.cpp"
    path.write_text("\n".join(source))
    # no contraction to fused multiply-adds: NumPy rounds twice
    command = [COMPILER, "-O1", "-ffp-contract=off", "-shared", "-fPIC", "-o", f"{path}.so", path]
    subprocess.run(command, check=True)
    return ctypes.CDLL(f"{path}.so")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("kernels")


@pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")
@each_dtype
@each_kernel
def test_the_operation_computes_what_the_function_does(folder, name, dtype):
    inputs, outputs = typed(name, dtype)
    shape = outputs[0].shape
    arrays = []
    for (raw, kind, _), x in zip(declared(KERNELS[name].inputs), inputs, strict=True):
        x = np.asarray(x, np.int32 if kind == "int32" else dtype)
        arrays.append(np.ascontiguousarray(x if raw else np.broadcast_to(x, shape)))
    pointers = [ctypes.c_void_p(x.ctypes.data) for x in (*arrays, *outputs)]
    getattr(library(folder, dtype), name)(ctypes.c_long(outputs[0].size), *pointers)
    for mine, expected in zip(outputs, by_numpy(name, dtype), strict=True):
        rtol = 1e-5 if dtype == np.float32 else 1e-13
        np.testing.assert_allclose(mine, expected, rtol=rtol, atol=rtol)


@each_dtype
@each_kernel
def test_the_function_makes_or_overwrites_the_outputs(name, dtype):
    """As the kernel does: whatever was in them, and with the type of the inputs."""
    results = by_numpy(name, dtype)
    assert all(
        x.dtype == dtype and x.shape == y.shape
        for x, y in zip(results, typed(name, dtype)[1], strict=True)
    )


@pytest.mark.parametrize("dtype", ["float", "double"])
def test_nvidias_compiler_takes_all_of_them(dtype):
    nvrtc = pytest.importorskip("cupy_backends.cuda.libs.nvrtc")
    source = [f"typedef {dtype} T;"]
    for name, kernel in KERNELS.items():
        given = [
            f"const {C.get(kind, 'T')} {'*' * raw}{x}" for raw, kind, x in declared(kernel.inputs)
        ]
        given += [f"T* _{x}" for _, _, x in declared(kernel.outputs)]
        here = "".join(f"T& {x} = _{x}[i];" for _, _, x in declared(kernel.outputs))
        source.append(
            f'extern "C" __global__ void {name}({", ".join(given)}) '
            f"{{ ptrdiff_t i = threadIdx.x; {here}\n{kernel.operation};\n}}"
        )
    program = nvrtc.createProgram("\n".join(source).replace("ptrdiff_t", "long"), "all.cu", [], [])
    try:
        nvrtc.compileProgram(program, ["--gpu-architecture=compute_80", "-std=c++17"])
    except RuntimeError as error:
        if "libnvrtc" in str(error):
            pytest.skip("needs NVIDIA's compiler library: pip install nvidia-cuda-nvrtc-cu12")
        pytest.fail(nvrtc.getProgramLog(program))
    code = nvrtc.getPTX(program)
    assert all(re.search(rf"\.entry {name}\b".encode(), code) for name in KERNELS)


@each_dtype
@each_kernel
def test_a_kernel_on_the_device(xp, name, dtype):
    """On the double that is the function again; on a device it is the kernel."""
    if xp is np:
        pytest.skip("needs a device or its double")
    on_device = [
        [xp.asarray(x) if isinstance(x, np.ndarray) else x for x in part]
        for part in typed(name, dtype)
    ]
    results = run(name, _compiled(xp, name), *on_device)
    assert {array_module(x) for x in results} == {xp}
    for mine, expected in zip(results, by_numpy(name, dtype), strict=True):
        rtol = 1e-5 if dtype == np.float32 else 1e-12
        np.testing.assert_allclose(to_host(mine), expected, rtol=rtol, atol=rtol)
