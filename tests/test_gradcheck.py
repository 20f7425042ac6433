import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import test_layers
import test_likelihoods

import tinyvae
from tinyvae import Conv2d, Linear, ReLU, Sigmoid, Tanh, gradcheck, make_model
from tinyvae.engine import differences, gaussian
from tinyvae.engine.likelihoods import Likelihood
from tinyvae.engine.module import Layer
from tinyvae.models.base import Model


class Transposed(Linear):
    def backward(self, dy):
        dx = super().backward(dy)
        self.weight.grad[...] = self.weight.grad.T.copy()
        return dx


class ForgottenBias(Linear):
    def backward(self, dy):
        dx = super().backward(dy)
        self.bias.grad[...] = 0
        return dx


class AveragedBias(Linear):
    def backward(self, dy):
        dx = super().backward(dy)
        self.bias.grad /= dy.shape[1]
        return dx


class HeightForWidth(Conv2d):
    """An upstream gradient of ones, the same turned over, would let this pass."""

    def backward(self, dy):
        patches = self._patches
        dx = super().backward(dy)
        turned = dy.swapaxes(1, 2).reshape(len(dy), -1)
        self.weight.grad[...] = (turned @ patches.T).reshape(self.weight.grad.shape)
        return dx


class MissingFactor(Sigmoid):
    def backward(self, dy):
        return dy * self._consume("_y")


class WrongSign(Tanh):
    def backward(self, dy):
        return -super().backward(dy)


class LeakyBackward(ReLU):
    def backward(self, dy):
        y = self._consume("_y")
        return dy * (y > 0) + 1e-5 * dy


class NotANumber(Tanh):
    def backward(self, dy):
        return super().backward(dy) * np.nan


PLANTED = [
    (Linear, Transposed, (3, 3), (3, 4), "weight"),
    (Linear, ForgottenBias, (5, 3), (5, 4), "bias"),
    (Linear, AveragedBias, (5, 3), (5, 4), "bias"),
    (Conv2d, HeightForWidth, (2, 3, 3), (2, 7, 7, 3), "weight"),
    (Sigmoid, MissingFactor, (), (5, 3), "x"),
    (Tanh, WrongSign, (), (5, 3), "x"),
    (ReLU, LeakyBackward, (), (5, 3), "x"),
    (Tanh, NotANumber, (), (5, 3), "x"),
]


@pytest.mark.parametrize(
    "right, wrong, arguments, shape, name", PLANTED, ids=[row[1].__name__ for row in PLANTED]
)
def test_check_layer_finds_the_planted_mistake(right, wrong, arguments, shape, name):
    rng = np.random.default_rng(0)
    options = {"rng": rng} if arguments else {}
    x = rng.standard_normal(shape)
    errors = differences.check_layer(right(*arguments, **options), x, rng)
    assert max(errors.values()) < 1e-8
    errors = differences.check_layer(wrong(*arguments, **options), x, rng)
    assert not errors.pop(name) < 1e-6
    assert all(error < 1e-8 for error in errors.values())


def test_check_function_finds_a_wrong_gradient():
    rng = np.random.default_rng(0)
    arrays = tuple(rng.standard_normal((2, 3, 5)))

    def forgets_a_half(mu, logvar):
        return mu, np.exp(logvar) - 1

    value, right = gaussian.kl_to_standard, gaussian.kl_to_standard_grad
    assert differences.check_function(value, right, arrays, rng) < 1e-8
    assert differences.check_function(value, forgets_a_half, arrays, rng) > 0.1


def test_check_direction_finds_a_wrong_gradient():
    rng = np.random.default_rng(0)
    theta = rng.standard_normal(1000)
    given = theta.copy()

    def f():
        return float((theta**3).sum())

    right, one_off, forgotten = (3 * theta**2 for _ in range(3))
    one_off[7] += 100
    forgotten[:10] = 0  # along the gradient alone the slope would still be right
    assert differences.check_direction(f, theta, right, rng) < 1e-8
    assert differences.check_direction(f, theta, one_off, rng) > 1e-3
    assert differences.check_direction(f, theta, forgotten, rng) > 1e-4
    np.testing.assert_array_equal(theta, given)


def test_check_model_finds_a_wrong_branch(monkeypatch):
    """The KL's gradient left out of one of the two heads."""
    rng = np.random.default_rng(0)
    x, eps = rng.random((3, 1, 28, 28)), rng.standard_normal((2, 3, 4))
    model = make_model("vae", "mlp", 4)
    assert differences.check_model(model, x, eps, rng=rng) < 1e-7
    monkeypatch.setattr(
        "tinyvae.models.vae.kl_to_standard_grad", lambda mu, logvar: (mu, 0 * logvar)
    )
    assert differences.check_model(model, x, eps, rng=rng) > 1e-6


def test_numerical_gradient_of_a_known_function():
    x = np.random.default_rng(0).uniform(1, 2, (3, 2))
    given = x.copy()
    gradient = differences.numerical_gradient(lambda: (x**3).sum() + x[0, 1], x)
    expected = 3 * given**2
    expected[0, 1] += 1
    np.testing.assert_allclose(gradient, expected, rtol=1e-9)
    np.testing.assert_array_equal(x, given)


@pytest.mark.parametrize(
    "a, b, error",
    [([0, 0], [0, 0], 0), ([4, 1], [4, 2], 0.25), ([0, 0], [0, 2], 1), ([3], [-3], 2)],
)
def test_relative_error(a, b, error):
    a, b = np.array(a, dtype=float), np.array(b, dtype=float)
    assert differences.relative_error(a, b) == differences.relative_error(b, a) == error


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_relative_error_of_what_is_not_finite_is_never_small(value):
    bad, good = np.array([1.0, value]), np.array([1.0, 2.0])
    with np.errstate(invalid="ignore"):
        for a, b in ((bad, good), (good, bad), (bad, bad)):
            assert not differences.relative_error(a, b) < gradcheck.TOLERANCE


def test_the_command_ends_well_where_nobody_reads_on():
    """As in `python -m tinyvae.gradcheck | head -1`."""
    command = [sys.executable, "-m", "tinyvae.gradcheck"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=Path(tinyvae.__file__).parents[1], **pipes) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_the_command_checks_everything_and_passes():
    root = Path(tinyvae.__file__).parents[1]
    command = [sys.executable, "-m", "tinyvae.gradcheck"]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    *rows, last = run.stdout.splitlines()
    assert all(row.endswith("  ok") for row in rows) and "largest relative error" in last
    public = [getattr(tinyvae, name) for name in tinyvae.__all__]
    with_gradients = {
        one.__name__ for one in public if isinstance(one, type) and hasattr(one, "backward")
    } - {"GaussianEncoder"}  # a part of the VAE
    assert {Layer, Model} <= {base for one in public if isinstance(one, type) for base in one.mro()}
    assert with_gradients <= {row.split()[0] for row in rows}


def exported(base):
    """The names in tinyvae.__all__ of the classes that derive from this class."""
    public = {name: getattr(tinyvae, name) for name in tinyvae.__all__}
    return [name for name, one in public.items() if isinstance(one, type) and issubclass(one, base)]


@pytest.mark.parametrize("name", exported(Layer) + exported(Likelihood))
def test_what_is_exported_has_a_derivation_under_its_name(name):
    """In a heading, in bold type, or as the title of a quotation: there a reader finds it."""
    book = Path(__file__).parents[1] / "docs" / "book"
    text = "".join((book / f"08_{page}.md").read_text() for page in ("gradients", "convolution"))
    places = re.findall(r"^#.*$|\*\*.+?\*\*", text, re.MULTILINE)
    found = [place for place in places if re.search(rf"\b{name}\b", place, re.IGNORECASE)]
    assert found, f"derive {name} in docs/book/08_gradients.md"


@pytest.mark.parametrize("name", exported(Layer))
def test_every_exported_layer_has_a_case_in_test_layers(name):
    assert name in test_layers.CASES
    make, _, _ = test_layers.CASES[name]
    assert type(make(np.random.default_rng(0))) is getattr(tinyvae, name)


@pytest.mark.parametrize("name", exported(Likelihood))
def test_every_exported_likelihood_has_a_case_in_test_likelihoods(name):
    assert name in test_likelihoods.LIKELIHOODS
    assert type(test_likelihoods.LIKELIHOODS[name]()) is getattr(tinyvae, name)


def test_the_command_fails_where_something_is_wrong(monkeypatch, capsys):
    monkeypatch.setattr(gradcheck, "Tanh", WrongSign)
    assert gradcheck.main() == 1
    rows = capsys.readouterr().out.splitlines()
    wrong = {row.split()[0] for row in rows if row.endswith("WRONG")}
    assert wrong == {"WrongSign", "Sequential"}  # the latter has a Tanh in it


@pytest.mark.parametrize("error, code", [(9e-8, 0), (1e-7, 1), (np.inf, 1), (np.nan, 1)])
def test_one_bad_row_is_enough(monkeypatch, capsys, error, code):
    rows = [("good", 1e-9), ("this one", error), ("good", 1e-9)]
    monkeypatch.setattr(gradcheck, "table", lambda: rows)
    assert gradcheck.main() == code
    assert capsys.readouterr().out.count("WRONG") == code
