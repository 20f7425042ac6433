"""What belongs to the program around a training: signals, threads, BLAS, NumPy's error state."""

import os
import runpy
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from short_runs import after_step, interrupt, result, trainer
from threadpoolctl import threadpool_info, threadpool_limits
from tiny_runs import RUN, TINY, write_table

from tinyvae import make_model
from tinyvae.training import interrupt as interrupt_module
from tinyvae.training import threads
from tinyvae.training.evaluation import evaluate, importance_weighted_bound
from tinyvae.training.interrupt import interrupt_flag
from tinyvae.training.threads import Threads

ROOT = Path(__file__).parents[2]


@pytest.fixture
def sigint():
    """Sets the handler of Ctrl-C, for one test."""
    before = signal.getsignal(signal.SIGINT)
    yield lambda handler: signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_that_is_ignored_stays_ignored(tmp_path, sigint):
    sigint(signal.SIG_IGN)
    run = after_step(trainer(tmp_path, TINY), 3, interrupt)
    run.fit()
    assert run.finished
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_handler_of_the_host_program_stays_in_place(tmp_path, sigint):
    calls = []
    handler = sigint(lambda *_: calls.append(1)) and signal.getsignal(signal.SIGINT)
    run = after_step(trainer(tmp_path, TINY), 3, interrupt)
    run.fit()
    assert run.finished and calls == [1]
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_handler_that_python_does_not_know_stays_in_place(monkeypatch):
    """getsignal returns None for the handler of a C program that runs Python inside."""

    def forbidden(*arguments):
        raise AssertionError("the handler was changed")

    monkeypatch.setattr(interrupt_module.signal, "getsignal", lambda number: None)
    monkeypatch.setattr(interrupt_module.signal, "signal", forbidden)
    with interrupt_flag() as event:
        assert not event.is_set()


def test_a_handler_that_is_set_meanwhile_stays(sigint):
    sigint(signal.default_int_handler)

    def later(*_):
        pass

    with interrupt_flag():
        signal.signal(signal.SIGINT, later)
    assert signal.getsignal(signal.SIGINT) is later


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_background_job_of_sh_goes_on_after_ctrl_c(tmp_path):
    """sh starts it with SIGINT ignored, so that Ctrl-C ends the foreground alone."""
    write_table(tmp_path / "table.npy")
    (tmp_path / "script.py").write_text(
        "import os, signal, sys\n"
        "from examples import train\n"
        "from tinyvae.training import program\n"
        "work = program.work\n"
        "def interrupted(trainer, given, xp):\n"
        "    step = trainer.optimizer.step\n"
        "    def acting(*arguments):\n"
        "        step(*arguments)\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    trainer.optimizer.step = acting\n"
        "    trainer.fit()\n"
        "    return 7 if trainer.finished else 8\n"
        "program.work = interrupted\n"
        "sys.exit(train.main())\n"
    )
    command = f"{sys.executable} script.py {RUN} --epochs 2 --out run & wait $!; exit $?"
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=60
    )
    assert done.returncode == 7


@pytest.mark.parametrize("script", ["train.py", "train_mnist.py"])
def test_ctrl_c_while_modules_are_imported(monkeypatch, script, capsys):
    class Interrupting:
        def find_spec(self, name, *_):
            if name == "tinyvae.training.program":
                raise KeyboardInterrupt

    import tinyvae.training

    monkeypatch.delitem(sys.modules, "tinyvae.training.program", raising=False)
    monkeypatch.delattr(tinyvae.training, "program", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "examples" / script), run_name="__main__")
    assert stop.value.code == 130
    assert "Traceback" not in capsys.readouterr().err


# Threads.


class NoMore(threading.Thread):
    """A system that gives `left` more threads."""

    left = 0

    def start(self):
        if NoMore.left == 0:
            raise RuntimeError("can't start new thread")
        NoMore.left -= 1
        super().start()


@pytest.mark.parametrize("left", [0, 1, 2])
def test_fewer_threads_than_asked_for_give_the_same_numbers(
    tmp_path, monkeypatch, left, small_parts
):
    settings = TINY | {"threads": 4, "epochs": 1}
    trainer(tmp_path / "all", settings).fit()
    monkeypatch.setattr(threads, "Thread", NoMore)
    NoMore.left, before = left, threading.active_count()
    trainer(tmp_path / "fewer", settings).fit()
    assert NoMore.left == 0 and threading.active_count() == before
    assert result(tmp_path / "fewer") == result(tmp_path / "all")


def test_absurd_numbers_of_threads_take_no_memory(sentence, tmp_path, small_parts):
    for count in (257, 3000, 2**31, 10**400):
        assert "--threads must be at most 256" in sentence(f"--threads {count}")
    run = trainer(tmp_path, TINY | {"threads": 256, "batch_size": 2, "epochs": 1})
    assert len(run.parallel.replicas) <= 2  # more could not have an example each
    run.fit()


def blas_threads():
    return [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]


def test_blas_gets_its_threads_back():
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        first, second = Threads(2), Threads(3)
        with pytest.raises(KeyError), first:
            raise KeyError
        assert blas_threads() == before
        first.__enter__()  # two trainings at the same time, which end in the order of their start
        second.__enter__()
        first.__exit__(None, None, None)
        assert set(blas_threads()) == {1}
        second.__exit__(None, None, None)
        assert blas_threads() == before


def test_two_trainings_at_the_same_time(tmp_path, small_parts):
    settings = TINY | {"threads": 2}
    alone, together = trainer(tmp_path / "alone", settings), []
    alone.fit()
    for name in ("a", "b"):
        together.append(threading.Thread(target=trainer(tmp_path / name, settings).fit))
    before = blas_threads()
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    assert result(tmp_path / "a") == result(tmp_path / "b") == result(tmp_path / "alone")
    assert blas_threads() == before


# NumPy's error state.


def test_numpy_that_raises_for_the_caller_does_no_harm(tmp_path, run, small_parts):
    asked = {"divide": "raise", "over": "raise", "under": "raise", "invalid": "raise"}
    in_python = trainer(tmp_path / "a", TINY | {"threads": 2})
    *_, (_, bias) = in_python.model.decoder.named_parameters()
    bias.value[...] = -200  # logits of pixels, whose exp underflows
    with np.errstate(**asked):
        in_python.fit()
        assert run("--epochs 2 --out run") == 0
        assert np.geterr() == asked


def test_evaluation_where_exp_underflows():
    model = make_model(network="mlp", hidden=(8,), latent_dim=3)
    *_, (_, bias) = model.decoder.named_parameters()
    bias.value[...] = -200  # logits of pixels
    x = np.random.default_rng(0).integers(0, 256, (20, 1, 28, 28), dtype=np.uint8)
    expected = evaluate(model, x), importance_weighted_bound(model, x, 3).tolist()
    with np.errstate(all="raise"):
        with pytest.raises(FloatingPointError, match="underflow"):
            model.decode(np.ones((1, 3), np.float32))
        assert (evaluate(model, x), importance_weighted_bound(model, x, 3).tolist()) == expected
