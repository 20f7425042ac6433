"""benchmarks/gpu_report.py on the double of CuPy: what it would write on a machine with a GPU."""

import sys
from pathlib import Path
from types import SimpleNamespace

import cupy_double
import gpu_report
import pytest

from tinyvae.data import load
from tinyvae.engine import layers


@pytest.fixture
def on_the_double(monkeypatch, tmp_path):
    """The report in a folder of its own, of few digits; not the tests and steps of real devices."""
    runtime = cupy_double.cupy.cuda.runtime
    for name, answer in (("driverGetVersion", 12090), ("runtimeGetVersion", 12080)):
        monkeypatch.setattr(runtime, name, lambda *_, answer=answer: answer, raising=False)
    cupy_double.install(monkeypatch)
    monkeypatch.setattr(load, "DIGITS_TRAIN", 256)
    monkeypatch.setattr(load, "DIGITS_TEST", 50)
    monkeypatch.setattr(gpu_report, "EPOCHS", 2)
    monkeypatch.setattr(gpu_report, "SIZES", (32,))
    monkeypatch.setattr(gpu_report, "ROOT", tmp_path)
    monkeypatch.setattr(gpu_report, "PAGE", tmp_path / "gpu.md")
    monkeypatch.setitem(gpu_report.SECTIONS, "The tests marked gpu", lambda *_: "7 passed in 1 s")

    def step_times(network, batch_size):
        result = {"ms": 0.5, "iqr_ms": 0.01, "device_mb": 60}
        variants = {"tinyvae recorded": result, "torch": result | {"ms": 1.0}}
        return {"variants": variants, "ratios": {"torch": 0.5}}

    class Worker:
        """A variant of benchmarks/step.py without its process."""

        def __init__(self, name, options):
            self.ms, self.turns = len(name) * options.batch_size / 1000, []

        def wait(self):
            pass

        close = wait

        def turn(self, runs):
            self.turns.append({"ms": self.ms, "device_mb": 60})

        def summary(self):
            return self.turns[-1]

    def finished(script, *options, **environment):
        """The example, as if it had run."""
        assert script == gpu_report.EXAMPLE and {"--dataset", "digits"} < set(options)
        folder = Path(next(o for o in options if "--out=" in o).removeprefix("--out="))
        folder.mkdir()
        rows = "seconds,test_total", "4.5,130.0", "0.5,110.0", "0.25,105.0625"
        (folder / "history.csv").write_text("\n".join(rows))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(gpu_report, "step_times", step_times)
    monkeypatch.setattr(gpu_report, "finished", finished)
    monkeypatch.setattr(gpu_report.step, "Worker", Worker)
    monkeypatch.setattr(gpu_report.step, "has_jax", lambda backend: False)
    return tmp_path / "gpu.md"


def test_the_page(on_the_double):
    assert gpu_report.main(["--dataset", "digits"]) == 0
    page = on_the_double.read_text()
    for words in (
        "one Double of a GPU (driver 12090,\nCUDA 12080)",
        "Data: synthetic digits, 256 training images",
        "7 passed in 1 s",
        "| recorded | 0.",
        "| one by one | ",
        "The losses differ by 0.0e+00 and 0.0e+00",
        "| conv, batch 512 | ms | quartiles | ratio | GPU MB |",
        "| torch | 1.000 | 0.010 | 0.50 | 60 |",
        " | 4.50 | 0.50 | 105.062 |",
        "| 32 | 0.224 (60) | 0.512 (60) |",
        "of the first 20 steps: ",
        "| encoder.trunk.2 | output | ",
        "| decoder.7.weight | gradient | ",
    ):
        assert words in page, words
    assert "Failed" not in page


def test_what_fails_is_told_and_the_rest_goes_on(on_the_double, monkeypatch):
    right = gpu_report.step_times

    def step_times(network, batch_size):
        if network == "mlp":
            raise gpu_report.ReportError("the variant 'tinyvae' ended with code 1")
        return right(network, batch_size)

    def broken(xp, data):
        raise KeyError("anything")

    monkeypatch.setattr(gpu_report, "step_times", step_times)
    monkeypatch.setattr(gpu_report, "CLOSE", -1)
    monkeypatch.setitem(gpu_report.SECTIONS, "The whole program", broken)
    assert gpu_report.main(["--dataset", "digits"]) == 1
    page = on_the_double.read_text()
    assert "mlp, batch 128: failed: the variant 'tinyvae' ended with code 1" in page
    assert "| conv, batch 512 | ms |" in page and "Failed: 'anything'" in page
    assert "Failed: Difference from NumPy's" in page and "At most -1e+00 are allowed" in page
    assert "| encoder.trunk.2 | output | " in page


def test_a_step_that_is_not_recorded_is_a_failure(on_the_double, monkeypatch):
    def refuse(self):
        raise RuntimeError("no graphs here")

    monkeypatch.setattr(cupy_double.cupy.cuda.Stream, "begin_capture", refuse)
    assert gpu_report.main(["--dataset", "digits"]) == 1
    assert "Failed: no step was recorded" in on_the_double.read_text()


def test_what_has_no_time_left_is_left_out(on_the_double, monkeypatch):
    monkeypatch.setattr(gpu_report, "LIMIT", 0)
    assert gpu_report.main(["--dataset", "digits"]) == 1
    page = on_the_double.read_text()
    assert page.count("Failed: left out, because 0 seconds were over") == len(gpu_report.SECTIONS)


def test_a_layer_that_computes_otherwise_on_the_device_is_seen(on_the_double, monkeypatch):
    exact = gpu_report.layer_errors(cupy_double.cupy)
    assert max(exact.values()) < 1e-5
    matrix = layers.patches_adjoint

    def wrong(p, *geometry):
        image = matrix(p, *geometry)
        if isinstance(image, cupy_double.ndarray):
            image *= 1.01
        return image

    monkeypatch.setattr(layers, "patches_adjoint", wrong)
    errors = gpu_report.layer_errors(cupy_double.cupy)
    assert errors["decoder.5", "output"] == pytest.approx(0.01, rel=0.1)
    assert errors["decoder.2", "output"] < 1e-5


def test_without_a_gpu_it_says_so(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert gpu_report.main([]) == 2
    assert capsys.readouterr().err.startswith("gpu_report.py: backend cupy: CuPy is not installed")
