"""benchmarks/step.py: that it compares like with like, and counts what it says."""

import argparse
import json
import os
import sys
from types import SimpleNamespace

import cupy_double
import pytest
import recorded_step
import step
import variants

from tinyvae import make_model

OPTIONS = {"backend": "numpy", "network": "mlp", "batch_size": 6, "threads": 2, "rounds": 2}


def compared(monkeypatch, **options):
    """The report of a short run without PyTorch, whether it is installed or not."""
    monkeypatch.setattr(step, "has_torch", lambda backend: False)
    monkeypatch.setattr(step, "PAUSE", 0)
    return step.compare(argparse.Namespace(**OPTIONS | options))


@pytest.mark.skipif(os.name == "nt", reason="the resource module is Unix's")
def test_without_pytorch_it_reports_tinyvae_against_the_floor(monkeypatch):
    report = compared(monkeypatch, task="step")
    assert json.loads(json.dumps(report)) == report
    assert report["variants"].keys() == {"tinyvae", "tinyvae parts"}
    for result in report["variants"].values():
        assert result["ms"] > 0 and result["iqr_ms"] >= 0 and result["rss_mb"] > 10
    best = report["variants"][report["ours"]]["ms"]
    assert best == min(result["ms"] for result in report["variants"].values())
    assert report["floor_share"] == pytest.approx(report["floor_ms"] / best)
    assert "ratio_best" not in report
    assert f"{best:10.2f}" in step.table(report)


@pytest.mark.parametrize("task", ["reconstruct", "sample"])
def test_inference_has_one_variant(monkeypatch, task):
    assert compared(monkeypatch, task=task)["variants"].keys() == {"tinyvae"}


def test_different_results_stop_it():
    same = {"tinyvae": {"value": 1.0, "norm": 2.0}, "torch": {"value": 1.00001, "norm": 2.0}}
    step.agree(same)
    for key in ("value", "norm"):
        with pytest.raises(SystemExit, match=f"do not compute the same {key}"):
            step.agree(same | {"torch": {"value": 1.0, "norm": 2.0} | {key: 2.1}})


def test_operations_of_the_tutorials_network():
    """docs/book/08_convolution.md: 3,540,224 multiplications an image, the first layer 56,448."""
    heads_and_all, first, gflop = 3_540_224, 56_448, 2e-9
    model = make_model()
    forward = variants.product_gflop(model, "reconstruct")
    assert forward == pytest.approx(gflop * heads_and_all)
    assert variants.product_gflop(model, "step") == pytest.approx(
        gflop * (3 * heads_and_all - first)
    )
    decoder = 20 * 256 + 256 * 3136 + 903_168 + first
    assert variants.product_gflop(model, "sample") == pytest.approx(gflop * decoder)


def test_on_a_gpu_each_run_is_timed_between_two_events(monkeypatch):
    """With a clock that counts the runs: run i takes i milliseconds."""
    clock, waited = [0.0], []

    class Event:
        def record(self):
            self.at = clock[0]

        def synchronize(self):
            waited.append(self.at)

    cuda = SimpleNamespace(Event=Event, get_elapsed_time=lambda a, b: b.at - a.at)
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda))
    monkeypatch.setitem(sys.modules, "cupy.cuda", cuda)
    runs = iter((1.0, 2.0, 3.0))

    def run():
        clock[0] += next(runs)

    assert variants.by_events("tinyvae")(run, 3) == [1, 2, 3]
    assert waited == [6]  # once, for the last


def test_the_recorded_step_computes_what_the_step_computes(monkeypatch):
    """On the double, over the end of an epoch."""
    cupy_double.install(monkeypatch)
    monkeypatch.setattr(variants, "STEPS", 3)
    monkeypatch.setattr(recorded_step, "STEPS", 3)
    found = []
    for variant in ("tinyvae", "tinyvae recorded"):
        options = argparse.Namespace(
            variant=variant, backend="cupy", network="conv", batch_size=6, threads=1, task="step"
        )
        run, about = variants.task_of(options)
        losses = [run()(), *([about()["norm"]]), *(run()() for _ in range(6))]
        found.append(losses)
    assert found[1] == pytest.approx(found[0], rel=1e-6)


def test_a_peer_that_fails_is_left_out_and_tinyvae_is_not(monkeypatch, capsys):
    class Worker:
        def __init__(self, name, options):
            self.name = name

        def wait(self):
            if self.name in broken:
                raise step.Ended(f"the variant {self.name!r} ended with code 1")

    monkeypatch.setattr(step, "Worker", Worker)
    names, broken = ["tinyvae", "jax", "torch", "sgemm"], {"jax"}
    for backend in ("numpy", "cupy"):
        workers = step.started(names, SimpleNamespace(backend=backend))
        assert list(workers) == ["tinyvae", "torch", "sgemm"]
        assert capsys.readouterr().err == "left out: the variant 'jax' ended with code 1\n"
    broken = {"sgemm"}
    with pytest.raises(SystemExit, match="'sgemm' ended"):
        step.started(names, SimpleNamespace(backend="cupy"))
