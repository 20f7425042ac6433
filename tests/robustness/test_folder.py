"""One run at a time in a folder; what an earlier run left there stays whole."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from short_runs import after_step, trainer

from tinyvae.errors import UserError
from tinyvae.training import checkpoint, folder
from tinyvae.training.checkpoint import load_checkpoint, write_atomically
from tinyvae.training.folder import OUTPUTS, locked, set_aside

ROOT = Path(__file__).parents[2]


def contents(path):
    """{name below path: bytes} of all files."""
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_a_second_run_in_the_folder_of_a_live_run_is_refused(tmp_path):
    first, refused = trainer(tmp_path), []

    def second():
        with pytest.raises(UserError) as error:
            trainer(tmp_path, {"beta": 4.0}).fit()
        refused.append(str(error.value))

    def in_a_thread():
        before = contents(tmp_path)
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        assert contents(tmp_path) == before

    after_step(first, 5, in_a_thread).fit()
    assert len(refused) == 1 and "another run is writing to this folder" in refused[0]
    assert load_checkpoint(tmp_path / "checkpoint.npz")[1]["config"]["beta"] == 1
    trainer(tmp_path, {"beta": 4.0}).fit()  # now the folder is free
    assert load_checkpoint(tmp_path / "earlier-1" / "checkpoint.npz")[1]["config"]["beta"] == 1


HOLDER = """
import sys, time
from tinyvae.training.folder import locked
with locked(sys.argv[1]):
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(folder.fcntl is None, reason="Windows has no such lock")
def test_the_lock_of_another_process_ends_when_that_is_killed(run, sentence, tmp_path):
    assert run("--epochs 1 --out run") == 0
    before = contents(tmp_path / "run")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, "run"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "locked\n"
    for arguments, start in (("--resume run --epochs 2", ""), ("--out run", None)):
        told = sentence(arguments, **({} if start is None else {"start": start}))
        assert "run: another run is writing to this folder; wait" in told
    assert contents(tmp_path / "run") == before
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert run("--resume run --epochs 2", start="") == 0


def test_the_lock_ends_with_an_error_and_may_be_taken_again_by_its_thread(tmp_path):
    for _ in range(2):
        with pytest.raises(KeyError), locked(tmp_path), locked(tmp_path / ".." / tmp_path.name):
            raise KeyError
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "missing"):  # is for load_checkpoint to say
        assert not (tmp_path / "missing").exists()


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def unsupported(*arguments):
        raise OSError("no locks available")

    if folder.fcntl:
        monkeypatch.setattr(folder.fcntl, "flock", unsupported)
    trainer(tmp_path, {"epochs": 1}).fit()


def test_the_runs_of_a_sweep_have_folders_of_their_own(run, tmp_path):
    for change in ("", "--beta 4", "--seed 2", "--lr 0.01", "--binarize none --train-size 30"):
        assert run(f"--epochs 1 {change}") == 0
    common = "table.npy-vae-mlp-z2-6"
    for seed in (12345678, 12345679):
        assert run(f"--epochs 1 --seed {seed}") == 0
    ends = ("", "-beta4", "-lr0.01", "-seed2", "-seed12345678", "-seed12345679")
    expected = {f"{common}-n30-batch-size16", *(f"{common}-batch-size16{end}" for end in ends)}
    assert {path.name for path in (tmp_path / "runs").iterdir()} == expected
    assert not list((tmp_path / "runs").rglob("earlier-*"))


def test_a_start_that_fails_leaves_the_finished_run(run, sentence, tmp_path, monkeypatch):
    assert run("--epochs 1 --out run") == 0
    before = contents(tmp_path / "run")
    for wrong in ("--latent-dim 99999999999", "--train-size 60", "--threads 100000", "--lr 0"):
        sentence(f"--out run {wrong}")
        assert contents(tmp_path / "run") == before

    def no_more(*arguments):
        raise MemoryError

    monkeypatch.setattr("tinyvae.training.trainer.DataParallel", no_more)
    assert "out of memory" in sentence("--out run")
    assert contents(tmp_path / "run") == before


class Killed(BaseException):
    """No code of the library may handle it: so the process ends in the next moment."""


@pytest.mark.parametrize("links", [True, False])
def test_a_kill_while_results_are_set_aside_splits_no_run(tmp_path, monkeypatch, links):
    """Before and after every call that changes the disk."""

    def run_folder(name):
        run = tmp_path / name
        (run / "figures").mkdir(parents=True)
        for output in (*OUTPUTS[:-1], "figures/a.png", "figures/b.png"):
            (run / output).write_text(f"results in {output}")
        return run

    whole = contents(run_folder("example"))
    if not links:  # a file system without them: files are copied
        monkeypatch.setattr(os, "link", lambda *_, **__: os.rmdir("no such folder"))
    for kill_at in range(1000):
        run, calls = run_folder(f"run {kill_at}"), [0]

        def counted(function, calls=calls, kill_at=kill_at):
            def call(*arguments, **options):
                for moment in ("before", "after"):
                    if moment == "after":
                        result = function(*arguments, **options)
                    calls[0] += 1
                    if calls[0] == kill_at + 1:
                        raise Killed
                return result

            return call

        with monkeypatch.context() as patch:
            for name in ("link", "mkdir", "rename", "unlink", "rmdir"):
                patch.setattr(os, name, counted(getattr(os, name)))
            try:
                set_aside(run)
                break
            except Killed:
                pass
        places = [contents(place) for place in (run, run / "earlier-1") if place.exists()]
        assert any(place.items() >= whole.items() for place in places)
        with locked(run):
            assert not list(run.glob("*tinyvae-tmp*"))  # what was left unfinished is gone
    assert kill_at > 15
    assert contents(run) == {f"earlier-1/{name}": text for name, text in whole.items()}


def test_results_set_aside_keep_links_and_foreign_files(tmp_path):
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    run.mkdir()
    elsewhere.mkdir()
    (elsewhere / "plot.png").write_text("mine")
    (run / "figures").symlink_to(elsewhere)
    (run / "config.json").symlink_to("missing")
    (run / "notes.txt").write_text("mine")
    assert set_aside(run) == run / "earlier-1"
    assert set_aside(run) is None
    assert sorted(os.listdir(run)) == ["earlier-1", "notes.txt"]
    assert os.readlink(run / "earlier-1" / "figures") == str(elsewhere)
    assert os.readlink(run / "earlier-1" / "config.json") == "missing"
    assert (elsewhere / "plot.png").read_text() == "mine"


def test_a_link_planted_at_a_temporary_name_is_not_followed(tmp_path, monkeypatch):
    victim, path = tmp_path / "victim", tmp_path / "file"
    victim.write_text("precious")
    monkeypatch.setattr(checkpoint.secrets, "token_hex", lambda size: "0" * 2 * size)
    checkpoint.unfinished(path).symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_atomically(path, lambda file: file.write(b"new"))
    assert victim.read_text() == "precious" and not path.exists()


def test_stale_temporary_files_do_no_harm_and_go(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    run = tmp_path / "run"
    (run / "figures").mkdir(parents=True)
    (run / "earlier-1.0000.tinyvae-tmp").mkdir()
    (run / "checkpoint.npz.0000.tinyvae-tmp").symlink_to(victim)
    (run / "figures" / "loss.png.0000.tinyvae-tmp").write_bytes(b"half a figure")
    (run / "checkpoint.npz.tmp").write_text("mine")
    trainer(run, {"epochs": 1}).fit()
    assert victim.read_text() == "precious" and (run / "checkpoint.npz.tmp").exists()
    assert not list(run.rglob("*.tinyvae-tmp"))


def test_two_writers_of_one_file_leave_one_whole_file(tmp_path):
    path = tmp_path / "file"

    def write(content):
        for _ in range(20):
            write_atomically(path, lambda file: (file.write(content), time.sleep(0.0005)))

    threads = [threading.Thread(target=write, args=(c * 1000,)) for c in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in (b"a" * 1000, b"b" * 1000)
    assert os.listdir(tmp_path) == ["file"]
