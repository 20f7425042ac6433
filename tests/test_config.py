import math
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from tinyvae.errors import UserError
from tinyvae.training.config import ONLY_VAE, Config, flag

WORDS = {
    "model": "vae, ae",
    "network": "conv, mlp",
    "likelihood": "bernoulli, gaussian",
    "optimizer": "adam, sgd",
    "binarize": "none, threshold, dynamic",
}
COUNTS = ["latent_dim", "epochs", "batch_size", "samples"]
AMOUNTS = ["beta", "kl_anneal", "free_bits"]


def refusal(**settings):
    with pytest.raises(UserError) as error:
        Config(**settings)
    return str(error.value)


def test_defaults_are_the_tutorials():
    config = Config()
    assert (config.model, config.network, config.latent_dim) == ("vae", "conv", 20)
    assert (config.likelihood, config.binarize) == ("bernoulli", "none")
    assert (config.optimizer, config.lr, config.batch_size, config.epochs) == (
        "adam",
        1e-3,
        128,
        20,
    )
    assert (config.beta, config.kl_anneal, config.free_bits) == (1, 0, 0)
    assert (config.samples, config.threads, config.seed) == (1, 0, 0)


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("value", ["", "VAE", "other", None])
def test_words(name, value):
    assert refusal(**{name: value}) == f"--{name} must be one of {WORDS[name]}, got {value!r}"


@pytest.mark.parametrize("name", WORDS)
def test_every_word_is_accepted(name):
    for word in WORDS[name].split(", "):
        assert getattr(Config(**{name: word}), name) == word


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name):
    for value in (0, -1, -(10**30)):
        assert refusal(**{name: value}) == f"{flag(name)} must be at least 1, got {value}"
    assert getattr(Config(**{name: 1}), name) == 1


@pytest.mark.parametrize("name", [*AMOUNTS, "threads", "seed"])
def test_amounts(name):
    for value in (-1, -1e-9, math.inf, -math.inf, math.nan):
        expected = f"{flag(name)} must be a finite number, not negative, got {value}"
        assert refusal(**{name: value}) == expected
    assert getattr(Config(**{name: 0}), name) == 0


@pytest.mark.parametrize("value", [0, 0.0, -1e-3, math.inf, -math.inf, math.nan])
def test_learning_rate(value):
    assert refusal(lr=value) == f"--lr must be a finite number above 0, got {value}"


@pytest.mark.parametrize(
    "name, value", [("beta", 2.0), ("kl_anneal", 1.0), ("free_bits", 0.1), ("samples", 2)]
)
def test_what_an_autoencoder_does_not_have(name, value):
    assert refusal(model="ae", **{name: value}) == (
        f"{flag(name)} is for --model vae: an autoencoder has no KL and draws no samples; "
        "leave it out"
    )
    assert getattr(Config(model="vae", **{name: value}), name) == value


def test_every_setting_of_the_vae_alone_is_tested_above():
    assert sorted(ONLY_VAE) == sorted([*AMOUNTS, "samples"])
    assert {f.name for f in fields(Config)} == {*WORDS, *COUNTS, *AMOUNTS, "threads", "seed", "lr"}


def test_a_change_is_checked_too():
    config = Config(epochs=3)
    assert replace(config, epochs=5).epochs == 5
    with pytest.raises(UserError, match="--epochs must be at least 1, got 0"):
        replace(config, epochs=0)
    with pytest.raises(FrozenInstanceError):
        config.epochs = 5


def test_flag():
    assert flag("latent_dim") == "--latent-dim"
    assert flag("lr") == "--lr"
