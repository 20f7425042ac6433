"""The command line under mpiexec: real processes, which share out a run, fail and are killed."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("mpi4py", reason="needs mpi4py: pip install -e '.[mpi]'")
# A plain mpiexec: Open MPI's wants an option for root, and one for more processes than cores.
BESIDE = Path(sys.executable).with_name("mpiexec")
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")
pytestmark = pytest.mark.skipif(MPIEXEC is None, reason="needs mpiexec: pip install -e '.[mpi]'")

ROOT = Path(__file__).parents[2]
SCRIPT = str(ROOT / "examples" / "train_mnist.py")
SMALL = ["--dataset", "digits", "--train-size", "300", "--network", "mlp", "--threads", "1"]
SMALL += ["--hidden", "20", "--latent-dim", "3"]
MPI = ["--distributed", "mpi"]


def ranks(count, *words, program=(SCRIPT,)):
    return [MPIEXEC, "-n", str(count), sys.executable, *program, *map(str, words)]


def run(command, cwd):
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120)


def history(folder):
    with open(folder / "history.csv") as file:
        return list(csv.DictReader(file))


def assert_same_numbers(history, other):
    """Within 1e-3 nats; the columns are losses, errors and counts."""
    assert len(history) == len(other)
    for row, expected in zip(history, other, strict=True):
        for name in row.keys() - {"dataset", "seconds"}:
            assert float(row[name]) == pytest.approx(float(expected[name]), abs=1e-3), name


def test_ranks_train_what_one_trains_and_another_number_goes_on(tmp_path):
    """A run of one process, and a run that two ranks begin and three go on with."""
    one = run([sys.executable, SCRIPT, *SMALL, "--epochs", "3", "--out", "one"], tmp_path)
    two = run(ranks(2, *MPI, *SMALL, "--epochs", 2, "--out", "two"), tmp_path)
    assert (one.returncode, two.returncode) == (0, 0), one.stderr + two.stderr
    assert "2 ranks" in two.stdout and two.stdout.count("epoch 1: test") == 1
    assert (tmp_path / "two" / "metrics.json").exists()
    three = run(ranks(3, *MPI, "--resume", "two", "--epochs", 3), tmp_path)
    assert three.returncode == 0, three.stderr
    assert_same_numbers(history(tmp_path / "two"), history(tmp_path / "one"))


@pytest.mark.parametrize(
    "words, sentence",
    [
        ([*MPI, "--epochs", "none"], "argument --epochs: invalid int value: 'none'"),
        ([*MPI, "--beta", "-1"], "--beta must be a finite number, not negative"),
        ([*MPI, *SMALL, "--batch-size", "1"], "a batch of 1 examples has no share for each of 2"),
        ([*MPI, "--resume", "missing"], "there is no checkpoint"),
        (SMALL, "mpiexec has started 2 processes, each for itself; give --distributed mpi"),
    ],
)
def test_of_a_mistake_rank_0_tells(tmp_path, words, sentence):
    done = run(ranks(2, *words), tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("train_mnist.py: ") == 1 and sentence in done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


def test_a_rank_that_fails_alone_ends_the_run(tmp_path):
    """Its sentence is told, and the checkpoint of the epoch before is whole."""
    program = f"""
from tinyvae.training import program, trainer
do = trainer.Steps.do
def failing(steps, i):
    if steps.trainer.ranks.rank == 1 and steps.trainer.step == 4:
        raise MemoryError("planted")
    return do(steps, i)
trainer.Steps.do = failing
raise SystemExit(program.main("train.py", "", None, {[*MPI, *SMALL, "--out", "run"]}))
"""
    done = run(ranks(2, program=["-c", program]), tmp_path)
    assert done.returncode == 2
    assert "train.py, rank 1: out of memory at a batch size of 128" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(history(tmp_path / "run")) == 1
    again = run([sys.executable, SCRIPT, "--resume", "run", "--epochs", "2"], tmp_path)
    assert again.returncode == 0, again.stderr


def test_a_killed_rank_ends_the_run(tmp_path):
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    program = f"""
import os
from pathlib import Path
from tinyvae.training import program
rank = os.environ.get("PMI_RANK") or os.environ["OMPI_COMM_WORLD_RANK"]
Path(f"pid{{rank}}").write_text(str(os.getpid()))
words = {[*MPI, *SMALL, "--epochs", "100000", "--out", "run"]}
raise SystemExit(program.main("train.py", "", None, words))
"""
    command = ranks(2, program=["-c", program])
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 60
        while not (tmp_path / "run" / "history.csv").exists():
            assert process.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.1)
        os.kill(int((tmp_path / "pid1").read_text()), signal.SIGKILL)
        assert process.wait(timeout=60) != 0
    finally:
        process.kill()
    done = len(history(tmp_path / "run"))
    again = [sys.executable, SCRIPT, "--resume", "run", "--epochs", done + 2]
    assert run([*map(str, again)], tmp_path).returncode == 0


def test_ctrl_c_saves_and_another_run_goes_on(tmp_path):
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = ranks(2, *MPI, *SMALL, "--epochs", 100000, "--out", "run")
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 60
        while not (tmp_path / "run" / "history.csv").exists():
            assert process.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=60)
    finally:
        process.kill()
    log = (tmp_path / "log").read_text()
    assert code == 130 and "not finished; to go on: --resume run" in log, log
    assert "Traceback" not in log
