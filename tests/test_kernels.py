"""What runs on a GPU in place of NumPy's formulas computes what they compute.

On a device, or on its double, the kernels run. Without a GPU their C++ is compiled for the host;
of a fused formula it is what cupy.fuse makes of it, which needs CuPy but no GPU. NVIDIA's own
compiler, which needs no GPU either, takes it where it is installed.
"""

import ctypes
import inspect
import json
import math
import re
import shutil
import subprocess
from itertools import zip_longest
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from cupy_names import FILE

from tinyvae import to_host
from tinyvae.engine import (
    activations,
    convolution,
    cuda,
    flows,
    gaussian,
    likelihoods,
    optim,
    planar,
)
from tinyvae.engine.backend import array_module
from tinyvae.engine.convolution import positions

MODULES = (activations, convolution, flows, gaussian, likelihoods, optim, planar)
KERNELS = {  # all functions that something else replaces on a GPU
    name: function
    for module in MODULES
    for name, function in vars(module).items()
    if inspect.isfunction(function)
    and function.__module__ == module.__name__
    and hasattr(function, "__wrapped__")
}
KERNELS["_adam_recorded"] = optim._adam  # its scalars lie on the device: training/recorded.py
IN_CUDA = {"_gather": cuda.gather, "_scatter": cuda.scatter}
C = {np.float32: "float", np.float64: "double"}
NUMPY = {"float": "f4", "double": "f8", "int": "i4"}
COMPILER = shutil.which("c++")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")
pytestmark = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
each_kernel = pytest.mark.parametrize("name", KERNELS)
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def special(*shape):
    """Also NaN and infinity, which no kernel may hide."""
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
    image, numbers, places = geometry()
    logits = np.concatenate([normal(16, 3, 4), 60 * normal(3, 3, 4), special(1, 3, 4)])  # tails
    x = np.random.default_rng(0).random((20, 1, 4))
    mu, logvar = normal(3, 1, 5), normal(3, 1, 4)[..., :1]  # (3, 1, 1)
    adam = normal(33), 0.9, 0.999, normal(33), normal(33), normal(33) ** 2
    four = normal(4, 5), 3 * normal(4, 5), normal(5, 4).T, normal(4, 1)
    return {
        "_relu_backward": [special(6, 5), normal(6, 5).clip(0), empty(6, 5)],
        "sigmoid": [60 * special(9, 7)],
        "_gather": [normal(*image), *numbers, empty(*places)],
        "_scatter": [normal(*places), *numbers, empty(*image)],
        "reparameterize": [mu, logvar, normal(3, 2, 5)],
        "reparameterize_backward": [normal(3, 2, 5), logvar, normal(2, 5)],
        "kl_to_standard": four[:2],
        "kl_to_standard_grad": four[:2],
        "kl_divergence": four,
        "kl_divergence_grad": four,
        "log_density": [normal(3, 2, 5), mu, logvar],
        "log_density_of_draw": [normal(3, 2, 5), logvar],
        "log_density_grad": [normal(3, 2, 5), mu, logvar],
        "precision_weighted": four,
        "precision_weighted_backward": [normal(4, 5), normal(5, 4).T, *four],
        "_affine": four[:3],
        "_affine_backward": [normal(4, 5), normal(5), *four[:2]],
        "_elu_minus": [special(6, 5)],
        "_one_plus_elu": [special(6, 5)],
        "_elu_slope": [special(6, 5)],
        "_bernoulli_log_prob": [x, logits],
        "_bernoulli_backward": [x, logits, -0.125],
        "_adam": [*adam[:3], 0.01, 1e-7, *adam[3:]],
        "_adam_recorded": [*adam[:3], np.array([0.01]), np.array([1e-7]), *adam[3:]],
    }


def typed(name, dtype):
    """New arguments of a kernel; the arrays have this dtype."""
    return [x.astype(dtype) if isinstance(x, np.ndarray) else x for x in arguments()[name]]


def computed(function, given):
    """All arrays among the arguments after the call, then what was returned."""
    returned = function(*given)
    returned = returned if isinstance(returned, tuple) else (returned,)
    return [x for x in (*given, *returned) if hasattr(x, "dtype")]


def by_numpy(name, dtype):
    return computed(KERNELS[name].__wrapped__, typed(name, dtype))


def assert_close(results, expected, dtype):
    rtol = 1e-5 if dtype == np.float32 else 1e-12
    for mine, right in zip(results, expected, strict=True):
        assert mine.dtype == dtype
        right = np.broadcast_to(right, mine.shape)  # a kernel's results are as large as its loop
        np.testing.assert_allclose(mine, right, rtol=rtol, atol=rtol)


def test_every_kernel_is_tested():
    assert arguments().keys() == KERNELS.keys()


@each_dtype
@each_kernel
def test_on_the_device(xp, name, dtype):
    """On the double that is the formula again; on a device it is the kernel."""
    given = [xp.asarray(x) if isinstance(x, np.ndarray) else x for x in typed(name, dtype)]
    results = computed(KERNELS[name], given)
    assert {array_module(x) for x in results} == {xp}
    assert_close([to_host(x) for x in results], by_numpy(name, dtype), dtype)


# The C++ without a GPU.


class Kernel(NamedTuple):
    """What an ElementwiseKernel is made of: its parameters are (C type, name, raw, written)."""

    parameters: list
    operation: str
    preamble: str = ""

    def source(self, kind, name):
        """A C++ function of this kind that runs the operation for every element."""
        given = ", ".join(f"{c_type}* _{x}" for c_type, x, *_ in self.parameters)
        here = "".join(
            f"{c_type}* {x} = _{x}; " if raw else f"{c_type}& {x} = _{x}[i]; "
            for c_type, x, raw, _ in self.parameters
        )
        preamble = self.preamble.replace("#include", "//").replace("__device__", "static DEVICE")
        return (
            f"namespace of_{name} {{ {preamble}\n"
            f'extern "C" {kind} {name}(long long _size, {given}) {{\n'
            f"for (ptrdiff_t i = 0; i < _size; ++i) {{ {here}\n{self.operation};\n}} }} }}\n"
        )


def in_cuda(name, number="float"):
    """A kernel of tinyvae.engine.cuda."""
    texts = SimpleNamespace(ElementwiseKernel=lambda *texts: texts)
    inputs, outputs, operation, _ = IN_CUDA[name](texts)
    words = [item.split() for item in f"{inputs}, {outputs}".split(", ")]
    types = {"T": number, "int32": "int"}
    parameters = [(types[w[-2]], w[-1], w[0] == "raw", w == words[-1]) for w in words]
    return Kernel(parameters, operation, f"typedef {number} T;")


def traced(name, dtype):
    """What cupy.fuse makes of a formula. Its arrays have no memory: nothing is launched."""
    cupy = pytest.importorskip("cupy")
    if cupy.__version__ != json.loads(FILE.read_text("utf-8"))["version"]:
        pytest.skip("reads what is private in another version of CuPy")
    from cupy._core import fusion

    memory = cupy.cuda.MemoryPointer(cupy.cuda.UnownedMemory(8, 1 << 20, None, 0), 0)
    given = [
        cupy.ndarray(x.shape, dtype, memory) if isinstance(x, np.ndarray) else x
        for x in typed(name, dtype)
    ]
    history, local = fusion._FusionHistory(), fusion._thread_local
    local.history, local.is_old_fusing = history, True
    try:
        made, _ = history.get_fusion(KERNELS[name].__wrapped__, given, name)
    finally:
        local.history, local.is_old_fusing = None, False
    parameters = [(p.ctype, p.name, False, not p.is_const) for p in made.in_params]
    parameters += [(p.ctype, p.name, False, True) for p in made.out_params]
    return Kernel(parameters, made.operation, made.preamble)


def kernel(name, dtype):
    return in_cuda(name, C[dtype]) if name in IN_CUDA else traced(name, dtype)


def compiled(folder, source):
    path = folder / "kernel.cpp"
    path.write_text(
        "#include <cmath>\n#include <cstddef>\nusing namespace std;\n"
        f"#define DEVICE\n#define CUDART_INF INFINITY\n{source}"
    )
    # no contraction to fused multiply-adds: NumPy rounds twice
    command = [COMPILER, "-O1", "-ffp-contract=off", "-shared", "-fPIC", "-o", f"{path}.so", path]
    subprocess.run(command, check=True)
    return ctypes.CDLL(f"{path}.so")


@needs_compiler
@each_dtype
@each_kernel
def test_the_cpp_computes_what_numpy_does(tmp_path, name, dtype):
    made, given = kernel(name, dtype), typed(name, dtype)
    looped = zip(made.parameters, given, strict=False)
    shape = np.broadcast_shapes(*(np.shape(x) for (_, _, raw, _), x in looped if not raw))
    arrays = []
    for (c_type, _, raw, _), x in zip_longest(made.parameters, given, fillvalue=empty(*shape)):
        x = np.asarray(x, np.dtype(NUMPY[c_type]))
        arrays.append(np.array(x if raw else np.broadcast_to(x, shape), order="C"))
    function = getattr(compiled(tmp_path, made.source("void", name)), name)
    size = ctypes.c_longlong(int(np.prod(shape)))
    function(size, *(ctypes.c_void_p(x.ctypes.data) for x in arrays))
    changed = [x for (*_, written), x in zip(made.parameters, arrays, strict=True) if written]
    expected = by_numpy(name, dtype)
    assert_close(changed, expected[len(expected) - len(changed) :], dtype)


@needs_compiler
@pytest.mark.parametrize("name", IN_CUDA)
def test_indices_of_large_arrays_do_not_overflow(tmp_path, name):
    """Half a million codes: both arrays of the decoder's first transposed convolution are large."""
    c, n, kernel, stride, padding = 32, 500_000, (3, 3), (2, 2), (1, 1)
    places = positions((14, 14), kernel, stride, padding)
    image, patches = c * 14 * 14 * n, c * 3 * 3 * math.prod(places) * n
    assert min(image, patches) > 2**31
    read, written = (image, patches) if name == "_gather" else (patches, image)
    made = in_cuda(name)
    source, *integers, result = (x for _, x, *_ in made.parameters)
    function = getattr(
        compiled(
            tmp_path,
            f"""
            struct Indices {{  // in place of the array that is read
              ptrdiff_t last;
              float operator[](ptrdiff_t k) {{ last = k; return 0; }}
            }};
            extern "C" long long {name}(long long i, {", ".join(f"int {x}" for x in integers)}) {{
              typedef float T; T {result}; Indices {source};
              {made.operation};
              return {source}.last;
            }}""",
        ),
        name,
    )
    function.restype = ctypes.c_longlong
    last = function(ctypes.c_longlong(written - 1), 14, 14, n, *kernel, *stride, *padding, *places)
    assert last == read - 1


@each_dtype
def test_nvidias_compiler_takes_all_of_them(dtype):
    nvrtc = pytest.importorskip("cupy_backends.cuda.libs.nvrtc")
    source = "".join(kernel(name, dtype).source("__global__ void", name) for name in KERNELS)
    define = "#define DEVICE __device__\n#define CUDART_INF (1 / 0.0)\ntypedef long ptrdiff_t;\n"
    program = nvrtc.createProgram(define + source, "all.cu", [], [])
    try:
        nvrtc.compileProgram(program, ["--gpu-architecture=compute_80", "-std=c++17"])
    except RuntimeError as error:
        if "libnvrtc" in str(error):
            pytest.skip("needs NVIDIA's compiler library: pip install nvidia-cuda-nvrtc-cu12")
        pytest.fail(nvrtc.getProgramLog(program))
    code = nvrtc.getPTX(program)
    assert all(re.search(rf"\.entry {name}\b".encode(), code) for name in KERNELS)
