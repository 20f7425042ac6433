"""The first file to read: it is short and complete, and its loss, gradients and Adam are right."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from tinyvae import Adam, make_model
from tinyvae.data import Dataset, load_digits

ROOT = Path(__file__).parent.parent
FILE = ROOT / "examples" / "minimal_vae.py"
SOURCE = FILE.read_text("utf-8")
LAYERS = ("enc", "mu", "logvar", "dec", "out")
NAMES = [f"{kind}_{layer}" for layer in LAYERS for kind in "Wb"]  # in the order of the library
MISTAKES = [  # each a mistake in one line of the loss or of its gradients
    ("std**2 - 1 - logvar)) / N  #", "std - 1 - logvar)) / N  #"),
    ("x_hat - x) / N", "x_hat - x)"),
    ("da = dh_dec * (h_dec > 0)", "da = dh_dec"),
    ("dz = da @", "dz = dh_dec @"),
    ("dz + mu / N", "dz"),
    ("dz * 0.5 * std * eps", "dz * std * eps"),
    ("0.5 * (std**2 - 1) / N  #", "(std**2 - 1) / N  #"),
    ("0.5 * (std**2 - 1) / N  #", "0.5 * (std - 1) / N  #"),
    (' + dlogvar @ p["W_logvar"].T', ""),
    ("b_enc=da.sum(axis=0)", "b_enc=da.mean(axis=0)"),
]


def broken(right, wrong):
    """The source with one mistake."""
    assert SOURCE.count(right) == 1, f"the file no longer has {right!r} once"
    return SOURCE.replace(right, wrong)


@pytest.fixture
def small(monkeypatch):
    """load_dataset gives 300 synthetic digits to train on and 100 to test on."""
    x_train, y_train, _ = load_digits(300, seed=0)
    x_test, y_test, _ = load_digits(100, seed=1)
    data = Dataset("small", x_train, y_train, x_test, y_test)
    monkeypatch.setattr("tinyvae.data.load_dataset", lambda *_: data)


@pytest.fixture
def execute(monkeypatch):
    """Run a source as a program with these arguments; returns its global names."""

    def run(source, *arguments, **names):
        monkeypatch.setattr(sys, "argv", ["minimal_vae.py", *map(str, arguments)])
        names["__name__"] = "__main__"
        exec(compile(source, FILE, "exec"), names)
        return names

    return run


def test_it_is_short_and_imports_nothing_of_tinyvae_but_the_data():
    modules = set()
    for node in ast.walk(ast.parse(SOURCE)):
        if isinstance(node, ast.Import):
            modules |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module)
    assert modules == {"argparse", "pathlib", "numpy", "matplotlib.image", "tinyvae.data"}
    assert len(SOURCE.splitlines()) <= 120


def test_it_learns_and_draws_new_images(small, execute, tmp_path, capsys):
    out = tmp_path / "new" / "samples.png"
    execute(SOURCE, "--epochs", 12, "--out", out)
    losses = [float(x) for x in re.findall(r"ELBO (\S+) nats", capsys.readouterr().out)]
    assert len(losses) == 12 and losses[-1] < losses[0] - 100 and losses[-1] < 250
    picture = matplotlib.image.imread(out)[..., 0]
    assert picture.shape == (280, 280) and picture.min() < 0.1 and picture.max() > 0.5


def test_check_accepts_its_gradients(execute, capsys):
    with pytest.raises(SystemExit) as stop:
        execute(SOURCE, "--check")
    assert not stop.value.code
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == NAMES


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake[1])
def test_check_finds_a_mistake(mistake, execute):
    with pytest.raises(AssertionError, match="wrong gradient of"):
        execute(broken(*mistake), "--check")


@pytest.mark.parametrize("source, right", [(SOURCE, True), (broken(*MISTAKES[5]), False)])
def test_check_tells_the_shell(source, right, tmp_path):
    (tmp_path / "vae.py").write_text(source, "utf-8")
    command = [sys.executable, tmp_path / "vae.py", "--check"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode == 0) == right, done.stderr


def library_model(p):
    """The library's model in the dtype of p, and its parameters by the names in p."""
    model = make_model("vae", "mlp", latent_dim=20).to(np, p["W_mu"].dtype)
    parameters = dict(zip(NAMES, (q for _, q in model.named_parameters()), strict=True))
    for name, parameter in parameters.items():
        parameter.value[...] = p[name].T  # the library's weights are (out, in)
    return model, parameters


def test_loss_and_gradients_are_those_of_the_library(small, execute, tmp_path):
    names = execute(SOURCE, "--epochs", 0, "--out", tmp_path / "samples.png")
    p = {name: value.astype(np.float64) for name, value in names["p"].items()}
    rng = np.random.default_rng(3)
    x, eps = rng.random((7, 784)), rng.standard_normal((7, 20))
    loss, grad = names["loss_and_gradients"](p, x, eps)

    model, parameters = library_model(p)
    expected = model.loss(x.reshape(7, 1, 28, 28), eps[None]).total
    model.backward()
    np.testing.assert_allclose(loss, expected, rtol=1e-13)
    assert sorted(grad) == sorted(NAMES)
    for name in NAMES:
        np.testing.assert_allclose(grad[name].T, parameters[name].grad, rtol=1e-9, atol=1e-12)


def test_initial_weights_and_steps_are_those_of_the_library(small, execute, tmp_path):
    """Record p and grad at each of six steps, and let the library's Adam follow them."""
    call = "_, grad = loss_and_gradients(p, x, eps)\n            t +="
    recording = call.replace("\n", "; record(p, grad)\n")
    steps = []

    def record(p, grad):
        steps.append(({name: value.copy() for name, value in p.items()}, grad))

    out = tmp_path / "samples.png"
    execute(broken(call, recording), "--epochs", 2, "--out", out, record=record)
    assert len(steps) == 6  # two epochs, each with two batches of 128 images and one of 44

    p, grad = steps[0]
    model, parameters = library_model(p)
    for name, value in p.items():
        limit = len(p[name.replace("b_", "W_")]) ** -0.5  # PyTorch's: 1 / sqrt(inputs)
        assert value.dtype == grad[name].dtype == np.float32
        assert value.min() < -0.8 * limit and 0.8 * limit < abs(value).max() <= limit
    optimizer = Adam(model, lr=1e-3)
    for (_, grad), (after, _) in zip(steps[:-1], steps[1:], strict=True):
        for name, parameter in parameters.items():
            parameter.grad[...] = grad[name].T
        optimizer.step()
        for name, parameter in parameters.items():
            np.testing.assert_allclose(after[name].T, parameter.value, rtol=0, atol=1e-6)


def test_it_is_safe_for_large_numbers(small, execute, tmp_path):
    """exp(logits) would overflow float32 beyond 88."""
    names = execute(SOURCE, "--epochs", 0, "--out", tmp_path / "samples.png")
    p = {name: np.zeros_like(value) for name, value in names["p"].items()}
    p["b_out"][:392], p["b_out"][392:] = 1e4, -1e4
    x = np.tile(np.repeat(np.float32([1, 0]), 392), (2, 1))  # (2, 784), what p predicts
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        loss, grad = names["loss_and_gradients"](p, x, np.zeros((2, 20), np.float32))
        wrong, _ = names["loss_and_gradients"](p, 1 - x, np.zeros((2, 20), np.float32))
    assert loss == 0 and not grad["b_out"].any() and wrong == 784e4
