import numpy as np
import pytest
from toys import small

from tinyvae.data import load
from tinyvae.data.load import load_dataset
from tinyvae.data.mnist import DatasetUnavailable
from tinyvae.errors import UserError


@pytest.fixture
def fewer_digits(monkeypatch):
    monkeypatch.setattr(load, "DIGITS_TRAIN", 30)
    monkeypatch.setattr(load, "DIGITS_TEST", 20)


def mnist_raises(monkeypatch, error):
    def load_mnist(data_dir=None):
        raise error

    monkeypatch.setattr(load, "load_mnist", load_mnist)


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
    with pytest.raises(UserError, match="auto, mnist, digits, or the path of .*'cifar', and there"):
        load_dataset("cifar")


def test_source_is_what_loads_the_same_data_again(monkeypatch, tmp_path, fewer_digits, capsys):
    monkeypatch.setattr(load, "load_mnist", lambda folder: small())
    assert load_dataset().source == load_dataset("mnist").source == "mnist"
    mnist_raises(monkeypatch, DatasetUnavailable("no network at all"))
    assert load_dataset().source == load_dataset("digits").source == "digits"
    np.save(tmp_path / "mine.npy", np.zeros((10, 3)))
    for path in (tmp_path / "mine.npy", str(tmp_path / "mine.npy")):
        data = load_dataset(path)
        assert data.name == "mine.npy" and data.source == str(tmp_path / "mine.npy")
        assert load_dataset(data.source).fingerprint == data.fingerprint
