"""A run that was interrupted or killed goes on as if nothing had happened."""

import signal
import threading

import numpy as np
import pytest
from short_runs import (
    DATA,
    EVERYTHING,
    RUNS,
    STEPS,
    after_step,
    assert_same_run,
    each_run,
    interrupt,
    result,
    resumed,
    trainer,
)
from toys import toy_data

from tinyvae.errors import UserError
from tinyvae.training.checkpoint import load_checkpoint


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The folder of the whole run with these settings, trained once."""
    folders = {}

    def folder(settings, xp):
        key = (xp.__name__, *sorted(settings.items()))
        if key not in folders:
            folders[key] = tmp_path_factory.mktemp("whole")
            trainer(folders[key], settings, xp).fit()
        return folders[key]

    return folder


@each_run
@pytest.mark.parametrize(
    "stops",
    [
        [1, STEPS],
        [STEPS - 1, STEPS + 1],
        [STEPS + 2, STEPS + 3],
        [3 * STEPS - 1, 3 * STEPS],
    ],
    ids=str,
)
def test_an_interrupted_run_ends_bit_for_bit_the_same(xp, uninterrupted, folders, settings, stops):
    """Ctrl-C after each of these steps: inside an epoch, at its end, twice in one epoch."""
    if xp is not np and settings is RUNS["threads"]:
        pytest.skip("a device computes a batch in one part")
    folder, run = folders(), None
    for stop in stops:
        run = resumed(folder, settings, xp) if run else trainer(folder, settings, xp)
        after_step(run, stop, interrupt).fit()
        assert run.step == stop
        assert load_checkpoint(folder / "checkpoint.npz")[1]["step"] == stop
        assert len(run.history) == stop // STEPS
    run = resumed(folder, settings, xp)
    run.fit()
    assert run.finished
    assert_same_run(folder, uninterrupted(settings, xp))


@each_run
def test_a_longer_run_may_follow(xp, uninterrupted, folders, settings):
    folder = folders()
    trainer(folder, settings | {"epochs": 2}, xp).fit()
    resumed(folder, settings, xp).fit()
    assert_same_run(folder, uninterrupted(settings, xp))


def test_a_killed_run_goes_on_from_its_last_checkpoint(xp, uninterrupted, folders):
    """What was done since then is done again."""

    class Killed(BaseException):
        pass

    def kill():
        raise Killed

    folder = folders()
    with pytest.raises(Killed):
        after_step(trainer(folder, EVERYTHING, xp), STEPS + 2, kill).fit()
    assert load_checkpoint(folder / "checkpoint.npz")[1]["step"] == STEPS
    resumed(folder, EVERYTHING, xp).fit()
    assert_same_run(folder, uninterrupted(EVERYTHING, xp))


def test_a_run_killed_in_its_first_epoch_begins_anew(xp, uninterrupted, folders):
    folder = folders()
    run = trainer(folder, {}, xp)
    run.save()
    (folder / "checkpoint.npz.tmp").write_bytes(b"half a checkpoint")
    resumed(folder, {}, xp).fit()
    assert_same_run(folder, uninterrupted({}, xp))


def test_a_finished_run_stays_as_it_is(folders, uninterrupted):
    folder = folders()
    trainer(folder).fit()
    run = resumed(folder)
    assert run.finished
    run.fit()
    assert_same_run(folder, uninterrupted({}, np))


def test_seconds_go_on_too(folders):
    folder = folders()
    after_step(trainer(folder), 2, interrupt).fit()
    arrays, about = load_checkpoint(folder / "checkpoint.npz")
    assert 0 < about["seconds"] < 1000
    run = trainer(folder)
    run.restore(arrays, about | {"seconds": 5000.0})
    run.fit()
    assert [row["seconds"] > 5000 for row in run.history] == [True, False, False]


def test_the_optimizers_state_matters(folders, uninterrupted):
    """The comparison above can fail: forget the moments, and the run ends elsewhere."""
    folder = folders()
    after_step(trainer(folder), 2, interrupt).fit()
    run = resumed(folder)
    run.optimizer.state["M"][...] = 0
    run.fit()
    arrays, other = result(folder)[0], result(uninterrupted({}, np))[0]
    assert arrays["model/encoder.mu.weight"] != other["model/encoder.mu.weight"]


def test_other_data_are_refused(folders):
    folder = folders()
    trainer(folder, {"epochs": 1}).fit()
    before = (folder / "checkpoint.npz").read_bytes()
    others = [toy_data(50, 30, seed=1), toy_data(60, 20), DATA.head(49)]
    one_pixel = toy_data(50, 30)
    one_pixel.x_test[-1, 0, -1, -1] ^= 1
    for other in [*others, one_pixel]:
        with pytest.raises(UserError) as error:
            resumed(folder, data=other)
        sentence = str(error.value)
        assert "trained on toy squares" in sentence and "the same data" in sentence
        assert DATA.fingerprint[:12] in sentence and other.fingerprint[:12] in sentence
    assert (folder / "checkpoint.npz").read_bytes() == before


# Ctrl-C.


def test_the_first_ctrl_c_saves_and_the_second_stops_at_once(folders, uninterrupted):
    folder, handler = folders(), signal.getsignal(signal.SIGINT)

    def impatient():
        interrupt()
        interrupt()

    with pytest.raises(KeyboardInterrupt):
        after_step(trainer(folder), STEPS + 2, impatient).fit()
    assert signal.getsignal(signal.SIGINT) is handler
    assert load_checkpoint(folder / "checkpoint.npz")[1]["step"] == STEPS
    resumed(folder).fit()
    assert_same_run(folder, uninterrupted({}, np))


def test_ctrl_c_is_given_back(folders):
    handler = signal.getsignal(signal.SIGINT)
    after_step(trainer(folders()), 2, interrupt).fit()
    assert signal.getsignal(signal.SIGINT) is handler
    with pytest.raises(KeyboardInterrupt):
        interrupt()


def test_training_in_a_thread(folders, uninterrupted):
    """Only the main thread may handle signals; the others train all the same."""
    folder = folders()
    thread = threading.Thread(target=trainer(folder).fit)
    thread.start()
    thread.join()
    assert_same_run(folder, uninterrupted({}, np))
