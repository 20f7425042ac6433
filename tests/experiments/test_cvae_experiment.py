import json

import numpy as np
import pytest
from toys import toy_data

from examples import cvae
from tinyvae import make_model
from tinyvae.laboratory import conditional
from tinyvae.training.evaluation import importance_weighted_bound


@pytest.fixture
def small_numbers(monkeypatch):
    sizes = {"EXAMPLES": 30, "SAMPLES": 3, "PER_CLASS": 5, "NEIGHBOURS_OF": 100}
    for name, size in sizes.items():
        monkeypatch.setattr(conditional, name, size)


def test_the_experiment(small_numbers, tmp_path, capsys):
    arguments = ["--dataset", "digits", "--epochs", "1", "--train-size", "200", "--latent-dim", "3"]
    assert cvae.main([*arguments, "--network", "mlp", "--out", "out"]) == 0
    results = json.loads((tmp_path / "out" / "cvae.json").read_text())
    assert (tmp_path / "out" / "cvae.png").stat().st_size > 1000
    printed = capsys.readouterr().out
    for kind, numbers in results["numbers"].items():
        assert len(numbers) == 2 and numbers[0] != numbers[1]
        for one in numbers:
            assert np.isfinite(list(one.values())).all()
            assert all(row in printed for row in one)
            assert one["bound"] == pytest.approx(one["reconstruction"] + one["KL"])
            assert (one["of x alone"] == one["importance-weighted"]) == (kind == "vae")
    assert results["numbers"]["cvae"][0].keys() - results["numbers"]["vae"][0].keys() == {
        "class by Bayes"
    }
    for by_seed in results["asked"].values():
        assert np.shape(by_seed) == (2, 10) and 0 <= np.min(by_seed) <= np.max(by_seed) <= 1
    assert 2.2 < results["entropy of the class"] <= np.log(10)
    assert 0 < results["classifier on test images"] <= 1


class Judge:
    """Sees the class in the first pixel, which is the class divided by 10."""

    def classes(self, images):
        return np.rint(10 * images[:, 0, 0, 0]).astype(int)


class Drawer:
    """Draws class y as a first pixel y / 10; where z[0] is above 0, as that of the next class."""

    classes, latent_dim = 10, 2
    theta = np.zeros(1, np.float32)

    def draw_codes(self, n, rng):
        return rng.standard_normal((n, 2), dtype=np.float32)

    def embed(self, x, labels):
        return np.stack([np.where(labels == 3, 1.0, -1.0), labels], axis=1).astype(np.float32)

    def decode(self, z, labels):
        wrong = z[:, 0] > 0
        return np.broadcast_to(((labels + wrong) / 10)[:, None, None, None], (len(z), 1, 2, 2))


def test_shares_of_the_asked_class():
    labels = np.arange(100) % 10
    found = conditional.shares(Drawer(), np.zeros((100, 1, 2, 2), np.uint8), labels, Judge())
    np.testing.assert_allclose(found["samples"], 0.5, atol=0.1)
    changed = np.full(10, 8 / 9)  # the codes of the threes are drawn wrongly
    changed[3] = 1.0  # a three is not changed to a three
    np.testing.assert_allclose(found["changed"], changed)


def test_pictures_have_a_row_for_each_class():
    labels = np.array([1, 0, 2, 3, 4, 5, 6, 7, 8, 9])
    x = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1) * np.ones((10, 1, 2, 2), np.uint8)
    samples, same, changed = conditional.pictures(Drawer(), x, labels).values()
    assert samples.shape == same.shape == (10, 10, 1, 2, 2)
    shift = np.rint(10 * same[..., 0, 0, 0]) - np.arange(10)[:, None]  # 1 where z[0] is above 0
    assert (shift == shift[0]).all() and set(shift[0]) == {0, 1}
    np.testing.assert_allclose(255 * changed[:, 0, 0, 0, 0], [1, 0, *range(2, 10)])
    kept = np.rint(10 * changed[:, 1:, 0, 0, 0])
    expected = np.tile(np.arange(10), (10, 1))
    expected[3] += 1
    np.testing.assert_array_equal(kept, expected)


def test_log_p_of_classes_adds_the_prior(small_numbers):
    data, model = toy_data(20, 10), make_model("cvae", "mlp", 3)
    prior = np.arange(10) / 45
    log_p = conditional.log_p_of_classes(model, data.x_test, prior)
    for k in (1, 7):
        y = np.full(10, k)
        expected = importance_weighted_bound(model, data.x_test, 3, y) + np.log(prior[k])
        np.testing.assert_allclose(log_p[k], expected)
    assert (log_p[0] == -np.inf).all()  # it has probability 0
