"""benchmarks/jax_reference.py computes what tinyvae computes: losses, gradients, and weights."""

import argparse

import numpy as np
import pytest
import variants

from tinyvae import Adam, make_model

pytest.importorskip("jax")
import jax_reference

N, STEPS = 5, 4
each_network = pytest.mark.parametrize("network", ["conv", "mlp"])


@each_network
@pytest.mark.parametrize("scan", [False, True], ids=["step", "scan"])
def test_steps_of_adam(network, scan):
    model = make_model(network=network, latent_dim=variants.LATENT_DIM)
    state, optimizer = jax_reference.start(model.state_dict()), Adam(model)
    x, eps = variants.inputs(N)
    mine, theirs = [], []
    for _ in range(STEPS):
        mine.append(float(model.loss(x, eps).total))
        model.backward()
        optimizer.step()
    if scan:
        order = np.tile(np.arange(N), (STEPS, 1))
        epoch = jax_reference.compiled(jax_reference.train_epoch, network)
        state, theirs = epoch(state, x, eps[0], order)
    else:
        step = jax_reference.compiled(jax_reference.train_step, network)
        for _ in range(STEPS):
            state, loss = step(state, x, eps[0])
            theirs.append(float(loss))
    np.testing.assert_allclose(theirs, mine, rtol=1e-5)
    for name, array in model.state_dict().items():  # a gradient near zero may have either sign
        error = np.linalg.norm(state[0][name] - array) / np.linalg.norm(array)
        assert error < 1e-3, name


@each_network
@pytest.mark.parametrize("variant", ["jax", "jax scan"])
def test_the_benchmark_finds_that_it_computes_the_same(network, variant, monkeypatch):
    for module in (variants, jax_reference):
        monkeypatch.setattr(module, "STEPS", STEPS)
    found = []
    for name, backend in (("tinyvae", "numpy"), (variant, "cupy")):
        run, about = variants.task_of(
            argparse.Namespace(
                variant=name, backend=backend, network=network, batch_size=N, threads=1, task="step"
            )
        )
        found.append([run()(), about()["norm"]])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)
