"""No run fails because of its output: closed, full, gone, or in an encoding that lacks letters."""

import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from short_runs import after_step, interrupt, trainer
from tiny_runs import RUN, TINY, write_table

from tinyvae.training import program
from tinyvae.training.output import Lenient, lenient_output, say

ROOT = Path(__file__).parents[2]
posix = pytest.mark.skipif(os.name == "nt", reason="a POSIX shell")


class Failing(io.StringIO):
    """A stream that fails after some characters, in write or not before flush."""

    def __init__(self, error, left=0, buffered=False):
        super().__init__()
        self.error, self.left, self.buffered = error, left, buffered

    def write(self, text):
        self.left -= len(text)
        return self.flush() or len(text) if not self.buffered else len(text)

    def flush(self):
        if self.left < 0:
            raise self.error


ERRORS = [BrokenPipeError(32, "Broken pipe"), OSError(28, "No space left"), ValueError("closed")]


@pytest.mark.parametrize("buffered", [False, True])
@pytest.mark.parametrize("error", ERRORS, ids=str)
def test_training_goes_on_without_a_bar(tmp_path, monkeypatch, error, buffered):
    for name in ("stdout", "stderr"):
        for left in (0, 100):
            monkeypatch.setattr(sys, name, Failing(error, left, buffered))
            run = trainer(tmp_path / f"{name}{left}", TINY)
            run.fit()
            assert run.finished


def test_training_without_any_stream_as_under_pythonw(tmp_path, monkeypatch, run):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    after_step(trainer(tmp_path / "a", TINY), 5, interrupt).fit()
    assert run("--out run --epochs 1") == 0
    assert run("--out run --epochs 0") == 2
    assert run("--no-such-argument") == 2
    assert sys.stdout is None and sys.stderr is None


def test_letters_that_the_terminal_lacks_are_escaped(run, monkeypatch):
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    os.rename("table.npy", "tablé.npy")
    monkeypatch.setattr(sys, "stdout", ascii_only)
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    start = RUN.replace("table", "tablé")
    assert run("--epochs 1 --out run", start) == 0
    assert run("--epochs 1 --out run --lr nan", start) == 2
    assert b"data set: tabl\\xe9.npy, 40 training" in ascii_only.buffer.getvalue()
    assert b"try next" in ascii_only.buffer.getvalue()  # nothing is lost after it


def test_a_line_clears_the_bar_of_the_same_terminal(tmp_path, monkeypatch):
    """tqdm compares the streams, so the wrapped ones must be equal to what they wrap."""
    terminal = io.StringIO()
    assert Lenient(terminal) == terminal and Lenient(terminal) != io.StringIO()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    run = trainer(tmp_path, TINY | {"epochs": 1})
    after_step(run, 2, lambda: say("a line")).fit()
    before, after = terminal.getvalue().split("a line\n")
    assert before.split("\r")[-1] == "" and before.split("\r")[-2].isspace()
    assert "epoch 1/1" in before and "epoch 1/1" in after


def test_the_streams_are_put_back():
    before = sys.stdout, sys.stderr
    with pytest.raises(KeyError), lenient_output():
        assert isinstance(sys.stdout, Lenient) and sys.stdout.fileno
        raise KeyError
    assert (sys.stdout, sys.stderr) == before and not isinstance(sys.stdout, Lenient)


SCRIPT = """
import sys
from tinyvae.training import program, report
program.draw_figures, report.BOUND_SAMPLES = lambda trainer, metrics: trainer.folder, 2
from examples import train
sys.exit(train.main())
"""


@posix
@pytest.mark.parametrize(
    "redirect", [">&- 2>&-", ">/dev/full 2>/dev/full", "2>&1 | head -1", "<&- >&- 2>/dev/full"]
)
def test_a_process_whose_output_goes_away(tmp_path, redirect):
    if "full" in redirect and not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    if "2>&-" in redirect and np.lib.NumpyVersion(np.__version__) < "2.1.0":
        pytest.skip("NumPy 2.0 itself cannot be imported by SciPy without sys.stderr")
    write_table(tmp_path / "table.npy")
    (tmp_path / "script.py").write_text(SCRIPT)
    python, run = shlex.quote(sys.executable), f"{RUN} --epochs 2 --out run"
    command = f"({python} script.py {run}; echo $? > code) {redirect}"
    subprocess.run(
        ["sh", "-c", command],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=60,
        capture_output=True,
    )
    assert (tmp_path / "code").read_text() == "0\n"
    assert (tmp_path / "run" / "metrics.json").read_text().endswith("}\n")
    with np.load(tmp_path / "run" / "checkpoint.npz") as archive:  # no line got into it
        assert len(archive.files) > 10


def test_suggested_commands_can_be_pasted(run, capsys, monkeypatch):
    os.mkdir("my data")
    os.rename("table.npy", "my data/$(table).npy")
    work = program.work

    def stopped(trainer, given, xp):
        return work(after_step(trainer, 2, interrupt), given, xp)

    with monkeypatch.context() as patch:
        patch.setattr(program, "work", stopped)
        words = ["--dataset", "my data/$(table).npy", "--out", "it's; my run", "--batch-size", "16"]
        assert program.main("train.py", "", None, [*words, "--backend", "numpy"]) == 130
    out = capsys.readouterr().out
    assert "pictures: 'it'\"'\"'s; my run'/*.png" in out
    last = out.splitlines()[-1].partition("to go on: ")[2]
    again = shlex.split(last)
    assert again[0] == "--resume" and "--backend" in again and "--dataset" in again
    assert program.main("train.py", "", None, again) == 0


@pytest.mark.parametrize("locked", ["history.csv", "config.json"])
def test_a_locked_log_is_reported_and_training_goes_on(run, monkeypatch, capsys, locked):
    replace = os.replace

    def refusing(source, target):
        if str(target).endswith(locked):
            raise PermissionError(13, "Permission denied", str(source), None, str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refusing)
    assert run("--epochs 2 --out run") == 0
    out = capsys.readouterr().out
    assert f"WARNING: {Path('run', locked)} was not written (Permission denied)" in out
    assert "VAE after 2 epochs" in out
    written = {"checkpoint.npz", "config.json", "history.csv", "metrics.json"} - {locked}
    assert set(os.listdir("run")) == written
