"""The prior over grids of codes: its probabilities, its gradient, its samples, and training."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import chi2

from tinyvae import CodePrior, to_host
from tinyvae.data import Dataset
from tinyvae.engine.differences import check_model
from tinyvae.gradcheck import TOLERANCE
from tinyvae.training.config import Config
from tinyvae.training.evaluation import evaluate
from tinyvae.training.trainer import Trainer, train

K, GRID = 3, (2, 2)
ALL = np.array(list(itertools.product(range(K), repeat=4)), float)  # all 81 grids, (81, 4)


def tiny(xp=np, codes=K, grid=GRID, seed=0, dtype=np.float64):
    model = CodePrior.build(codes, grid, np.random.default_rng(seed), width=8)
    model.theta = 3 * model.theta  # so that the codes depend on each other
    return model.to(xp, dtype)


def probabilities(model):
    nll = [float(model.terms(grid[None])["nll"]) for grid in ALL]
    return np.exp(-np.array(nll))


def test_the_probabilities_of_all_grids_add_up_to_one():
    p = probabilities(tiny())
    assert p.sum() == pytest.approx(1, rel=1e-12) and p.std() > 0.3 * p.mean()


def test_no_code_sees_itself_or_a_later_one(xp):
    """And each sees the code before it, also from the start of a row the end of the last one."""
    rng, grid = np.random.default_rng(0), (3, 4)
    model = tiny(xp, 5, grid)
    x = rng.integers(0, 5, (2, 12)).astype(float)
    logits, _ = model._logits(xp.asarray(x))
    before = to_host(logits).reshape(5, 12, 2)
    for i in range(12):
        changed = x.copy()
        changed[:, i:] = (changed[:, i:] + 1 + rng.integers(0, 4, changed[:, i:].shape)) % 5
        now = to_host(model._logits(xp.asarray(changed))[0]).reshape(5, 12, 2)
        np.testing.assert_array_equal(now[:, : i + 1], before[:, : i + 1])
        if i < 11:
            assert (now[:, i + 1] != before[:, i + 1]).any()


def test_the_terms_and_the_bits_by_hand(xp):
    model, x = tiny(xp), ALL[[5, 40, 77]]
    logits = to_host(model._logits(xp.asarray(x))[0])  # (K, 2, 2, N)
    log_p = logits - np.log(np.exp(logits).sum(axis=0))
    nll = np.zeros(3)
    for n, grid in enumerate(x.astype(int).reshape(3, 2, 2)):
        for row, column in np.ndindex(2, 2):
            nll[n] -= log_p[grid[row, column], row, column, n]
    assert float(model.loss(xp.asarray(x)).nll) == pytest.approx(nll.mean(), rel=1e-12)
    bits = to_host(model.metrics(xp.asarray(x))["bits_per_code"])
    np.testing.assert_allclose(bits, nll / (4 * math.log(2)), rtol=1e-12)


def test_the_gradient_by_finite_differences():
    rng = np.random.default_rng(0)
    model = tiny(codes=5, grid=(3, 4))
    x = rng.integers(0, 5, (3, 12)).astype(float)
    assert check_model(model, x, rng=rng) < TOLERANCE


def test_samples_have_the_probabilities_of_the_model(xp):
    model, n = tiny(xp, dtype=np.float32), 4000
    codes = to_host(model.sample(n, np.random.default_rng(1)))
    assert codes.shape == (n, 2, 2) and codes.dtype.kind == "i"
    found = np.bincount(codes.reshape(n, 4) @ [27, 9, 3, 1], minlength=81)
    expected = n * probabilities(tiny())
    assert ((found - expected) ** 2 / expected).sum() < chi2(80).ppf(0.999)
    again = to_host(model.sample(n, np.random.default_rng(1)))
    np.testing.assert_array_equal(again, codes)


def source(n, seed):
    """A known source: a first code from (1/2, 1/4, 1/4), each later code repeats it or is 0."""
    rng = np.random.default_rng(seed)
    first = rng.choice(3, n, p=[0.5, 0.25, 0.25])[:, None]
    rest = np.where(rng.random((n, 3)) < 0.5, first, 0)
    return np.concatenate([first, rest], axis=1).astype(np.float32)


ENTROPY = 1.5 * math.log(2) + 0.5 * 3 * math.log(2)  # nats: only after 1 or 2 is there a choice


def test_training_reaches_the_entropy_of_a_known_source():
    data = Dataset("grids", source(4000, 0), None, source(4000, 1), None)
    model = CodePrior.build(K, GRID, np.random.default_rng(0), width=16)
    last = train(model, data, epochs=5, lr=0.03, threads=1)[-1]
    own = -np.log(1 / 81)
    assert ENTROPY - 0.02 < last["test_nll"] < ENTROPY + 0.05 < own
    assert last["test_bits_per_code"] == pytest.approx(last["test_nll"] / (4 * math.log(2)), 1e-5)


def test_on_a_device_recorded_steps_are_the_steps_of_the_host(double):
    found = []
    for xp in (np, double):
        model = CodePrior.build(K, GRID, np.random.default_rng(0), width=4).to(xp)
        data = Dataset("grids", source(50, 0), None, source(30, 1), None)
        run = Trainer(model, data, Config(epochs=2, batch_size=16, threads=1))
        run.fit()
        assert run.steps.records == (xp is double)
        found.append((to_host(model.theta), evaluate(model, run.x_test)["total"]))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-3, atol=1e-5)
    assert found[1][1] == pytest.approx(found[0][1], rel=1e-5)


@pytest.mark.parametrize(
    "wrong, got", [(-1.0, "-1 to 1"), (3.0, "0 to 3"), (1.5, "0 to 1.5"), (np.nan, "nan to nan")]
)
def test_what_is_no_code_is_refused(wrong, got):
    said = f"codes must be whole numbers from 0 to 2, held as floats, got {got}"
    with pytest.raises(ValueError, match=said):
        tiny().loss(np.array([[0.0, 1.0, wrong, 0.0]]))


INDICES = np.zeros((5, 2, 2), int)


@pytest.mark.parametrize("x", [INDICES, INDICES.reshape(5, 4), np.zeros((5, 3)), [[0.0] * 4]])
def test_the_sentence_for_a_grid_of_indices_names_the_conversion(x):
    """The first thing that one tries is prior.loss(model.encode(x))."""
    with pytest.raises(
        ValueError, match=r"codes must be \(N, 4\), whole numbers held as floats; of "
    ):
        tiny().loss(x)
    assert tiny().loss(INDICES.reshape(len(INDICES), -1).astype(np.float32)).total > 0


def test_the_narrowest_prior():
    model = CodePrior.build(K, GRID, np.random.default_rng(0), width=1)
    assert model.sample(3, np.random.default_rng(0)).shape == (3, *GRID)
