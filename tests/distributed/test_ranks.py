"""Several ranks train what one rank trains. Here the ranks are threads of one process."""

import threading

import cupy_double
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from short_runs import DATA, EVERYTHING, MODEL_SETTINGS, SMALL, STEPS, without_seconds
from world import MPI, Comm, World

from tinyvae import make_model
from tinyvae.data import Dataset
from tinyvae.errors import UserError
from tinyvae.training import trainer as trainer_module
from tinyvae.training.config import Config
from tinyvae.training.ranks import ALONE, Ranks
from tinyvae.training.steps import Diverged
from tinyvae.training.trainer import Trainer

MODELS = {  # every kind of model; and what a share could get wrong
    "vae": {},
    "everything": EVERYTHING,
    "sgd": {"optimizer": "sgd", "lr": 1e-4, "likelihood": "gaussian"},
    "conv, threads": {"network": "conv", "samples": 5, "threads": 3, "free_bits": 0.05},
    "ae": {"model": "ae"},
    "cvae": {"model": "cvae", "classes": 12},
    "iwae": {"model": "iwae", "k": 3, "estimator": "dreg"},
    "hvae": {"model": "hvae", "upper": (2,)},
    "flow": {"model": "flow", "flow": "iaf", "free_bits": 0.5},
    "vqvae": {"model": "vqvae", "network": "conv", "codes": 9},
    "vqvae ema": {"model": "vqvae", "network": "conv", "codes": 9, "codebook": "ema"},
}


def trained(ranks, settings, xp=np, dtype=np.float64, folder=None):
    """The Trainer after its epochs; the last batch of an epoch has two examples."""
    settings = SMALL | {"epochs": 2, "threads": 1} | settings
    of_model = {name: settings.pop(name) for name in MODEL_SETTINGS & settings.keys()}
    model = make_model(**of_model, shape=DATA.shape).to(xp, dtype)
    run = Trainer(model, DATA, Config(**settings), folder, ranks)
    run.fit()
    return run


@pytest.mark.parametrize("settings", MODELS.values(), ids=MODELS)
def test_three_ranks_train_what_one_trains(settings):
    """In float64. The last batch has no example for one of them."""
    whole = trained(ALONE, settings)
    runs = World(3).run(lambda ranks: trained(ranks, settings))
    for run in runs:
        np.testing.assert_allclose(run.model.theta, whole.model.theta, rtol=1e-7, atol=1e-9)
        assert without_seconds(run.history) == without_seconds(runs[0].history)
    for row, expected in zip(*(without_seconds(r.history) for r in (runs[0], whole)), strict=True):
        assert row.pop("dataset") == expected.pop("dataset")
        assert row == pytest.approx(expected, rel=1e-7)
    assert len({run.model.theta.tobytes() for run in runs}) == 1


def test_a_world_of_one_is_the_ordinary_run():
    (run,) = World(1).run(lambda ranks: trained(ranks, EVERYTHING, dtype=np.float32))
    alone = trained(ALONE, EVERYTHING, dtype=np.float32)
    assert run.model.theta.tobytes() == alone.model.theta.tobytes()


def test_ranks_on_devices(double):
    """Two ranks on the double of a GPU: unrecorded steps, gradients through the host."""
    host = World(2).run(lambda ranks: trained(ranks, EVERYTHING, dtype=np.float32))
    device = World(2).run(lambda ranks: trained(ranks, EVERYTHING, double, np.float32))
    assert not any(run.steps.records for run in device)
    for a, b in zip(*(without_seconds(runs[0].history) for runs in (host, device)), strict=True):
        assert a.pop("dataset") == b.pop("dataset") and a == pytest.approx(b, rel=1e-4)


def test_each_rank_takes_a_device(monkeypatch):
    taken, runtime = [], cupy_double.cupy.cuda.runtime
    monkeypatch.setattr(runtime, "getDeviceCount", lambda: 2)
    monkeypatch.setattr(runtime, "setDevice", taken.append)
    World(3).run(lambda ranks: ranks.take_device(cupy_double.cupy))
    assert sorted(taken) == [0, 0, 1]


@given(n=st.integers(1, 200), size=st.integers(1, 50))
def test_shares_cover_a_batch(n, size):
    bounds = [Ranks(MPI, Comm(World(size), rank)).bounds(n) for rank in range(size)]
    assert [start for start, _ in bounds] == [0, *(stop for _, stop in bounds[:-1])]
    assert bounds[-1][1] == n
    sizes = [stop - start for start, stop in bounds]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("settings, messages", [({}, 1), ({"free_bits": 0.1}, 2)])
def test_one_message_a_step(settings, messages):
    """And one more where free bits need the mean KL before the gradient."""
    world = World(2)
    world.run(lambda ranks: trained(ranks, settings | {"epochs": 3}))
    assert world.messages == messages * 3 * STEPS


def test_parameters_that_differ_end_the_run(monkeypatch, tmp_path):
    """By one bit, on one rank; the checkpoint before is kept."""
    end = trainer_module.Trainer._end_epoch

    def disturbed(run, epoch, start):
        if epoch == 2 and run.ranks.rank == 1:
            run.model.theta[:1] = np.nextafter(run.model.theta[:1], 9)
        end(run, epoch, start)

    monkeypatch.setattr(trainer_module.Trainer, "_end_epoch", disturbed)
    with pytest.raises(UserError, match="rank 1 has other parameters after epoch 2 than rank 0"):
        World(3).run(lambda ranks: trained(ranks, {}, folder=tmp_path))
    rows = (tmp_path / "history.csv").read_text().splitlines()
    assert len(rows) == 2


def test_ranks_that_begin_with_other_settings_or_data_are_refused(monkeypatch):
    with pytest.raises(UserError, match="rank 2 has other settings, data or weights than rank 0"):
        World(3).run(lambda ranks: trained(ranks, {"beta": 1.0 + (ranks.rank == 2)}))

    def of_a_rank(ranks):
        x = DATA.x_train.copy()
        x[0, 0, 0, 0] += ranks.rank
        data = Dataset("toy squares", x, DATA.y_train, DATA.x_test, DATA.y_test)
        Trainer(make_model(network="mlp"), data, Config(epochs=1), ranks=ranks).fit()

    with pytest.raises(UserError, match="rank 1 has other settings, data or weights than rank 0"):
        World(2).run(of_a_rank)


@pytest.mark.parametrize("who", [0, 1])
def test_ctrl_c_on_one_rank_stops_all_after_the_same_step(monkeypatch, who):
    class Flag:
        """An interrupt_flag that is set when its rank has asked often enough."""

        def __enter__(self):
            self.asked = 0
            return self

        def __exit__(self, *_):
            pass

        def is_set(self):
            self.asked += 1
            return threading.current_thread().name == f"rank {who}" and self.asked > 4

    monkeypatch.setattr(trainer_module, "interrupt_flag", Flag)

    def run(ranks):
        threading.current_thread().name = f"rank {ranks.rank}"
        return trained(ranks, {"epochs": 50})

    steps = [run.step for run in World(2).run(run)]
    assert steps[0] == steps[1] < 3 * STEPS


def test_all_ranks_see_that_a_loss_is_not_finite():
    with pytest.raises(Diverged, match="training stopped at step"):
        World(2).run(lambda ranks: trained(ranks, {"optimizer": "sgd", "lr": 1e9}))


def test_a_batch_smaller_than_the_ranks_is_refused():
    with pytest.raises(UserError, match="a batch of 3 examples has no share for each of 4 ranks"):
        World(4).run(lambda ranks: trained(ranks, {"batch_size": 3}))


def test_what_rank_0_raises_all_ranks_raise():
    def refuse():
        raise UserError("no")

    def attempt(ranks):
        with pytest.raises(UserError, match="no"):
            ranks.from_first(refuse)
        return ranks.from_first(lambda: ranks.rank)

    assert World(3).run(attempt) == [0, 0, 0]
