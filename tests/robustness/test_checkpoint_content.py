"""A checkpoint whose content was edited is refused before anything of it is used, or it trains."""

import copy
import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from short_runs import STEPS, trainer
from tiny_runs import RUN, TINY

from examples import train
from tinyvae.errors import UserError
from tinyvae.training import state as state_module
from tinyvae.training.checkpoint import load_checkpoint, save_checkpoint
from tinyvae.training.state import load_model

INF, NAN = float("inf"), float("nan")


def state(run):
    arrays = {k: v.tobytes() for k, v in run.model.state_dict().items()}
    arrays |= {k: v.tobytes() for k, v in run.optimizer.state.items()}
    return arrays, run.step, run.seconds, copy.copy(run.sums), copy.copy(run.history)


def refused(arrays, about):
    """The sentence with which a fresh run refuses to go on from this; the run does not change."""
    run = trainer(None, TINY)
    before = state(run)
    with pytest.raises(UserError) as error:
        run.restore(arrays, about)
    assert state(run) == before and "\n" not in str(error.value)
    return str(error.value)


ARRAYS = {  # edits of one array
    "a shape that broadcasts": lambda a: a.reshape(-1)[:1],
    "one number": lambda a: a.reshape(-1)[0],
    "one more axis": lambda a: a[None],
    "another order of axes": lambda a: a.T if a.ndim > 1 else a[:-1],
    "not a number": lambda a: np.where(a == a.reshape(-1)[0], np.nan, a).astype(a.dtype),
    "infinite": lambda a: np.full_like(a, np.inf),
    "complex": lambda a: a.astype(np.complex64),
    "float64": lambda a: a.astype(np.float64),
    "integers": lambda a: a.astype(np.int32),
    "text": lambda a: a.astype(str),
    "bool": lambda a: a.astype(bool),
}


@pytest.mark.parametrize("name", ["model/encoder.mu.weight", "optimizer/M"])
@pytest.mark.parametrize("edit", ARRAYS.values(), ids=ARRAYS)
def test_an_edited_array(saved, tmp_path, name, edit):
    arrays, about = saved
    edited = arrays | {name: edit(arrays[name])}
    assert name in refused(edited, about)
    if name.startswith("model/"):
        save_checkpoint(tmp_path / "checkpoint.npz", edited, about)
        with pytest.raises(UserError, match=name.removeprefix("model/")):
            load_model(tmp_path)


def test_missing_arrays_too_many_and_another_count_of_steps(saved):
    arrays, about = saved
    for name in arrays:
        assert name in refused({k: v for k, v in arrays.items() if k != name}, about)
    assert "optimizer/W" in refused(arrays | {"optimizer/W": np.ones(3)}, about)
    assert "steps" in refused(arrays | {"optimizer/step": np.array(5)}, about)


def replaced(name):
    return lambda value: lambda about: about.update({name: value})


def of_row(**values):
    return lambda about: about["history"][0].update(values)


EDITS = {
    **{f"step {v!r}": replaced("step")(v) for v in (-1, 1.0, "6", None, True, [], 5 * STEPS, NAN)},
    "step of 400 digits": replaced("step")(10**400),
    **{f"seconds {v!r}": replaced("seconds")(v) for v in (-1, "1", None, NAN, INF, [1.0], True)},
    **{f"sums {v!r}": replaced("sums")(v) for v in ({}, [], 3, None, {"kl": 1.0})},
    "sums of text": lambda about: about["sums"].update(kl="1"),
    "sums that are not finite": lambda about: about["sums"].update(kl=NAN),
    **{f"history {v!r}": replaced("history")(v) for v in ([], {}, None, "row", [1], [{}])},
    "a doubled history": lambda about: about["history"].extend(about["history"]),
    "a row of another epoch": of_row(epoch=2),
    "a row without numbers": of_row(train_total="small"),
    "a row that is not finite": of_row(test_total=INF),
    "a row with another type": of_row(seconds=None),
    "another data set": replaced("dataset_sha256")("0" * 64),
    "a number for a data set": replaced("dataset")(3),
    "a list for a checksum": replaced("dataset_sha256")(["0"]),
    "an emptied row": lambda about: about["history"][0].clear(),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_edited_progress(saved, edit):
    arrays, about = copy.deepcopy(saved)
    edit(about)
    refused(arrays, about)


def test_sums_at_the_end_of_an_epoch(tmp_path):
    trainer(tmp_path, TINY | {"epochs": 1}).fit()
    arrays, about = load_checkpoint(tmp_path / "checkpoint.npz")
    trainer(None, TINY).restore(arrays, about)
    about["sums"]["kl"] = 1.0
    assert "sums must be 0" in refused(arrays, about)


SETTINGS = {  # the part of a program's checkpoint: another value
    "epochs for ever": ("config", "epochs", INF),
    "epochs as text": ("config", "epochs", "3"),
    "a fraction of an epoch": ("config", "epochs", 2.5),
    "samples for ever": ("config", "samples", INF),
    "threads without end": ("config", "threads", 10**9),
    "an unknown setting": ("config", "invented", 1),
    "an unknown optimizer": ("config", "optimizer", ["adam"]),
    "another batch size": ("config", "batch_size", 5),
    "no rate": ("config", "lr", None),
    "an unknown model": ("model", "model", "gan"),
    "a model beyond memory": ("model", "latent_dim", 10**9),
    "a network beyond memory": ("model", "hidden", [10**9]),
    "data beyond memory": ("model", "shape", [1, 10**9, 10**9]),
    "400 digits": ("model", "latent_dim", 10**400),
    "a negative seed": ("model", "seed", -1),
    "a seed as text": ("model", "seed", "x"),
    "no list": ("model", "hidden", 5),
    "no settings": ("model", None, 3),
    "no configuration": ("config", None, []),
    "an unknown data set": ("dataset_source", None, "cifar"),
    "a data set without a name": ("dataset_source", None, 7),
    "a device": ("dataset_source", None, "/dev/zero"),
    "too many examples": ("train_examples", None, 10**12),
    "half an example": ("train_examples", None, 1.5),
    "no example": ("train_examples", None, 0),
}


@pytest.mark.parametrize("part, name, value", SETTINGS.values(), ids=SETTINGS)
def test_edited_settings(run, sentence, part, name, value):
    assert run("--epochs 1 --out run") == 0
    arrays, about = load_checkpoint("run/checkpoint.npz")
    if name is None:
        about[part] = value
    else:
        about[part][name] = value
    save_checkpoint("run/checkpoint.npz", arrays, about)
    sentence("--resume run", start="")


def test_a_model_larger_than_its_checkpoint_is_not_built(saved, tmp_path, monkeypatch):
    arrays, about = copy.deepcopy(saved)
    about["model"]["hidden"] = [10**6]
    save_checkpoint(tmp_path / "checkpoint.npz", arrays, about)
    monkeypatch.setattr(state_module, "make_model", None)
    with pytest.raises(UserError, match="hidden"):
        load_model(tmp_path)


def test_a_run_of_python_says_that_it_must_go_on_there(run, sentence):
    assert run("--epochs 1 --out run") == 0
    arrays, about = load_checkpoint("run/checkpoint.npz")
    save_checkpoint("run/checkpoint.npz", arrays, about | {"model": None})
    assert "Trainer.restore" in sentence("--resume run", start="")
    save_checkpoint("run/checkpoint.npz", arrays, about | {"dataset_source": None})
    assert "Trainer.restore" in sentence("--resume run", start="")
    assert run("--resume run --dataset table.npy", start="") == 0


# Fuzzing. With --long each takes thousands of examples.


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(data=st.data())
def test_edited_content_is_refused_or_trains(saved, data):
    """One part of `about`, however deep, becomes another value or goes."""
    arrays, about = copy.deepcopy(saved)
    inside, key = about, data.draw(st.sampled_from([*about]))
    while isinstance(inside[key], dict | list) and inside[key] and data.draw(st.booleans()):
        inside = inside[key]
        key = data.draw(st.sampled_from([*inside] if isinstance(inside, dict) else [0]))
    if data.draw(st.booleans()):
        inside[key] = data.draw(VALUES)
    else:
        del inside[key]
    about = json.loads(json.dumps(about))
    run = trainer(None, TINY)
    before = state(run)
    try:
        run.restore(arrays, about)
    except UserError as error:
        assert state(run) == before and "\n" not in str(error)
    else:
        run.fit()
        assert run.finished and len(run.history) == run.config.epochs


@given(data=st.data())
def test_edited_settings_are_refused_or_make_a_run(saved, small, data):
    if not os.path.exists("run"):
        assert train.main(f"{RUN} --epochs 1 --out run".split()) == 0
        os.rename("run/checkpoint.npz", "whole.npz")
    arrays, about = load_checkpoint("whole.npz")
    part = data.draw(st.sampled_from(["config", "model", None]))
    inside = about if part is None else about[part]
    inside[data.draw(st.sampled_from([*inside]))] = data.draw(VALUES)
    save_checkpoint("run/checkpoint.npz", arrays, about)
    assert train.main("--resume run --epochs 1".split()) in (0, 2)
