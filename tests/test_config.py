import math
from dataclasses import FrozenInstanceError, fields, replace

import pytest
from toys import tiny_autoencoder, tiny_vae

from tinyvae.errors import UserError
from tinyvae.training.config import FOR_A_KL, FOR_NOISE, Config, flag

WORDS = {"optimizer": "adam, sgd", "binarize": "none, threshold, dynamic"}
COUNTS = ["epochs", "batch_size", "samples"]
AMOUNTS = ["beta", "kl_anneal", "free_bits"]


def refusal(**settings):
    with pytest.raises(UserError) as error:
        Config(**settings)
    return str(error.value)


def test_defaults_are_the_tutorials():
    config = Config()
    assert config.binarize == "none"
    assert (config.optimizer, config.lr, config.batch_size, config.epochs) == (
        "adam",
        1e-3,
        128,
        20,
    )
    assert (config.beta, config.kl_anneal, config.free_bits) == (1, 0, 0)
    assert (config.samples, config.threads, config.seed) == (1, 0, 0)


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("value", ["", "ADAM", "other", None])
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
    "name, value, reason",
    [
        ("beta", 2.0, "its loss has no KL"),
        ("beta", 0.0, "its loss has no KL"),
        ("kl_anneal", 1.0, "its loss has no KL"),
        ("free_bits", 0.1, "its loss has no KL"),
        ("samples", 2, "it draws no samples"),
    ],
)
def test_what_an_autoencoder_does_not_have(name, value, reason):
    config = Config(**{name: value})
    with pytest.raises(UserError) as error:
        config.require_fits(tiny_autoencoder())
    assert str(error.value) == (
        f"{flag(name)} means nothing to the model Autoencoder, because {reason}; leave it out"
    )
    config.require_fits(tiny_vae())
    Config().require_fits(tiny_autoencoder())


def test_every_setting_of_some_models_alone_is_tested_above():
    assert sorted(FOR_A_KL + FOR_NOISE) == sorted([*AMOUNTS, "samples"])
    assert {f.name for f in fields(Config)} == {*WORDS, *COUNTS, *AMOUNTS, "threads", "seed", "lr"}


def test_a_change_is_checked_too():
    config = Config(epochs=3)
    assert replace(config, epochs=5).epochs == 5
    with pytest.raises(UserError, match="--epochs must be at least 1, got 0"):
        replace(config, epochs=0)
    with pytest.raises(FrozenInstanceError):
        config.epochs = 5


def test_flag():
    assert flag("kl_anneal") == "--kl-anneal"
    assert flag("lr") == "--lr"
