import dataclasses

import numpy as np
import pytest

from tinyvae.data import load
from tinyvae.data.dataset import Dataset
from tinyvae.data.load import load_dataset
from tinyvae.data.mnist import DatasetUnavailable
from tinyvae.errors import UserError


def small(name="MNIST", seed=0):
    rng = np.random.default_rng(seed)
    return Dataset(
        name,
        rng.integers(0, 256, (6, 1, 28, 28), dtype=np.uint8),
        rng.integers(0, 10, 6),
        rng.integers(0, 256, (2, 1, 28, 28), dtype=np.uint8),
        rng.integers(0, 10, 2),
    )


@pytest.fixture
def fewer_digits(monkeypatch):
    monkeypatch.setattr(load, "DIGITS_TRAIN", 30)
    monkeypatch.setattr(load, "DIGITS_TEST", 20)


def mnist_raises(monkeypatch, error):
    def load_mnist(data_dir=None):
        raise error

    monkeypatch.setattr(load, "load_mnist", load_mnist)


def test_fingerprint_depends_on_every_array():
    dataset = small()
    assert dataset.fingerprint == small().fingerprint
    assert len(dataset.fingerprint) == 64 and int(dataset.fingerprint, 16)
    for field in ("x_train", "y_train", "x_test", "y_test"):
        changed = getattr(dataset, field).copy()
        changed.flat[-1] ^= 1
        assert dataclasses.replace(dataset, **{field: changed}).fingerprint != dataset.fingerprint
    assert dataset.head(5).fingerprint != dataset.fingerprint


def test_fingerprint_of_arrays_that_are_views():
    dataset = small()
    upside_down = dataclasses.replace(dataset, x_train=dataset.x_train[:, :, ::-1])
    copied = dataclasses.replace(dataset, x_train=upside_down.x_train.copy())
    assert upside_down.fingerprint == copied.fingerprint != dataset.fingerprint


def test_head_keeps_the_first_training_images():
    dataset = small()
    head = dataset.head(4)
    np.testing.assert_array_equal(head.x_train, dataset.x_train[:4])
    np.testing.assert_array_equal(head.y_train, dataset.y_train[:4])
    np.testing.assert_array_equal(head.x_test, dataset.x_test)
    np.testing.assert_array_equal(head.y_test, dataset.y_test)
    assert head.name == "MNIST" and len(dataset.x_train) == 6
    assert len(dataset.head(6).x_train) == 6


@pytest.mark.parametrize("train_size", [-1, 0, 7])
def test_head_refuses_what_is_not_there(train_size):
    with pytest.raises(UserError, match=f"from 1 to 6.*MNIST, got {train_size}$"):
        small().head(train_size)


@pytest.mark.parametrize("name", ["auto", "mnist"])
def test_mnist_where_it_can_be_had(monkeypatch, capsys, name):
    asked = []
    monkeypatch.setattr(load, "load_mnist", lambda folder: asked.append(folder) or small())
    assert load_dataset(name, "some/folder").name == "MNIST"
    assert asked == ["some/folder"]
    assert capsys.readouterr() == ("", "")


def test_auto_falls_back_in_a_line_of_its_own(monkeypatch, capsys, fewer_digits):
    mnist_raises(monkeypatch, DatasetUnavailable("no network at all"))
    assert load_dataset().name == "synthetic digits"
    out, err = capsys.readouterr()
    *reason, line = err.splitlines()
    assert out == "" and reason == ["no network at all"]
    assert line == "*** NO MNIST: TRAINING ON SYNTHETIC DIGITS INSTEAD ***"


def test_mnist_does_not_fall_back(monkeypatch):
    mnist_raises(monkeypatch, DatasetUnavailable("no network at all"))
    with pytest.raises(DatasetUnavailable, match="no network at all"):
        load_dataset("mnist")


def test_damage_is_an_error_under_auto(monkeypatch):
    mnist_raises(monkeypatch, UserError("damaged"))
    with pytest.raises(UserError, match="damaged"):
        load_dataset("auto")


def test_digits_do_not_ask_for_mnist(monkeypatch, capsys, fewer_digits):
    mnist_raises(monkeypatch, AssertionError("MNIST was asked for"))
    dataset = load_dataset("digits")
    assert dataset.name == "synthetic digits"
    assert dataset.x_train.shape == (30, 1, 28, 28) and dataset.y_train.shape == (30,)
    assert dataset.x_test.shape == (20, 1, 28, 28) and dataset.y_test.shape == (20,)
    assert dataset.x_train.dtype == np.uint8 and dataset.y_test.dtype == np.int64
    assert not (dataset.x_test[:, None] == dataset.x_train).all((2, 3, 4)).any()
    assert load_dataset("digits").fingerprint == dataset.fingerprint
    assert capsys.readouterr() == ("", "")


def test_other_names_list_the_choices():
    with pytest.raises(UserError, match="auto, mnist, digits, got 'cifar'"):
        load_dataset("cifar")
