"""The table of where the time goes: it accounts for all of it, and changes nothing."""

import pytest
from short_runs import STEPS, assert_same_run, each_run, trainer

from tinyvae.training import profile
from tinyvae.training.profile import AROUND, STEP, Profile


class Clock:
    """Stands in for the module time: a look at it takes `look` seconds, all else none."""

    def __init__(self, look):
        self.look, self.now, self.looks = look, 0.0, 0

    def perf_counter(self):
        self.looks += 1
        self.now += self.look
        return self.now


@pytest.fixture
def clock(monkeypatch):
    def replaced(look):
        clock = Clock(look)
        monkeypatch.setattr(profile, "time", clock)
        return clock

    return replaced


@each_run
def test_the_parts_add_up_to_the_whole(folders, clock, settings):
    run = trainer(folders(), settings | {"epochs": 2})
    watch, seconds = Profile(run), clock(look=1.0)
    table = watch.fit()
    assert run.finished and watch.steps == 2 * STEPS
    assert sum(watch.seconds.values()) == seconds.looks - 1  # from the first look to the last
    assert min(watch.seconds.values()) > 0
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
        ("minibatches", lambda run: run.feed, "inputs", STEPS),
        ("noise and order", lambda run: run.feed, "begin", 1),
        ("evaluation", lambda run: run, "_end_epoch", 1),
        ("checkpoint", lambda run: run, "save", 2),
    ],
)
def test_time_is_found_where_it_is_lost(folders, clock, part, owner, method, calls):
    """And not in the part that calls the slow one; nothing else takes any."""
    run, seconds = trainer(folders(), {"epochs": 1}), clock(look=0.0)
    function = getattr(owner(run), method)

    def slow(*arguments):
        seconds.now += 3.0
        return function(*arguments)

    setattr(owner(run), method, slow)
    watch = Profile(run)
    watch.fit()
    lost = {key[1]: time for key, time in watch.seconds.items() if time}
    if method == "log_prob":
        assert lost.pop("evaluation") > 0  # which uses it as well
    assert lost == {part: 3.0 * calls}


def test_evaluation_is_not_counted_as_layers(folders, clock):
    run, seconds = trainer(folders(), {"epochs": 1}), clock(look=0.0)
    layer = run.model.decoder.layers[0]
    forward = layer.forward

    def slow(x, **options):
        seconds.now += 1.0
        return forward(x, **options)

    layer.forward = slow
    watch = Profile(run)
    watch.fit()
    assert watch.seconds[STEP, "decoder.0 Linear", "forward"] == STEPS
    assert watch.seconds[AROUND, "evaluation", ""] > 0


def test_a_watched_run_is_the_same_run(folders, small_parts):
    plain, watched = folders(), folders()
    trainer(plain, {"threads": 2}).fit()
    Profile(trainer(watched, {"threads": 2})).fit()
    assert_same_run(plain, watched)
