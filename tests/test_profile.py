"""The table of where the time goes: it accounts for all of it, and changes nothing."""

import time

import numpy as np
import pytest
from short_runs import STEPS, assert_same_run, each_run, trainer

from tinyvae.profile import AROUND, STEP, Profile

PAUSE = 0.02  # seconds that a slowed part takes longer


def slowed(owner, method):
    function = getattr(owner, method)

    def slow(*arguments):
        time.sleep(PAUSE)
        return function(*arguments)

    setattr(owner, method, slow)


@each_run
def test_the_parts_add_up_to_the_whole(folders, settings):
    run = trainer(folders(), settings | {"epochs": 2})
    profile = Profile(run)
    start = time.perf_counter()
    table = profile.fit()
    elapsed = time.perf_counter() - start
    assert run.finished and profile.steps == 2 * STEPS
    total = sum(profile.seconds.values())
    assert total == pytest.approx(elapsed, rel=0.02)
    assert min(profile.seconds.values()) >= 0
    shares = [float(line.split()[-1].rstrip("%")) for line in table.splitlines()[1:]]
    assert sum(shares) == pytest.approx(200, abs=2)  # every part, and the two sums of them
    for name in ("decoder.0 Linear", "optimizer", "evaluation", "checkpoint", "minibatches"):
        assert name in table


@pytest.mark.parametrize(
    "part, owner, method, calls",
    [
        ("decoder.2 Linear", lambda run: run.model.decoder.layers[2], "backward", STEPS),
        ("sample, likelihood, KL", lambda run: run.model.likelihood, "log_prob", STEPS),
        ("optimizer", lambda run: run.optimizer, "step", STEPS),
        ("minibatches", lambda run: run, "_minibatch", STEPS),
        ("noise and order", lambda run: run, "_draw", 1),
        ("evaluation", lambda run: run, "_end_epoch", 1),
        ("checkpoint", lambda run: run, "save", 2),
    ],
)
def test_time_is_found_where_it_is_lost(folders, part, owner, method, calls):
    """And not in the part that calls the slow one."""

    def seconds(slow):
        run = trainer(folders(), {"epochs": 1})
        if slow:
            slowed(owner(run), method)
        profile = Profile(run)
        profile.fit()
        return profile.seconds

    quick, slow = seconds(False), seconds(True)
    (lost,) = {key for key in slow if slow[key] - quick[key] > 0.5 * calls * PAUSE} - (
        {(AROUND, "evaluation", "")} if method == "log_prob" else set()  # it uses it as well
    )
    assert lost[1] == part and slow[lost] >= calls * PAUSE


def test_evaluation_is_not_counted_as_layers(folders):
    run = trainer(folders(), {"epochs": 1})
    profile, calls = Profile(run), []
    layer = run.model.decoder.layers[0]
    timed = layer.forward
    layer.forward = lambda x: (calls.append(profile._muted), timed(x))[1]
    profile.fit()
    assert calls.count(0) == STEPS and calls.count(1) > 0
    assert (STEP, "decoder.0 Linear", "forward") in profile.seconds


def test_a_watched_run_is_the_same_run(folders):
    plain, watched = folders(), folders()
    trainer(plain, {"threads": 2}).fit()
    run = trainer(watched, {"threads": 2})
    Profile(run).fit()
    assert_same_run(plain, watched)
    assert np.isfinite(run.model.theta).all()
