"""The command line in processes of its own: they are killed, interrupted, and go on."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from short_runs import result

from tinyvae.training.checkpoint import load_checkpoint

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SCRIPT = ROOT / "examples" / "train_mnist.py"
IN_A_PROCESS = """
import sys
sys.path[:0] = [{root!r}, {here!r}]
import command_line
from examples import train_mnist
from tinyvae.training import program
command_line.make_small()
program.draw_figures = lambda trainer, metrics: trainer.folder / "figures"
sys.exit(train_mnist.main())
"""
RUN = "--dataset digits --train-size 300 --network mlp --latent-dim 3 --batch-size 16 --epochs 12 "
RUN += "--binarize dynamic --seed 4"


def process(arguments, folder):
    """The command line in a process of its own, in `folder`, on one thread."""
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    code = IN_A_PROCESS.format(root=str(ROOT), here=str(HERE))
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments.split()],
        cwd=folder,
        env=os.environ | threads,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_saves(running, path, count):
    """Return when `path` has been replaced so often; its process must still be running."""
    seen = {path.stat().st_mtime_ns if path.exists() else None}
    give_up = time.monotonic() + 120
    while len(seen) <= count:
        assert running.poll() is None, running.communicate()[0]
        assert time.monotonic() < give_up
        time.sleep(0.002)
        seen.add(path.stat().st_mtime_ns if path.exists() else None)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """What the checkpoint of the uninterrupted run holds."""
    folder = tmp_path_factory.mktemp("whole")
    running = process(f"{RUN} --out run", folder)
    out, _ = running.communicate(timeout=120)
    assert running.returncode == 0, out
    return result(folder / "run")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_killed_three_times_it_ends_bit_for_bit_the_same(whole_run, tmp_path):
    """kill -9, at random moments after a first save, also in the middle of saving."""
    chance = random.Random(0)
    command = f"{RUN} --out run"
    for _ in range(3):
        running = process(command, tmp_path)
        wait_for_saves(running, tmp_path / "run" / "checkpoint.npz", chance.randint(1, 3))
        time.sleep(chance.uniform(0, 0.1))
        running.kill()
        running.communicate()
        assert running.returncode == -signal.SIGKILL
        load_checkpoint(tmp_path / "run" / "checkpoint.npz")
        command = "--resume run"
    running = process(command, tmp_path)
    out, _ = running.communicate(timeout=120)
    assert running.returncode == 0, out
    assert "epoch 12: test" in out and "epoch 1: test" not in out  # it did not begin anew
    assert result(tmp_path / "run") == whole_run


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_saves_and_resume_ends_bit_for_bit_the_same(whole_run, tmp_path):
    running = process(f"{RUN} --out run", tmp_path)
    wait_for_saves(running, tmp_path / "run" / "checkpoint.npz", 2)
    time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=120)
    assert running.returncode == 130, out
    assert "Traceback" not in out
    assert "not finished; to go on: --resume run" in out
    about = load_checkpoint(tmp_path / "run" / "checkpoint.npz")[1]
    assert 0 < about["step"] < 12 * 19
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["epochs_done"] == about["step"] // 19

    running = process("--resume run", tmp_path)
    out, _ = running.communicate(timeout=120)
    assert running.returncode == 0, out
    assert "epoch 1: test" not in out and "not finished" not in out
    assert result(tmp_path / "run") == whole_run


def test_the_script_itself(tmp_path):
    """As a user calls it: exit code, one sentence, no traceback."""
    done = subprocess.run(
        [sys.executable, SCRIPT, "--beta", "nan"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == (
        "train_mnist.py: --beta must be a finite number, not negative, got nan\n"
    )
    assert list(tmp_path.iterdir()) == []
