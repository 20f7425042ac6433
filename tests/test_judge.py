import numpy as np
import pytest

from tinyvae.data import Dataset, load_digits, to_float
from tinyvae.laboratory.judge import Judge


@pytest.fixture(scope="module")
def data():
    (images, labels, _), (test, y_test, _) = load_digits(600, seed=7), load_digits(100, seed=8)
    return Dataset("digits", images, labels, test, y_test)


@pytest.fixture(scope="module")
def judge(data):
    return Judge(data, epochs=6)


def test_the_classifier_has_learned(judge, data):
    assert judge.accuracy(data.x_test, data.y_test) > 0.7  # chance: 0.1
    assert judge.accuracy(data.x_test, (data.y_test + 1) % 10) < 0.1


def test_the_scores_of_real_images_one_image_and_inverted_images(judge, data):
    real = judge(to_float(data.x_test))
    assert 0 < real["nearest"] < 0.06 and real["confidence"] > 0.5 and real["digits"] > 8
    one = judge(np.repeat(to_float(data.x_train[:1]), 5, axis=0))
    assert one["nearest"] == pytest.approx(0, abs=1e-6) and one["digits"] < real["digits"] / 2
    inverted = judge(1 - to_float(data.x_test))
    assert inverted["nearest"] > 10 * real["nearest"]


def test_the_same_on_any_device(xp, data):
    few = data.head(20)
    on_host, on_device = Judge(few, epochs=1), Judge(few, epochs=1, xp=xp)
    images = to_float(data.x_test[:10])
    assert on_device(images) == pytest.approx(on_host(images), rel=1e-3)
