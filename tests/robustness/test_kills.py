"""Processes that are killed at random moments: no result is lost, and the next process goes on."""

import os
import random
import signal
import sys
import time

import pytest
from short_runs import result, resumed, trainer
from tiny_runs import TINY

from tinyvae.training.checkpoint import load_checkpoint

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX")
SETTINGS = TINY | {"epochs": 12, "binarize": "dynamic"}


def killed(action, seconds):
    """Whether a child process was killed after so many seconds, before action() had ended."""
    pid = os.fork()
    if not pid:
        sys.stdout = sys.stderr = None
        try:
            action()
            os._exit(0)
        finally:
            os._exit(1)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The seconds of an uninterrupted run, its folder, and what it leaves."""
    folder = tmp_path_factory.mktemp("whole")
    start = time.perf_counter()
    trainer(folder, SETTINGS).fit()
    return time.perf_counter() - start, folder, result(folder)


def test_a_run_that_is_killed_again_and_again_ends_bit_for_bit_the_same(tmp_path, whole, long):
    chance, kills = random.Random(None if long else 0), 0
    seconds, _, expected = whole
    for number in range(400 if long else 4):
        folder = tmp_path / str(number)

        def go_on(folder=folder):
            exists = (folder / "checkpoint.npz").exists()
            (resumed if exists else trainer)(folder, SETTINGS).fit()

        while killed(go_on, chance.uniform(0.01, 0.6 * seconds)):
            kills += 1
            if (folder / "checkpoint.npz").exists():
                load_checkpoint(folder / "checkpoint.npz")
        assert result(folder) == expected
        assert sorted(os.listdir(folder)) == ["checkpoint.npz", "config.json", "history.csv"]
    print(f"{kills} kills")
    assert kills >= number


def test_a_new_run_that_is_killed_as_it_starts_leaves_the_old_results_whole(tmp_path, whole, long):
    chance, moved = random.Random(None if long else 0), 0
    old = {path.name: path.read_bytes() for path in whole[1].iterdir()}
    for number in range(4000 if long else 25):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, content in old.items():
            (folder / name).write_bytes(content)
        killed(lambda f=folder: trainer(f, TINY).fit(), chance.uniform(0, 0.012))
        places = [
            {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()}
            for place in (folder, folder / "earlier-1")
            if place.exists()
        ]
        assert any(place.items() >= old.items() for place in places)
        moved += len(places) - 1
    print(f"{moved} of {number + 1} had been moved")
