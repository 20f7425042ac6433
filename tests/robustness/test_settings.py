"""Settings of any type and size: accepted as plain numbers, or refused in one sentence."""

import json
import math
from dataclasses import asdict, fields
from decimal import Decimal
from fractions import Fraction
from numbers import Real

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import (
    beta_sweep,
    bugs,
    compare_ae_vae,
    elbo_gap,
    explore_latent,
    posterior_collapse,
    verify,
)
from tinyvae import make_model
from tinyvae.errors import UserError
from tinyvae.training.config import Config

NUMBERS = [field.name for field in fields(Config) if field.type is not str]
WHOLE = [field.name for field in fields(Config) if field.type is int]


def plain(config):
    """Whether all settings are what JSON holds, and come back from it the same."""
    kinds = {field.name: field.type for field in fields(Config)}
    right = all(type(value) is kinds[name] for name, value in asdict(config).items())
    return right and Config(**json.loads(json.dumps(asdict(config), allow_nan=False))) == config


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.float32, np.float64, float, Fraction])
def test_whole_numbers_of_other_types_become_plain_ones(name, kind):
    config = Config(**{name: kind(2)})
    assert getattr(config, name) == 2 and plain(config)


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize(
    "value",
    [2**63, 10**400, 10**5000, 2.5, np.float32(1.5), 1e300],
    ids=range(6),  # pytest cannot print 10**5000
)
def test_numbers_that_are_too_large_or_not_whole(name, value):
    with pytest.raises(UserError) as error:
        Config(**{name: value})
    assert str(error.value).startswith("--") and len(str(error.value)) < 200


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "value", [True, np.True_, "1", None, [1], np.array(1), np.array([1.0]), Decimal(1), 1j]
)
def test_what_is_no_number(name, value):
    with pytest.raises(UserError, match="must be a number, got"):
        Config(**{name: value})


@pytest.mark.parametrize("name", [n for n in NUMBERS if n not in WHOLE])
@pytest.mark.parametrize("value", [10**400, -(10**400), math.nan, np.float32(np.inf)])
def test_numbers_that_a_float_cannot_hold(name, value):
    with pytest.raises(UserError):
        Config(**{name: value})


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**400), 10**400),
    st.integers(-2, 300),
    st.floats(),
    st.floats(width=16).map(np.float16),
    st.integers(-(2**63), 2**63 - 1).map(np.int64),
    st.fractions(),
    st.decimals(),
    st.complex_numbers(),
    st.text(max_size=50),
    st.binary(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.lists(st.integers(), max_size=2).map(np.array),
    st.sampled_from(["adam", "sgd", "none", "dynamic", "vae", "ae", "mlp", "gaussian", object()]),
)


@given(values=st.dictionaries(st.sampled_from([f.name for f in fields(Config)]), ANYTHING))
def test_any_configuration_is_plain_or_refused(values):
    try:
        config = Config(**values)
    except UserError as error:
        assert str(error).startswith("--") and "\n" not in str(error) and len(str(error)) < 300
    else:
        assert plain(config)


MODEL = {"network": "mlp", "hidden": (3,), "latent_dim": 2, "shape": (4,), "likelihood": "gaussian"}


def takes_little_memory(value):
    numbers = value if isinstance(value, list | np.ndarray) else [value]
    return not any(isinstance(number, Real) and 300 < number < 2**32 for number in numbers)


@given(
    values=st.dictionaries(
        st.sampled_from([*MODEL, "model"]), ANYTHING.filter(takes_little_memory), max_size=2
    )
)
def test_any_model_is_made_of_plain_settings_or_refused(values):
    try:
        model = make_model(**MODEL | values)
    except UserError as error:
        assert len(str(error)) < 300
    else:
        assert json.loads(json.dumps(model.settings)) == model.settings


@pytest.mark.parametrize("value", [2**63, 10**20, 10**400])
@pytest.mark.parametrize("name", ["--epochs", "--seed", "--latent-dim", "--batch-size", "--hidden"])
def test_numbers_of_many_digits_on_the_command_line(sentence, tmp_path, name, value):
    told = sentence(f"{name} {value} --out run")
    assert name in told and len(told) < 300
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["--epochs", "--seeds", "--images"])
@pytest.mark.parametrize("value", ["0", "-1", str(2**63), "9" * 400, "1.5", "many"])
def test_counts_of_the_experiments(tmp_path, monkeypatch, capsys, option, value):
    monkeypatch.chdir(tmp_path)
    experiments = {
        "--epochs": [beta_sweep, bugs, compare_ae_vae, explore_latent, posterior_collapse, verify],
        "--seeds": [beta_sweep, compare_ae_vae],
        "--images": [elbo_gap],
    }
    for experiment in experiments[option]:
        with pytest.raises(SystemExit) as stop:
            experiment.main([option, value])
        assert stop.value.code == 2
        err = capsys.readouterr().err
        assert option in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
