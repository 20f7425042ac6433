"""Parameters that no optimizer trains, and the two moments at which a model changes them itself."""

import copy
import pickle

import numpy as np
import pytest
from short_runs import after_step, assert_same_run, interrupt
from toy_variants import variant
from toys import toy_data

from tinyvae import SGD, Adam, Autoencoder, clip_grad_norm, to_host
from tinyvae.engine.backend import array_module
from tinyvae.engine.differences import check_model
from tinyvae.engine.module import Module, Parameter
from tinyvae.gradcheck import TOLERANCE
from tinyvae.training.checkpoint import load_checkpoint
from tinyvae.training.config import Config
from tinyvae.training.trainer import Trainer

DATA = toy_data(50, 30)
STEPS = 4  # an epoch


class Mixed(Module):
    def __init__(self):
        self.a = Parameter(np.array([1.0, 2.0]), trained=False)
        self.b = Parameter(np.array([[3.0], [4.0], [5.0]]))
        self.c = Parameter(np.array([6.0]), trained=False)
        self.d = Parameter(np.array([7.0]))


class Counting(Autoencoder):
    """An autoencoder that keeps a moving average of the batch's sum of x, and counts epochs."""

    def __init__(self, *arguments):
        self.mean = Parameter(np.zeros(3, np.float32), trained=False)
        self.drawn = Parameter(np.zeros(2, np.float32), trained=False)
        super().__init__(*arguments)

    def terms_backward(self, dterms):
        x = self._saved[0]  # (D, N)
        xp = array_module(x)
        self.mean.grad = x[300:303].sum(axis=1)
        self.drawn.grad = xp.zeros(2, x.dtype)
        super().terms_backward(dterms)

    def after_step(self):
        self.mean.value = 0.9 * self.mean.value + self.mean.grad

    def end_epoch(self, batches, rng):
        sizes = [len(x) for x in batches]
        self.drawn.value = np.array([sum(sizes), rng.random()])


make = variant(Counting)


def trainer(folder=None, xp=np, **settings):
    settings = {"epochs": 3, "batch_size": 16, "threads": 2} | settings
    return Trainer(make().to(xp), DATA, Config(**settings), folder)


@pytest.fixture
def made(xp):
    return Mixed().to(xp, np.float64)


def test_trained_parameters_come_first_in_theta(made):
    np.testing.assert_array_equal(to_host(made.theta), [3, 4, 5, 7, 1, 2, 6])
    assert made.trained_size == 4
    assert list(made.state_dict()) == ["a", "b", "c", "d"]  # in the order of definition
    for name, parameter in made.named_parameters():
        assert parameter.theta is made.theta
        np.testing.assert_array_equal(to_host(parameter.value), Mixed().state_dict()[name])
    made.c.value = made.c.value + 1
    made.a.grad = made.a.value
    np.testing.assert_array_equal(to_host(made.theta)[4:], [1, 2, 7])
    np.testing.assert_array_equal(to_host(made.grad)[4:], [1, 2, 0])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_knows_them_too(copied):
    other = copied(Mixed().to())
    assert other.trained_size == 4
    np.testing.assert_array_equal(other.theta, [3, 4, 5, 7, 1, 2, 6])


def test_a_replica_shares_them(made):
    replica = made.replica()
    replica.a.value = replica.a.value * 10
    np.testing.assert_array_equal(to_host(made.a.value), [10, 20])
    assert replica.trained_size == 4 and replica.grad is not made.grad


@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_an_optimizer_leaves_them_alone(made, optimizer):
    before, adapted = to_host(made.theta).copy(), optimizer(made, lr=0.1)
    made.grad[...] = 1.0
    adapted.step()
    after = to_host(made.theta)
    assert (after[:4] < before[:4]).all()
    np.testing.assert_array_equal(after[4:], before[4:])
    assert all(state.size == 4 for name, state in adapted.state.items() if name != "step")


def test_clipping_looks_at_trained_parameters_only(made):
    made.grad[...] = 10.0
    assert float(clip_grad_norm(made, 1.0)) == 20.0
    np.testing.assert_allclose(to_host(made.grad), [0.5] * 4 + [10.0] * 3, rtol=1e-6)


def test_the_gradient_check_moves_trained_parameters_only():
    rng, model = np.random.default_rng(0), make()
    model.mean.value = [1.0, 2.0, 3.0]
    assert check_model(model, rng.random((3, 1, 28, 28)), rng=rng) < TOLERANCE
    np.testing.assert_array_equal(model.mean.value, [1, 2, 3])


@pytest.mark.parametrize("parts", [1, 5])
def test_the_rule_is_applied_in_every_step_to_the_sum_over_the_batch(monkeypatch, parts):
    monkeypatch.setattr("tinyvae.training.trainer.parts_of", lambda model, size: parts)
    run, expected = trainer(epochs=2), np.zeros(3)
    for epoch in range(2):
        run.feed.begin(epoch)
        for i in range(STEPS):
            (x,) = run.feed.inputs(i)
            expected = 0.9 * expected + x.reshape(len(x), -1)[:, 300:303].sum(axis=0)
    run.fit()
    np.testing.assert_allclose(run.model.mean.value, expected, rtol=1e-5)


def test_on_a_device_too_recorded_or_not(double):
    host, device, unrecorded = trainer(), trainer(xp=double), trainer(xp=double)
    unrecorded.steps.records = False
    for run in (host, device, unrecorded):
        run.fit()
    assert device.steps.records
    for name in ("mean", "drawn"):
        there = [to_host(getattr(run.model, name).value) for run in (host, device, unrecorded)]
        np.testing.assert_allclose(there[1], there[0], rtol=1e-5)
        np.testing.assert_array_equal(there[1], there[2])


def test_the_end_of_an_epoch_shows_some_examples(monkeypatch):
    monkeypatch.setattr("tinyvae.training.trainer.END_EXAMPLES", 25)
    monkeypatch.setattr("tinyvae.training.trainer.END_BATCH", 7)
    run, seen = trainer(epochs=2), []
    model = run.model
    model.end_epoch = lambda batches, rng: seen.append(([*batches], rng.random(), run.step))
    run.fit()
    (batches, one, step), (_, other, _) = seen
    assert [len(x) for x in batches] == [7, 7, 7, 4] and step == STEPS and one != other
    np.testing.assert_array_equal(np.concatenate(batches), np.float32(DATA.x_train[::2] / 255))


@pytest.mark.parametrize("stop", [1, STEPS, STEPS + 2])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(folders, stop):
    whole, parts = folders(), folders()
    trainer(whole).fit()
    after_step(trainer(parts), stop, interrupt).fit()
    run = trainer(parts)
    run.restore(*load_checkpoint(parts / "checkpoint.npz"))
    run.fit()
    assert run.model.drawn.value[0] == 50
    assert_same_run(whole, parts)
