"""Every gradient in tinyvae against finite differences, in float64.

`python -m tinyvae.gradcheck` prints a table with a row for each gradient, and exits with 1 if a
relative error is not below 1e-7. docs/book/08_checks.md says why the upstream gradient is random.
"""

import sys

import numpy as np

from tinyvae.engine import differences, gaussian, schedules
from tinyvae.engine.activations import ReLU, Sigmoid, Tanh
from tinyvae.engine.categorical import cross_entropy, cross_entropy_grad
from tinyvae.engine.flows import STEPS, Flow
from tinyvae.engine.layers import Conv2d, ConvTranspose2d, Flatten, Linear, Reshape, Sequential
from tinyvae.engine.likelihoods import Bernoulli, Gaussian, LearnedGaussian
from tinyvae.engine.masked import MaskedConv2d, MaskedLinear
from tinyvae.models.code_prior import CodePrior
from tinyvae.models.codebook import Codebook
from tinyvae.models.iwae import bound_and_weights
from tinyvae.models.registry import LIKELIHOODS, MODELS, make_model
from tinyvae.rng import generator
from tinyvae.training.command_line import exit_code

TOLERANCE = 1e-7


def table(seed=0):
    """Rows (name, relative error) for every layer, formula, likelihood and model of tinyvae."""
    rng = generator(seed, "gradcheck")
    yield from _layer_rows(rng)
    yield from _formula_rows(rng)
    yield from _flow_rows(rng)
    yield from _likelihood_rows(rng)
    yield from _model_rows(rng)


def _layer_rows(rng):
    sizes = {"stride": (2, 3), "padding": (1, 0), "output_padding": (1, 2)}
    cases = [
        (Linear(5, 3, rng=rng), (5, 4)),
        (MaskedLinear(5, 7, 3, strict=True, rng=rng), (5, 4)),
        (MaskedLinear(5, 7, 3, strict=False, rng=rng), (5, 4)),
        (Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0), rng=rng), (2, 7, 5, 3)),
        (ConvTranspose2d(3, 2, (3, 2), **sizes, rng=rng), (3, 4, 3, 2)),
        (MaskedConv2d(2, 3, 3, own=False, rng=rng), (2, 4, 5, 3)),
        (MaskedConv2d(2, 3, 3, own=True, rng=rng), (2, 4, 5, 3)),
        (ReLU(), (5, 3)),
        (Sigmoid(), (5, 3)),
        (Tanh(), (5, 3)),
        (Flatten(), (2, 3, 5, 4)),
        (Reshape(2, 3, 5), (30, 4)),
        (Sequential(Linear(5, 4, rng=rng), Tanh(), Linear(4, 3, rng=rng)), (5, 2)),
    ]
    for layer, shape in cases:
        for name, error in differences.check_layer(layer, rng.standard_normal(shape), rng).items():
            yield f"{type(layer).__name__} d{name}", error


def _formula_rows(rng):
    a, b, c, d = rng.standard_normal((4, 3, 5))

    def sample(mu, logvar):
        return gaussian.reparameterize(mu, logvar, c)

    def sample_grad(mu, logvar):
        return gaussian.reparameterize_backward(np.ones_like(mu), logvar, c)

    for name, function, gradient, arrays in (
        ("reparameterize", sample, sample_grad, (a, b)),
        ("kl_to_standard", gaussian.kl_to_standard, gaussian.kl_to_standard_grad, (a, b)),
        ("kl_divergence", gaussian.kl_divergence, gaussian.kl_divergence_grad, (a, b, c, d)),
        ("log_density", gaussian.log_density, gaussian.log_density_grad, (a, b, c)),
    ):
        yield name, differences.check_function(function, gradient, arrays, rng)
    labels, dy = np.array([2, 0, 1, 1, 2]), d[0]
    numerical = differences.numerical_gradient(lambda: dy @ cross_entropy(a, labels), a)
    yield "cross_entropy", differences.relative_error(numerical, cross_entropy_grad(a, labels) * dy)
    dmu, dlogvar = rng.standard_normal((2, 3, 5))

    def product():
        mu, logvar = gaussian.precision_weighted(a, b, c, d)
        return (dmu * mu + dlogvar * logvar).sum()

    gradients = gaussian.precision_weighted_backward(dmu, dlogvar, a, b, c, d)
    numerical = [differences.numerical_gradient(product, x) for x in (a, b, c, d)]
    errors = map(differences.relative_error, numerical, gradients)
    yield "precision_weighted", max(errors)
    codebook, de = Codebook(d).to(np, np.float64), rng.standard_normal((5, 2, 4))  # K = 3, L = 5
    choice = codebook.one_hot(np.array([[2, 0, 2, 2], [0, 2, 0, 2]]))  # code 1 is not chosen
    codebook.lookup_backward(de, choice)
    numerical = differences.numerical_gradient(
        lambda: (codebook.lookup(choice) * de).sum(), codebook.vectors.value
    )
    yield "codebook", differences.relative_error(numerical, codebook.vectors.grad)
    numerical = differences.numerical_gradient(lambda: d[0] @ bound_and_weights(a)[0], a)
    weighed = d[0] * bound_and_weights(a)[1]
    yield "bound_and_weights", differences.relative_error(numerical, weighed)
    kl, floor = np.array([0.1, 0.7, 0.3]), 0.4
    numerical = differences.numerical_gradient(lambda: schedules.free_bits(kl, floor), kl)
    yield "free_bits", differences.relative_error(numerical, schedules.free_bits_grad(kl, floor))


def _flow_rows(rng):
    cases = [(step(5, 3, rng=rng), "", (5, 4)) for step in STEPS.values()]
    cases += [(Flow(kind, 3, 5, 3, rng=rng), f" {kind}", (5, 2, 4)) for kind in STEPS]
    for flow, kind, shape in cases:
        _move(flow.to(np, np.float64), rng)
        z, h = rng.standard_normal(shape), rng.standard_normal((3, shape[-1]))
        errors = differences.check_flow(flow, z, h, rng)
        yield f"{type(flow).__name__}{kind} log_det", errors.pop("log_det")
        yield f"{type(flow).__name__}{kind} dz", errors.pop("z")
        yield f"{type(flow).__name__}{kind} dh", errors.pop("h")
        yield f"{type(flow).__name__}{kind} dparameters", max(errors.values())


def _move(flow, rng, scale=0.3):
    """Add noise to all parameters: where those of a new flow are zero, many gradients are too."""
    for _, parameter in flow.named_parameters():
        parameter.value += scale * rng.standard_normal(parameter.value.shape)


def _likelihood_rows(rng):
    x, output = rng.random((7, 1, 3)), rng.standard_normal((7, 2, 3))
    dlog_prob = rng.standard_normal((2, 3))
    for name, likelihood in (
        ("Bernoulli", Bernoulli()),
        ("Gaussian", Gaussian(0.3)),
        ("LearnedGaussian", LearnedGaussian(0.3)),
        ("LearnedGaussian size 7", LearnedGaussian(0.3, size=7)),
    ):
        parameters = dict(likelihood.to(np, np.float64).named_parameters())

        def f(likelihood=likelihood):
            return (dlog_prob * likelihood.log_prob(x, output)).sum()

        doutput = likelihood.backward(dlog_prob, x, output)
        numerical = differences.numerical_gradient(f, output)
        yield f"{name} doutput", differences.relative_error(numerical, doutput)
        for key, parameter in parameters.items():
            numerical = differences.numerical_gradient(f, parameter.value)
            yield f"{name} d{key}", differences.relative_error(numerical, parameter.grad)


def _model_rows(rng):
    x, eps, labels = rng.random((2, 1, 28, 28)), rng.standard_normal((3, 2, 4)), np.array([3, 8])
    for kind in MODELS:
        for network in MODELS[kind].networks:
            for likelihood in LIKELIHOODS:
                model = make_model(kind, network, 4, likelihood)
                noise = rng.standard_normal((3, 2, model.noise_dim))
                error = differences.check_model(model, *model.inputs(x, noise, labels), rng=rng)
                yield f"{type(model).__name__} {network} {likelihood}", error
    model = make_model("vae", "mlp", 4, "bernoulli")
    kl = np.sort(model.to(np, np.float64).loss(x, eps).kl)
    floor = float(kl[1] + kl[2]) / 2  # two dimensions above the floor, two below
    error = differences.check_model(model, x, eps, rng=rng, beta=4.0, free_bits=floor)
    yield "VAE mlp, beta 4 and free bits", error
    for inference in ("bottom-up", "ladder"):
        model = make_model("hvae", "mlp", 4, upper=(3, 2), inference=inference)
        noise = rng.standard_normal((3, 2, 9))
        error = differences.check_model(model, x, noise, rng=rng, beta=4.0, free_bits=0.01)
        yield f"HVAE mlp, 3 layers, {inference}", error
    for kind in STEPS:
        model = make_model("flow", "mlp", 4, flow=kind, flow_steps=3).to(np, np.float64)
        _move(model.flow, rng, 0.03)
        error = differences.check_model(model, x, eps, rng=rng, beta=4.0, free_bits=0.5)
        yield f"FlowVAE mlp, {kind}, beta 4 and free bits", error
    model = make_model("vqvae", "conv", 4, codes=7, codebook="ema", commitment=3.0)
    yield "VQVAE conv, ema", differences.check_model(model, x, rng=rng)
    codes = rng.integers(0, 5, (3, 12)).astype(float)
    error = differences.check_model(CodePrior.build(5, (3, 4), rng, width=6), codes, rng=rng)
    yield "CodePrior", error
    model = make_model("iwae", "mlp", 4, "bernoulli", k=1)
    yield "IWAE mlp, k 1", differences.check_model(model, x, eps, rng=rng)


def main():
    """Print the table; return 1 if an error is not below TOLERANCE, else 0."""
    errors = []
    for name, error in table():
        errors.append(error)
        print(f"{name:40} {error:8.1e}  {'ok' if error < TOLERANCE else 'WRONG'}")
    worst = np.max(errors)  # nan if one of them is nan
    print(f"{'largest relative error':40} {worst:8.1e}  (must stay below {TOLERANCE:g})")
    return int(not worst < TOLERANCE)


if __name__ == "__main__":
    sys.exit(exit_code("python -m tinyvae.gradcheck", main))
