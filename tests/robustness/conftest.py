"""Runs in this process that a test can stop, edit and look at: without figures."""

import pytest
from short_runs import STEPS, after_step, interrupt, trainer
from tiny_runs import RUN, TINY, write_table

from examples import train
from tinyvae.training import program, report
from tinyvae.training.checkpoint import load_checkpoint


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """The checkpoint of a run that was stopped within its second epoch: (arrays, about)."""
    folder = tmp_path_factory.mktemp("saved")
    after_step(trainer(folder, TINY), STEPS + 2, interrupt).fit()
    return load_checkpoint(folder / "checkpoint.npz")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """table.npy in an empty current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "BOUND_SAMPLES", 2)
    monkeypatch.setattr(program, "draw_figures", lambda trainer, metrics: trainer.folder)
    write_table("table.npy")


@pytest.fixture
def run(small):
    """The exit code of examples/train.py with these arguments, a new run by default."""

    def run(arguments, start=RUN):
        try:
            return train.main([*start.split(), *arguments.split()])
        except SystemExit as stop:
            return stop.code

    return run


@pytest.fixture
def sentence(run, capsys):
    """The one line on stderr of a command that is refused with exit code 2."""

    def sentence(arguments, start=RUN):
        capsys.readouterr()
        assert run(arguments, start) == 2
        out, err = capsys.readouterr()
        lines = [line for line in err.splitlines() if "has no test set" not in line]
        assert len(lines) == 1 and lines[0].startswith("train.py: ")
        assert "Traceback" not in out + err
        return lines[0]

    return sentence
