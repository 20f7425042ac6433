"""What all tests share: the backends to run on, new folders, hypothesis without a time limit."""

import inspect
import os
import signal

# The suite's matrices are small: a second BLAS thread would only wait, or fight pytest's workers.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import cupy_double
import pytest
from hypothesis import HealthCheck, settings

from tinyvae.engine.backend import get_backend
from tinyvae.errors import UserError
from tinyvae.training import parallel, plots

# A shell starts a job in the background with SIGINT ignored, and training leaves that as it is.
signal.signal(signal.SIGINT, signal.default_int_handler)

COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}
settings.register_profile("tinyvae", derandomize=True, max_examples=20, **COMMON)
settings.register_profile("long", max_examples=5000, **COMMON)
settings.load_profile("tinyvae")
pytest.register_assert_rewrite("short_runs")  # its asserts, too, show what they compare


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="robustness tests with thousands of cases")
    parser.addoption("--screenshot", action="store_true", help="renew the README's live page")


def pytest_configure(config):
    if config.getoption("--long"):
        settings.load_profile("long")


@pytest.fixture(scope="session")
def long(request):
    return request.config.getoption("--long")


def _has_gpu():
    try:
        get_backend("cupy")
    except UserError:
        return False
    return True


BACKENDS = ["numpy", "double", pytest.param("cupy", marks=pytest.mark.gpu)]


@pytest.fixture(params=BACKENDS if _has_gpu() else BACKENDS[:2], scope="session")
def xp(request):
    """The array module to test on: numpy, the double of cupy, and cupy where a device exists."""
    return cupy_double.cupy if request.param == "double" else get_backend(request.param)


@pytest.fixture(autouse=True)
def _the_double_is_cupy(request):
    """While a test runs on the double, and no longer."""
    with pytest.MonkeyPatch.context() as patch:
        if request.node.name.endswith("]") and request.node.callspec.params.get("xp") == "double":
            cupy_double.install(patch)
        yield


@pytest.fixture
def double(monkeypatch):
    """The double of cupy, which is cupy while the test runs."""
    return cupy_double.install(monkeypatch)


@pytest.fixture
def folders(tmp_path):
    """A new folder at every call."""

    def make():
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        return folder

    return make


@pytest.fixture
def small_parts(monkeypatch):
    """The small batches of toy runs, too, are cut into parts: at least two, of at most 4."""
    monkeypatch.setattr(parallel, "OTHERS", (1, 4))


@pytest.fixture
def drawn(monkeypatch):
    """{name of the file: all arguments of the function of plots that was to draw it}."""
    calls = {}

    def recorder(signature):
        def recording(*arguments, **named):
            bound = signature.bind(*arguments, **named).arguments
            calls[bound["path"].stem] = bound

        return recording

    for name, function in inspect.getmembers(plots, inspect.isfunction):
        if "path" in inspect.signature(function).parameters:
            monkeypatch.setattr(plots, name, recorder(inspect.signature(function)))
    return calls
