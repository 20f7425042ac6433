"""Experiments take data in the format of MNIST and refuse other data."""

import re
from dataclasses import replace

import numpy as np
import pytest
from toys import toy_data

from tinyvae.laboratory import experiment
from tinyvae.laboratory.experiment import experiment_parser, run_experiment

MNIST_LIKE = toy_data(60, 50)
FLOATS = {name: getattr(MNIST_LIKE, name) / np.float32(255) for name in ("x_train", "x_test")}
SMALL = {name: getattr(MNIST_LIKE, name)[:, :, 2:, 2:] for name in ("x_train", "x_test")}


def run(data, monkeypatch, tmp_path, work):
    monkeypatch.setattr(experiment, "load_data", lambda *_: data)
    parser = experiment_parser("An experiment.", "some-name")
    return run_experiment("some_name.py", parser, work, ["--out", str(tmp_path)])


def test_data_in_the_format_of_mnist_is_taken(monkeypatch, tmp_path):
    seen = []
    assert run(MNIST_LIKE, monkeypatch, tmp_path, lambda *given: seen.append(given[1])) == 0
    assert seen == [MNIST_LIKE]


@pytest.mark.parametrize(
    "changes, found",
    [
        (FLOATS, r"float32 \(1, 28, 28\) with such labels"),
        (SMALL, r"uint8 \(1, 26, 26\) with such labels"),
        ({"y_train": None, "y_test": None}, r"uint8 \(1, 28, 28\) without such labels"),
        ({"y_train": MNIST_LIKE.y_train + 9}, r"uint8 \(1, 28, 28\) without such labels"),
    ],
)
def test_other_data_is_refused_in_one_sentence(changes, found, monkeypatch, tmp_path, capsys):
    data = replace(MNIST_LIKE, **changes)
    assert run(data, monkeypatch, tmp_path, lambda *_: pytest.fail("must not start")) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(found, error)
