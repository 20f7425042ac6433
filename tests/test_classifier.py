import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

from tinyvae import Flatten, Linear, Sequential, Tanh, to_host
from tinyvae.engine.categorical import cross_entropy, cross_entropy_grad, log_softmax
from tinyvae.engine.differences import check_direction, numerical_gradient, relative_error
from tinyvae.models.classifier import Classifier

sizes = {"seed": st.integers(0, 999), "classes": st.integers(2, 6), "n": st.integers(1, 5)}


def logits_and_labels(seed, classes, n, scale=3.0):
    rng = np.random.default_rng(seed)
    return scale * rng.standard_normal((classes, n)), rng.integers(0, classes, n)


@given(**sizes, scale=st.sampled_from([1e-3, 1.0, 1e4]))
def test_log_softmax_is_scipys(xp, seed, classes, n, scale):
    logits, _ = logits_and_labels(seed, classes, n, scale)
    expected = scipy.special.log_softmax(logits, axis=0)
    got = to_host(log_softmax(xp.asarray(logits)))
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


@given(**sizes)
def test_cross_entropy_picks_the_labels_log_probability(xp, seed, classes, n):
    logits, labels = logits_and_labels(seed, classes, n)
    p = scipy.special.softmax(logits, axis=0)
    expected = [-np.log(p[label, i]) for i, label in enumerate(labels)]
    got = to_host(cross_entropy(xp.asarray(logits), xp.asarray(labels)))
    np.testing.assert_allclose(got, expected, rtol=1e-10)


@given(**sizes)
def test_gradient_of_cross_entropy(seed, classes, n):
    logits, labels = logits_and_labels(seed, classes, n)
    upstream = np.random.default_rng(seed + 1).standard_normal(n)
    numerical = numerical_gradient(lambda: upstream @ cross_entropy(logits, labels), logits)
    assert relative_error(numerical, cross_entropy_grad(logits, labels) * upstream) < 1e-7


def tiny(xp=np, dtype=np.float64):
    rng = np.random.default_rng(0)
    layers = Flatten(), Linear(6, 5, rng=rng), Tanh(), Linear(5, 4, rng=rng)
    return Classifier(Sequential(*layers)).to(xp, dtype)


def test_backward_of_a_whole_classifier():
    rng = np.random.default_rng(1)
    x, labels, classifier = rng.random((7, 2, 1, 3)), rng.integers(0, 4, 7), tiny()
    classifier.loss(x, labels)
    classifier.backward()

    def loss():
        return classifier.loss(x, labels).total

    assert check_direction(loss, classifier.theta, classifier.grad.copy(), rng) < 1e-7


def test_loss_and_probabilities_agree(xp):
    rng = np.random.default_rng(2)
    x, labels = rng.random((7, 2, 1, 3), dtype=np.float32), rng.integers(0, 4, 7)
    classifier = tiny(xp, np.float32)
    p = to_host(classifier.probabilities(x))
    assert p.shape == (7, 4) and p.dtype == np.float32
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    expected = -np.log(p[np.arange(7), labels]).mean()
    loss = classifier.loss(x, labels)
    assert float(loss.total) == pytest.approx(expected, rel=1e-5)
    assert loss.terms == {"cross_entropy": loss.total}


def test_labels_must_be_one_an_example():
    with pytest.raises(ValueError, match=r"labels must be \(7,\), one an example, got \(1,\)"):
        tiny().loss(np.zeros((7, 2, 1, 3)), np.zeros(1, int))
