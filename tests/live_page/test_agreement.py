"""The model in JavaScript computes what the model in Python computes, in the V8 engine."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyvae import make_model
from tinyvae.engine.gaussian import kl_to_standard, log_density, reparameterize
from tinyvae.live_page.model import describe_model, pack
from tinyvae.live_page.page import scripts
from tinyvae.training import on_host

py_mini_racer = pytest.importorskip("py_mini_racer", reason="needs mini-racer, in the extra test")

INPUTS = 100
TOLERANCE = 1e-4
KINDS = [
    ("vae", "conv", 20, "bernoulli", (1, 28, 28)),
    ("vae", "mlp", 2, "bernoulli", (1, 28, 28)),
    ("vae", "conv", 5, "gaussian", (3, 9, 14)),
    ("vae", "mlp", 3, "gaussian", (3, 1, 7)),
    ("ae", "conv", 4, "bernoulli", (1, 11, 8)),
    ("ae", "mlp", 2, "gaussian", (1, 28, 28)),
    ("cvae", "conv", 3, "bernoulli", (3, 13, 10)),
    ("cvae", "mlp", 2, "bernoulli", (1, 28, 28)),
    ("iwae", "mlp", 4, "bernoulli", (1, 5, 6)),
]
COMPUTE = """
    ({x, z, eps, labels}) => x.map((values, n) => {
      const {mu, logvar} = model.encode(Float64Array.from(values), labels[n]);
      return {
        mu: [...mu],
        ...(logvar && {
          logvar: [...logvar],
          kl: [...kl_to_standard(mu, logvar)],
          sample: [...reparameterize(mu, logvar, eps[n])],
        }),
        means: [...model.decode(z[n], labels[n])],
        log_px: model.log_px(values, z[n], labels[n]),
      };
    })
"""


def engine(*names):
    """A V8 engine that has read these files."""
    context = py_mini_racer.MiniRacer()
    context.eval(scripts(*names))
    return context


def call(context, function, argument):
    """function(argument) in JavaScript; both come and go as JSON."""
    context.eval(f"globalThis.argument = {json.dumps(argument)}")
    return json.loads(context.eval(f"JSON.stringify(({function})(argument))"))


def trained_like(model, rng):
    """Weights of the size that training leaves; biases of new models would hide a missing one."""
    for _, parameter in model.named_parameters():
        parameter.value[...] += 0.1 * rng.standard_normal(parameter.value.shape, dtype=np.float32)
    return model


@pytest.mark.parametrize(("kind", "network", "latent_dim", "likelihood", "shape"), KINDS)
def test_the_page_computes_what_python_computes(kind, network, latent_dim, likelihood, shape):
    rng = np.random.default_rng(0)
    hidden = {"hidden": (40, 30)} if network == "mlp" else {}
    model = make_model(kind, network, latent_dim, likelihood, shape=shape, **hidden)
    trained_like(model, rng)
    x = rng.random((INPUTS, *shape), dtype=np.float32)
    z, eps = rng.standard_normal((2, INPUTS, latent_dim), dtype=np.float32)
    labels = rng.integers(0, 10, INPUTS)
    y = (labels,) * model.wants_labels

    context = engine("arrays", "layers", "model")
    described = json.dumps(describe_model(model, np.float32))
    context.eval(f"globalThis.model = new Model({described})")
    inputs = {"x": x.reshape(INPUTS, -1), "z": z, "eps": eps, "labels": labels}
    found = call(context, COMPUTE, {name: array.tolist() for name, array in inputs.items()})
    found = {name: np.array([one[name] for one in found]) for name in found[0]}

    expected = {
        "means": model.decode(z, *y).reshape(INPUTS, -1),
        "log_px": on_host.log_prob(model, x, z, *y),
        "mu": model.embed(x, *y),
    }
    if model.standard_codes:
        mu, logvar = model.encode(x, *y)
        expected |= {"mu": mu, "logvar": logvar, "kl": kl_to_standard(mu, logvar)}
        expected["sample"] = reparameterize(mu, logvar, eps)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        error = abs(found[name] - array) / np.maximum(1, abs(array))
        assert error.max() < TOLERANCE, name


numbers = st.floats(-20, 20, width=32)


@given(x=numbers, mu=numbers, logvar=numbers)
def test_the_density(formulas, x, mu, logvar):
    found = call(formulas, "(a) => log_density(...a)", [x, mu, logvar])
    assert found == pytest.approx(log_density(*np.array([x, mu, logvar])), rel=1e-12)


def test_every_half(formulas):
    """Subnormal numbers too."""
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = halves[np.isfinite(halves)]
    for dtype in (np.float16, np.float32):
        assert call(formulas, READ, pack(finite, dtype)) == finite.tolist()


@given(st.binary(max_size=8))
def test_every_length_of_base64(formulas, data):
    assert call(formulas, READ, pack(np.frombuffer(data, np.uint8), np.uint8)) == list(data)


READ = "(packed) => [...unpack(packed).values]"


@pytest.fixture(scope="module")
def formulas():
    return engine("arrays", "layers", "model")
