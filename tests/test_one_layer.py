"""The laboratory of examples/iwae.py: the sampled NLL, and the training of the paper's model."""

import json

import numpy as np
import pytest
from short_runs import after_step, interrupt
from toys import toy_data

from tinyvae import UserError
from tinyvae.laboratory import one_layer
from tinyvae.laboratory.linear_gaussian import LinearGaussian
from tinyvae.laboratory.sampled_likelihood import negative_log_likelihood
from tinyvae.training.evaluation import importance_weighted_bound

DATA, SHAPE, D = toy_data(50, 30), (2, 1, 3), 6


def laboratory(v=1.0, variance=1.0):
    """A linear model, whose q is exact if v = variance = 1; examples of its own."""
    rng = np.random.default_rng(1)
    w = np.linalg.qr(rng.standard_normal((D, 2)))[0] * [2.0, 0.5]  # orthogonal columns
    exact = LinearGaussian(w, rng.standard_normal(D), 0.7)
    vae = exact.vae(SHAPE, v * exact.posterior_map(), variance * exact.best_variance())
    return exact, vae, rng.standard_normal((3000, *SHAPE))


def test_where_q_is_exact_every_sample_gives_the_likelihood():
    exact, vae, x = laboratory()
    nll, error = negative_log_likelihood(vae, x, samples=3, few=1, every=7)
    assert nll == pytest.approx(-exact.log_p(x).mean(), rel=1e-9) and error < 1e-9


def test_many_samples_for_some_examples_stand_for_many_samples_for_all():
    exact, vae, x = laboratory(0.7, 2.0)
    expected = -importance_weighted_bound(vae, x, 50, seed=8).mean()
    nll, error = negative_log_likelihood(vae, x, samples=50, few=1, every=4)
    few = -importance_weighted_bound(vae, x, 1).mean()
    assert nll == pytest.approx(expected, abs=4 * error) and 0 < error
    assert few - expected > 4 * error  # the correction is not lost in the error
    all_of_them, _ = negative_log_likelihood(vae, x, samples=50, few=1, every=1, seed=7)
    assert all_of_them == pytest.approx(expected, rel=1e-12)
    assert nll > -exact.log_p(x).mean() - 4 * error
    assert negative_log_likelihood(vae, x, samples=2, few=1, every=3000)[1] == np.inf


def test_the_model_is_the_papers():
    vae, settings = one_layer.build("vae", 5, DATA, seed=3)
    iwae, none = one_layer.build("iwae", 5, DATA, seed=3)
    assert settings == {"samples": 5} and none == {} and iwae.k == 5
    np.testing.assert_array_equal(vae.theta, iwae.theta)
    shapes = {p.value.shape for name, p in vae.named_parameters() if name.endswith("weight")}
    assert shapes == {(200, 784), (200, 200), (50, 200), (200, 50), (784, 200)}
    kinds = [type(m).__name__ for _, m in vae.named_modules()]
    assert kinds.count("Tanh") == 4 and "ReLU" not in kinds


def test_the_rate_falls_by_the_same_factor_after_every_epoch(tmp_path, monkeypatch):
    rates, step = [], one_layer.Trainer.fit
    monkeypatch.setattr(
        one_layer.Trainer,
        "fit",
        lambda self, epochs: rates.append(self.optimizer.lr) or step(self, epochs),
    )
    one_layer.train("iwae", 2, DATA, np, tmp_path, epochs=3, seed=0)
    np.testing.assert_allclose(rates, [1e-3, np.sqrt(1e-7), 1e-4])


def test_a_run_that_was_stopped_goes_on(tmp_path, monkeypatch):
    """Bit for bit, also from the middle of an epoch and with the rate of that epoch."""
    settings = {"epochs": 3, "seed": 0, "threads": 1}
    whole = one_layer.train("iwae", 2, DATA, np, tmp_path / "whole", **settings)
    make = one_layer.Trainer
    stopping = lambda *given: after_step(make(*given), 4, interrupt)  # noqa: E731, 3 an epoch
    monkeypatch.setattr(one_layer, "Trainer", stopping)
    with pytest.raises(KeyboardInterrupt, match="the same command goes on from here"):
        one_layer.train("iwae", 2, DATA, np, tmp_path / "parts", **settings)
    monkeypatch.setattr(one_layer, "Trainer", make)
    parts = one_layer.train("iwae", 2, DATA, np, tmp_path / "parts", **settings)
    np.testing.assert_array_equal(whole.model.theta, parts.model.theta)


def test_what_is_measured_is_not_measured_again(tmp_path, monkeypatch):
    monkeypatch.setattr(one_layer, "SAMPLES", {"samples": 12, "few": 2, "every": 3})
    settings = {"epochs": 1, "seed": 0, "threads": 1}
    numbers = one_layer.measured("vae", 1, DATA, np, tmp_path, **settings)
    assert numbers["nll"] > 0 and numbers["error"] > 0 and 0 <= numbers["active_units"] <= 50
    assert numbers["seconds"] > 0 and (numbers["model"], numbers["k"]) == ("vae", 1)
    assert json.loads((tmp_path / "measured.json").read_text()) == numbers
    monkeypatch.setattr(one_layer, "train", None)
    assert one_layer.measured("vae", 1, DATA, np, tmp_path, **settings) == numbers
    with pytest.raises(UserError, match="holds a model of other data; use another --out"):
        one_layer.measured("vae", 1, toy_data(49, 30), np, tmp_path, **settings)


@pytest.mark.parametrize("content", ['{"model": "vae"', "[1]", "{}"])
def test_damaged_numbers_of_an_earlier_call_are_told(tmp_path, content):
    (tmp_path / "measured.json").write_text(content)
    with pytest.raises(UserError, match="measured.json is damaged .*; remove it, or use another"):
        one_layer.measured("vae", 1, toy_data(20, 10), np, tmp_path, epochs=1, seed=0)
