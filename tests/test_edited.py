"""What was changed after it was made: models, optimizers, schedules, folders."""

import json

import numpy as np
import pytest
from short_runs import DATA, STEPS, resumed, trainer

from tinyvae import SGD, Adam, Gaussian, Linear, Sequential, UserError, make_model
from tinyvae.data import Dataset
from tinyvae.engine.differences import check_layer, check_model
from tinyvae.engine.likelihoods import Bernoulli
from tinyvae.engine.module import Parameter
from tinyvae.engine.optim import clip_grad_norm
from tinyvae.gradcheck import TOLERANCE
from tinyvae.models.vqvae import VQVAE
from tinyvae.training.checkpoint import load_checkpoint
from tinyvae.training.config import Config
from tinyvae.training.parallel import DataParallel
from tinyvae.training.state import load_model
from tinyvae.training.trainer import Trainer


def small(model="vae", **options):
    return make_model(model, "mlp", 3, hidden=(6, 6), **options)


def batch(n=12):
    rng = np.random.default_rng(0)
    return rng.random((n, 1, 28, 28), np.float32), rng.standard_normal((1, n, 3), np.float32)


# The model


def moved_encoder(model):
    encoder = model.encoder
    del model.encoder
    model.encoder = encoder


def swapped_layers(model):
    first, *_, last = (i for i, layer in enumerate(model.decoder.layers) if has_6x6(layer))
    layers = list(model.decoder.layers)
    layers[first], layers[last] = layers[last], layers[first]
    model.decoder.layers = tuple(layers)


def has_6x6(layer):
    return isinstance(layer, Linear) and layer.weight.value.shape == (6, 6)


@pytest.mark.parametrize("change", [moved_encoder, swapped_layers])
def test_replicas_compute_with_the_weights_of_the_model(change):
    """The parameters stay where they are in theta; only the order of the layers changed."""
    model = make_model("vae", "mlp", 3, hidden=(6, 6, 6))
    change(model)
    x, eps = batch()
    loss = model.loss(x, eps)
    model.backward()
    expected = model.grad.copy()
    in_parts = DataParallel(model, parts=2, threads=2)
    with in_parts.threads:
        found = in_parts.gradient(x, eps)
    assert found.total == pytest.approx(loss.total, rel=1e-6)
    np.testing.assert_allclose(model.grad, expected, rtol=1e-4, atol=1e-6)


def frozen_encoder(model):
    for _, parameter in model.encoder.named_parameters():
        parameter.trained = False


def fewer_layers(model):
    model.decoder.layers = tuple(layer for layer in model.decoder.layers if not has_6x6(layer))


@pytest.mark.parametrize("change", [frozen_encoder, fewer_layers])
@pytest.mark.parametrize("optimizer", [Adam, lambda model: SGD(model, 0.1)], ids=["Adam", "SGD"])
def test_a_parameter_taken_out_or_frozen_needs_to(optimizer, change):
    model = small()
    before = optimizer(model)
    change(model)
    for refused in (before.step, model.replica, optimizer(model).step):
        with pytest.raises(ValueError, match="taken out, or its `trained` was changed, after `to`"):
            refused()
    model.to()
    frozen = model.encoder.state_dict()
    x, eps = batch()
    after = optimizer(model)
    model.loss(x, eps)
    model.backward()
    after.step()
    stays = {name: (a == frozen[name]).all() for name, a in model.encoder.state_dict().items()}
    assert all(stays.values()) == (change is frozen_encoder)


def other_likelihood(model):
    model.likelihood = Gaussian(0.05)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_model_changed_between_two_fits_is_changed_in_every_thread(threads, small_parts):
    runs = [trainer(None, {"threads": threads, "epochs": 2}) for _ in range(2)]
    for run in runs:
        run.fit(1)
        other_likelihood(run.model)
    runs[1].parallel = DataParallel(runs[1].model, 1)  # all in one piece
    for run in runs:
        run.fit(2)
    found, whole = (run.history[-1]["train_total"] for run in runs)
    assert found == pytest.approx(whole, rel=1e-5)


def test_two_parts_of_one_name_are_refused():
    rng = np.random.default_rng(0)
    model = Sequential(Linear(2, 2, rng=rng))
    setattr(model, "0", Linear(2, 2, rng=rng))
    with pytest.raises(ValueError, match="Sequential: two parts are called 0; rename one"):
        model.to()


def test_a_parameter_holds_floats():
    with pytest.raises(ValueError, match="a Parameter holds floats, got int64"):
        Parameter(np.array([[1]]))


class Adding(Linear):
    """Its backward adds to the gradient, so the second step would use the sum of both."""

    def backward(self, dy):
        before = self.weight.grad.copy()
        dx = super().backward(dy)
        self.weight.grad += before
        return dx


def test_a_backward_that_adds_does_not_pass_the_checks():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 5))
    assert max(check_layer(Linear(3, 2, rng=rng), x, rng).values()) < TOLERANCE
    assert not max(check_layer(Adding(3, 2, rng=rng), x, rng).values()) < TOLERANCE
    model = small()
    model.decoder.layers = (
        *model.decoder.layers[:-2],
        Adding(6, 784, rng=rng),
        *model.decoder.layers[-1:],
    )
    assert not check_model(model.to(), *map(np.float64, batch(3)), rng=rng) < TOLERANCE


class Unsummed(Bernoulli):
    def log_prob(self, x, output):
        return super().log_prob(x[None], output[None])


class SummedOverAll(Bernoulli):
    def log_prob(self, x, output):
        return super().log_prob(x, output).sum()


@pytest.mark.parametrize("likelihood", [Unsummed, SummedOverAll])
@pytest.mark.parametrize("kind", ["vae", "ae", "iwae", "hvae", "flow", "vqvae"])
def test_a_likelihood_that_sums_otherwise_is_refused(likelihood, kind):
    model = make_model("vqvae", codes=5) if kind == "vqvae" else small(kind)
    model.likelihood = likelihood()
    x = batch(4)[0]
    eps = np.zeros((1, 4, max(1, model.noise_dim)), np.float32)
    with pytest.raises(ValueError, match="log_prob of the likelihood must give .*: a sum over the"):
        model.loss(*model.inputs(x, eps))


# The optimizer and the schedule


@pytest.mark.parametrize("max_norm", [0, -1, float("nan"), float("inf")])
def test_a_gradient_is_clipped_to_a_positive_length(max_norm):
    with pytest.raises(ValueError, match="max_norm must be positive and finite"):
        clip_grad_norm(small(), max_norm)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_changed_learning_rate_goes_on_after_a_resume(folders, optimizer):
    settings = {"optimizer": optimizer, "lr": 1e-4, "epochs": 3}
    whole, parts = folders(), folders()
    for folder, stop in ((whole, 3), (parts, 2)):
        run = trainer(folder, settings)
        run.fit(1)
        run.optimizer.lr = 3e-4
        if optimizer == "sgd":
            run.optimizer.momentum = 0.5
        run.fit(stop)
    again = resumed(parts, settings)
    assert again.optimizer.lr == 3e-4
    again.fit()
    np.testing.assert_array_equal(again.model.theta, load_model(whole).theta)


def test_a_schedule_of_its_own_is_asked_for_after_a_resume(folders):
    """Or the rest of the run would silently train with the beta of the config."""
    folder = folders()
    run = trainer(folder)
    run.beta_at = lambda step: 0.1
    run.fit(1)
    with pytest.raises(
        UserError, match="another run: its own_schedule is True, but this run's is F"
    ):
        resumed(folder)
    again = trainer(folder)
    again.beta_at = lambda step: 0.1
    again.restore(*load_checkpoint(folder / "checkpoint.npz"))
    again.fit(2)
    assert [row["beta"] for row in again.history] == [0.1, 0.1]


def test_a_schedule_gives_no_negative_beta():
    run = trainer(None)
    run.beta_at = lambda step: -5.0
    with pytest.raises(
        ValueError, match="beta must be a number, finite and not negative, got -5.0"
    ):
        run.fit()


# The run


OTHERS = {
    "seed": {"seed": 1},
    "lr": {"lr": 0.1},
    "beta": {"beta": 2.0},
    "samples": {"samples": 3},
    "binarize": {"binarize": "threshold"},
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_a_checkpoint_of_another_run_is_refused(folders, other):
    folder = folders()
    trainer(folder).fit(1)
    with pytest.raises(UserError, match="the checkpoint is of another run: its (config|model) is "):
        resumed(folder, other)
    assert resumed(folder, {"epochs": 9, "threads": 1}).step == STEPS


def test_a_checkpoint_of_another_model_or_split_is_refused(folders):
    folder = folders()
    run = trainer(folder)
    run.fit(1)
    other = trainer(folder)
    other.model.likelihood = Gaussian(0.1)
    with pytest.raises(UserError, match="another run: its model is .*, but this run's is None"):
        other.restore(*load_checkpoint(folder / "checkpoint.npz"))
    x = np.concatenate([DATA.x_train, DATA.x_test])
    for n, folder in ((40, folders()), (50, None)):
        data = Dataset("split", x[:n], None, x[n:], None)
        run = Trainer(make_model(network="mlp", latent_dim=3), data, Config(epochs=2), folder)
        if folder:
            run.fit(1)
            held = load_checkpoint(folder / "checkpoint.npz")
    with pytest.raises(
        UserError, match="of another run: its train_examples is 40, but this run's is 5"
    ):
        run.restore(*held)


def test_two_runs_of_one_process_do_not_overwrite_each_other(tmp_path, capsys):
    first, second = trainer(tmp_path, {"seed": 0}), trainer(tmp_path, {"seed": 1})
    first.fit(1)
    second.fit(2)
    first.fit(2)
    seeds = {
        str(path.parent.relative_to(tmp_path)): json.loads(path.read_text())["config"]["seed"]
        for path in tmp_path.rglob("config.json")
    }
    assert seeds == {"earlier-1": 0, "earlier-2": 1, ".": 0}
    assert len(load_checkpoint(tmp_path / "earlier-2" / "checkpoint.npz")[1]["history"]) == 2
    assert (
        f"the results of another run are now in {tmp_path / 'earlier-2'}" in capsys.readouterr().out
    )


def test_a_run_that_nobody_can_load_says_so_at_once(tmp_path, capsys):
    run = trainer(tmp_path)
    run.fit(1)
    assert "WARNING" not in capsys.readouterr().out
    other_likelihood(run.model)
    run.fit(2)
    assert "WARNING: the model was changed after make_model, so nobody" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_learning_rate_is_not_blamed_before_the_first_step():
    run = trainer(None, {"beta": 1e300})
    run.model.encoder.logvar.bias.value += 500
    with pytest.raises(UserError, match="stopped at step 0: .* start anew with smaller weights of"):
        run.fit()


def test_a_vqvae_whose_commitment_is_raised_between_fits(small_parts):
    data = Dataset("images", DATA.x_train, None, DATA.x_test, None)
    totals = []
    for threads in (1, 2):
        model = make_model("vqvae", latent_dim=3, codes=5)
        assert type(model) is VQVAE
        run = Trainer(model, data, Config(epochs=2, batch_size=25, threads=threads))
        run.fit(1)
        model.commitment = 50.0
        run.fit(2)
        totals.append(run.history[-1]["train_total"])
    assert totals[0] == totals[1]
