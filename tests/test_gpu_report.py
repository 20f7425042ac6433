"""benchmarks/gpu_report.py on the double of CuPy: what it would write on a machine with a GPU."""

import sys

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
    monkeypatch.setattr(gpu_report, "ROOT", tmp_path)
    monkeypatch.setattr(gpu_report, "PAGE", tmp_path / "gpu.md")
    monkeypatch.setitem(gpu_report.SECTIONS, "The tests marked gpu", lambda *_: "7 passed in 1 s")

    def step_times(network, batch_size):
        times = {"tinyvae": {"ms": 0.5}, "torch": {"ms": 1.0}}
        sizes = {"network": network, "batch_size": batch_size}
        return sizes | {"variants": times, "ratio_best_eager": 0.5, "ratio_best": 0.625}

    monkeypatch.setattr(gpu_report, "step_times", step_times)
    return tmp_path / "gpu.md"


def test_the_page(on_the_double):
    assert gpu_report.main(["--dataset", "digits"]) == 0
    page = on_the_double.read_text()
    for words in (
        "one Double of a GPU (driver 12090,\nCUDA 12080)",
        "synthetic digits,\n256 training images",
        "7 passed in 1 s",
        "2 epochs in ",
        "Mean loss of the first 20 steps: ",
        "| conv | 128 | 0.500 | 1.000 | 0.50 | 0.62 |",
        "| encoder.trunk.2 | output | ",
        "| decoder.7.weight | gradient | ",
    ):
        assert words in page, words
    assert "Failed" not in page


def test_what_fails_is_told_and_the_rest_goes_on(on_the_double, monkeypatch):
    def step_times(*_):
        raise gpu_report.ReportError("the variant 'torch' ended with code 1")

    monkeypatch.setattr(gpu_report, "step_times", step_times)
    monkeypatch.setattr(gpu_report, "CLOSE", -1)
    assert gpu_report.main(["--dataset", "digits"]) == 1
    page = on_the_double.read_text()
    assert "Failed: the variant 'torch' ended with code 1" in page
    assert (
        "Failed: Mean loss of the first 20 steps" in page and "At most -1e+00 are allowed" in page
    )
    assert "| encoder.trunk.2 | output | " in page


def test_without_pytorch_there_are_no_ratios(on_the_double, monkeypatch):
    def step_times(network, batch_size):
        return {"variants": {"tinyvae": {"ms": 0.5}}}

    monkeypatch.setattr(gpu_report, "step_times", step_times)
    assert "| conv | 128 | 0.500 | not measured | not measured |" in gpu_report.step_table(
        None, None
    )


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
    assert capsys.readouterr().err.startswith(
        "gpu_report.py: backend cupy: CuPy cannot be imported"
    )
