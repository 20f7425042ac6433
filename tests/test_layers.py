import math
import re
from functools import partial

import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

from tinyvae import (
    Conv2d,
    ConvTranspose2d,
    Flatten,
    Linear,
    MaskedConv2d,
    MaskedLinear,
    ReLU,
    Reshape,
    Sequential,
    Sigmoid,
    Tanh,
    array_module,
    to_host,
)
from tinyvae.engine.differences import check_layer


def masked(base, function, mask, *arguments):
    """PyTorch's layer `base`, computed by `function` with weights of which some count as 0."""

    class Masked(base):
        def forward(self, x):
            return function(x, self.weight * self.weight.new_tensor(mask), self.bias)

    return Masked(*arguments)


# Every layer: tinyvae's, PyTorch's, the shape of an input.
CASES = {
    "Linear": (lambda rng: Linear(5, 3, rng=rng), lambda nn: nn.Linear(5, 3), (5, 4)),
    "Conv2d": (
        lambda rng: Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0), rng=rng),
        lambda nn: nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0)),
        (2, 7, 5, 4),
    ),
    "ConvTranspose2d": (
        lambda rng: ConvTranspose2d(3, 2, (3, 4), (2, 3), (1, 0), (1, 2), rng=rng),
        lambda nn: nn.ConvTranspose2d(3, 2, (3, 4), (2, 3), (1, 0), (1, 2)),
        (3, 5, 4, 2),
    ),
    "MaskedLinear": (
        lambda rng: MaskedLinear(5, 7, 3, strict=True, rng=rng),
        lambda nn: masked(
            nn.Linear,
            nn.functional.linear,
            [[j % 3 < i % 3 for j in range(5)] for i in range(7)],
            *(5, 7),
        ),
        (5, 4),
    ),
    "MaskedConv2d": (
        lambda rng: MaskedConv2d(2, 3, 3, own=False, rng=rng),
        lambda nn: masked(
            nn.Conv2d,
            partial(nn.functional.conv2d, padding=1),
            [[1, 1, 1], [1, 0, 0], [0, 0, 0]],
            *(2, 3, 3),
        ),
        (2, 4, 5, 3),
    ),
    "ReLU": (lambda rng: ReLU(), lambda nn: nn.ReLU(), (5, 3)),
    "Sigmoid": (lambda rng: Sigmoid(), lambda nn: nn.Sigmoid(), (5, 3)),
    "Tanh": (lambda rng: Tanh(), lambda nn: nn.Tanh(), (2, 5, 3)),
    "Reshape": (lambda rng: Reshape(2, 3, 5), lambda nn: nn.Unflatten(1, (2, 3, 5)), (30, 4)),
    "Flatten": (lambda rng: Flatten(), lambda nn: nn.Flatten(), (2, 3, 5, 4)),
    "Sequential": (
        lambda rng: Sequential(Linear(5, 4, rng=rng), ReLU(), Linear(4, 3, rng=rng)),
        lambda nn: nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)),
        (5, 2),
    ),
}
every_layer = pytest.mark.parametrize("ours, theirs, shape", CASES.values(), ids=CASES)


def make(ours, xp=np, dtype=np.float64):
    layer = ours(np.random.default_rng(0))
    return layer.to(xp, dtype) if list(layer.named_parameters()) else layer


def normal(seed, shape):
    return np.random.default_rng(seed).standard_normal(shape)


def run(layer, x):
    """Forward and, from a random dy, backward: y, dx as "x", the parameters' gradients by name."""
    y = layer.forward(x)
    dx = layer.backward(array_module(x).asarray(normal(2, y.shape), dtype=x.dtype))
    return {"y": y, "x": dx} | {name: p.grad for name, p in layer.named_parameters()}


FORWARD = {  # the layer's definition for one example
    "Linear": lambda layer, x: to_host(layer.weight.value).dot(x) + to_host(layer.bias.value),
    "ReLU": lambda layer, x: np.where(x > 0, x, 0),
    "Sigmoid": lambda layer, x: scipy.special.expit(x),
    "Tanh": lambda layer, x: (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1),
    "Reshape": lambda layer, x: x.reshape(2, 3, 5),
    "Flatten": lambda layer, x: x.ravel(),
}


@pytest.mark.parametrize("name", FORWARD)
def test_forward_example_by_example(xp, name):
    ours, _, shape = CASES[name]
    layer, x = make(ours, xp), normal(1, shape)
    y = to_host(layer.forward(xp.asarray(x)))
    expected = [FORWARD[name](layer, x[..., n]) for n in range(shape[-1])]
    np.testing.assert_allclose(y, np.stack(expected, axis=-1), rtol=1e-12)


def test_sequential_is_one_after_the_other(xp):
    layer, x = make(CASES["Sequential"][0], xp), xp.asarray(normal(1, (5, 2)))
    y = layer.forward(x)
    for one in layer.layers:
        x = one.forward(x)
    np.testing.assert_array_equal(to_host(y), to_host(x))


@pytest.mark.parametrize(
    "make, axes",
    [
        (lambda a, b, c, rng: Linear(a, b, rng=rng), "a"),
        (lambda a, b, c, rng: ReLU(), "ab"),
        (lambda a, b, c, rng: Sigmoid(), "abc"),
        (lambda a, b, c, rng: Tanh(), "a"),
        (lambda a, b, c, rng: Flatten(), "abc"),
        (lambda a, b, c, rng: Sequential(Flatten(), Reshape(c, b, a)), "abc"),
        (
            lambda a, b, c, rng: Sequential(Linear(a, b, rng=rng), Tanh(), Linear(b, c, rng=rng)),
            "a",
        ),
    ],
    ids="Linear ReLU Sigmoid Tanh Flatten Reshape Sequential".split(),
)
@given(sizes=st.permutations((1, 2, 3, 5)), seed=st.integers(0, 2**32 - 1))
def test_backward_by_finite_differences(make, axes, sizes, seed):
    """Over distinct sizes; the convolutions' turn is in test_convolution.py."""
    a, b, c, n = sizes
    rng = np.random.default_rng(seed)
    shape = (*({"a": a, "b": b, "c": c}[axis] for axis in axes), n)
    x = rng.uniform(0.01, 2, shape) * rng.choice([-1, 1], shape)  # not at the kink of ReLU
    layer = make(a, b, c, rng)
    errors = check_layer(layer, x, rng)
    assert errors.keys() == {"x"} | {name for name, _ in layer.named_parameters()}
    assert max(errors.values()) < 1e-7, errors


@every_layer
def test_inputs_are_left_alone(xp, ours, theirs, shape):
    layer, x = make(ours, xp), normal(1, shape)
    x_given = xp.asarray(x.copy())
    y = layer.forward(x_given)
    dy = normal(2, y.shape)
    dy_given = xp.asarray(dy.copy())
    layer.backward(dy_given)
    np.testing.assert_array_equal(to_host(x_given), x)
    np.testing.assert_array_equal(to_host(dy_given), dy)


@every_layer
def test_backward_sets_and_does_not_add(xp, ours, theirs, shape):
    layer, x = make(ours, xp), xp.asarray(normal(1, shape))
    first = {name: to_host(array).copy() for name, array in run(layer, x).items()}
    for name, again in run(layer, x).items():
        np.testing.assert_array_equal(to_host(again), first[name])


@every_layer
def test_float32_stays_float32_and_agrees_with_float64_on_the_host(xp, ours, theirs, shape):
    x = normal(1, shape)
    exact = run(make(ours), x)
    single = run(make(ours, xp, np.float32), xp.asarray(x, dtype=np.float32))
    assert single.keys() == exact.keys()
    for name, array in single.items():
        assert array.dtype == np.float32 and exact[name].dtype == np.float64, name
        np.testing.assert_allclose(to_host(array), exact[name], rtol=1e-5, atol=1e-5)


@every_layer
def test_each_backward_needs_its_own_forward(ours, theirs, shape):
    layer, x = make(ours), normal(1, shape)
    dy = np.ones_like(layer.forward(x))
    layer.backward(dy)
    for spent in (layer, make(ours)):  # backward twice; backward before any forward
        with pytest.raises(
            RuntimeError, match=r"\.backward: call forward first, once for every backward"
        ):
            spent.backward(dy)


@pytest.mark.parametrize(
    "layer, shape, sentence",
    [
        (Linear, (4, 5), "Linear: expected input (in_features, N) with in_features = 3, got shape"),
        (Linear, (3,), "got shape (3,)"),
        (Linear, (3, 1, 2), "got shape (3, 1, 2)"),
        (
            Conv2d,
            (2, 5, 5, 1),
            "Conv2d: expected input (in_channels, H, W, N) with in_channels = 3",
        ),
        (Conv2d, (3, 5, 5), "got shape (3, 5, 5)"),
        (Conv2d, (3, 4, 9, 1), "kernel (5, 5) is larger than the image 4x9 with padding (0, 0)"),
        (Conv2d, (3, 9, 4, 1), "kernel (5, 5) is larger than the image 9x4 with padding (0, 0)"),
        (ConvTranspose2d, (2, 5, 5, 1), "ConvTranspose2d: expected input (in_channels, H, W, N)"),
        (ConvTranspose2d, (3, 5, 5), "got shape (3, 5, 5)"),
    ],
)
def test_wrong_inputs_are_refused(layer, shape, sentence):
    arguments = (3, 2) if layer is Linear else (3, 2, 5)
    layer = layer(*arguments, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match=re.escape(sentence)):
        layer.forward(np.zeros(shape, dtype=np.float32))


with_weights = pytest.mark.parametrize("name", ["Linear", "Conv2d", "ConvTranspose2d"])


@with_weights
@pytest.mark.parametrize("weights, given", [("f4", "f8"), ("f4", "i8"), ("f4", "u1"), ("f8", "f4")])
def test_an_input_of_another_dtype_is_refused(xp, name, weights, given):
    """It would silently turn all that follows into float64."""
    ours, _, shape = CASES[name]
    layer = make(ours, xp, np.dtype(weights))
    sentence = f"{name}: the weights are {np.dtype(weights)}, the input is {np.dtype(given)}; conv"
    with pytest.raises(TypeError, match=sentence):
        layer.forward(xp.zeros(shape, dtype=np.dtype(given)))


@every_layer
@pytest.mark.parametrize("order", ["Fortran", "every other", "read-only"])
def test_the_layout_of_an_input_makes_no_difference(ours, theirs, shape, order):
    layer, x = make(ours), normal(1, shape)
    expected = {name: array.copy() for name, array in run(layer, x).items()}
    if order == "Fortran":
        x = np.asfortranarray(x)
    elif order == "every other":
        x = np.repeat(x, 2, axis=-1)[..., ::2]
    else:
        x.flags.writeable = False
    for name, array in run(layer, x).items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-12, atol=1e-14)


@every_layer
@pytest.mark.parametrize("n", [0, 1])
def test_a_batch_may_have_one_example_or_none(xp, ours, theirs, shape, n):
    layer, x = make(ours, xp), xp.asarray(normal(1, shape))
    whole = to_host(layer.forward(x))
    result = run(layer, x[..., :n])
    np.testing.assert_allclose(to_host(result["y"]), whole[..., :n], rtol=1e-12, atol=1e-14)
    assert result["x"].shape == (*shape[:-1], n)
    if n == 0:
        for name, parameter in layer.named_parameters():
            assert not to_host(parameter.grad).any(), name


@every_layer
def test_backward_refuses_a_gradient_of_another_shape(ours, theirs, shape):
    """Above all one of the right size, which a reshape would take."""
    layer, x = make(ours), normal(1, shape)
    y_shape = layer.forward(x).shape
    for wrong in (y_shape[::-1], (*y_shape, 1), (y_shape[0], 1), ()):
        layer.forward(x)
        with pytest.raises(ValueError, match=r"dy must have the output's shape \(.*\), got \("):
            layer.backward(np.ones(wrong))


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda rng: Linear(0, 3, rng=rng), "in_features must be an integer of at least 1, got 0"),
        (lambda rng: Linear(3, -1, rng=rng), "out_features must be .* got -1"),
        (lambda rng: Linear(3, 2.0, rng=rng), "out_features must be .* got 2.0"),
        (lambda rng: Conv2d(1, 0, 3, rng=rng), "out_channels must be .* got 0"),
        (lambda rng: ConvTranspose2d("1", 2, 3, rng=rng), "in_channels must be .* got '1'"),
        (lambda rng: Conv2d(1, 2, 3.0, rng=rng), "expected an integer .* got 3.0"),
        (lambda rng: Conv2d(1, 2, math.nan, rng=rng), "expected an integer .* got nan"),
    ],
)
def test_sizes_that_are_no_counts_are_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(np.random.default_rng(0))


@pytest.mark.parametrize(
    "arguments",
    [{"kernel_size": 0}, {"stride": (1, 0)}, {"padding": -1}, {"kernel_size": (3, 3, 3)}],
)
@pytest.mark.parametrize("layer", [Conv2d, ConvTranspose2d])
def test_wrong_geometry_is_refused(layer, arguments):
    with pytest.raises(ValueError, match="expected an integer of at least [01] or a pair"):
        layer(1, 1, **{"kernel_size": 3} | arguments, rng=np.random.default_rng(0))


def test_conv_transpose_refuses_what_has_no_output():
    rng = np.random.default_rng(0)
    layer = ConvTranspose2d(1, 1, 1, padding=(0, 1), rng=rng)
    with pytest.raises(ValueError, match="ConvTranspose2d: an input of 5x2 leaves .* of 5x0"):
        layer.forward(np.zeros((1, 5, 2, 1), dtype=np.float32))
    for extra in (2, (0, 2), (3, 0)):
        with pytest.raises(ValueError, match=r"output_padding \(.*\) must be smaller than the str"):
            ConvTranspose2d(1, 1, 3, stride=(3, 2), output_padding=extra, rng=rng)


def test_sigmoid_in_both_tails(xp):
    x = xp.asarray([-1e4, -80, -50, 50, 1e4], dtype=np.float32)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        y = to_host(Sigmoid().forward(x))
    np.testing.assert_allclose(y, [0, np.exp(-80), np.exp(-50), 1, 1], rtol=1e-5)


# Layers with many weights and biases, PyTorch's, the inputs of one output that bound them.
INITIAL = {
    "Linear": (lambda rng: Linear(30, 999, rng=rng), lambda nn: nn.Linear(30, 999), 30),
    "Conv2d": (
        lambda rng: Conv2d(3, 999, (2, 5), rng=rng),
        lambda nn: nn.Conv2d(3, 999, (2, 5)),
        3 * 2 * 5,
    ),
    "ConvTranspose2d": (
        lambda rng: ConvTranspose2d(3, 999, (2, 5), rng=rng),
        lambda nn: nn.ConvTranspose2d(3, 999, (2, 5)),
        999 * 2 * 5,
    ),
}
every_initial = pytest.mark.parametrize("ours, theirs, fan_in", INITIAL.values(), ids=INITIAL)


def assert_uniform(sample, bound):
    """Within (-bound, bound), up to its ends, with mean 0 and variance bound^2 / 3."""
    unit = np.abs(sample).ravel() / bound
    assert 1 - 10 / unit.size < unit.max() < 1 + 1e-6
    five_sigma = 5 / math.sqrt(unit.size)
    assert abs(sample.mean() / bound) < five_sigma * math.sqrt(1 / 3)
    assert abs((unit**2).mean() - 1 / 3) < five_sigma * math.sqrt(1 / 5 - 1 / 9)


@every_initial
def test_initial_weights_are_uniform_and_come_from_rng(ours, theirs, fan_in):
    state = ours(np.random.default_rng(0)).state_dict()
    same, other = (ours(np.random.default_rng(seed)).state_dict() for seed in (0, 1))
    assert state.keys() == {"weight", "bias"}
    for name, array in state.items():
        assert array.dtype == np.float32
        assert_uniform(array, 1 / math.sqrt(fan_in))
        np.testing.assert_array_equal(array, same[name])
        assert (array != other[name]).mean() > 0.99


@every_initial
def test_pytorch_has_the_same_initial_weights(ours, theirs, fan_in):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    for parameter in theirs(torch.nn).parameters():
        assert_uniform(parameter.detach().numpy(), 1 / math.sqrt(fan_in))


@every_layer
def test_agreement_with_pytorch(xp, ours, theirs, shape):
    """One state_dict, one result: output, gradient of the input, gradient of each parameter."""
    torch = pytest.importorskip("torch")
    layer, theirs, again = make(ours, xp), theirs(torch.nn).double(), theirs(torch.nn).double()
    theirs.load_state_dict({k: torch.from_numpy(a) for k, a in layer.state_dict().items()})
    x = normal(1, shape)
    result = run(layer, xp.asarray(x))

    x_theirs = torch.from_numpy(np.moveaxis(x, -1, 0).copy()).requires_grad_()
    y_theirs = theirs(x_theirs)
    dy = np.moveaxis(normal(2, result["y"].shape), -1, 0).copy()
    y_theirs.backward(torch.from_numpy(dy))
    expected = {"y": y_theirs.detach(), "x": x_theirs.grad}
    expected = {name: np.moveaxis(array.numpy(), 0, -1) for name, array in expected.items()}
    expected |= {name: p.grad.numpy() for name, p in theirs.named_parameters()}
    assert list(result) == list(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(to_host(result[name]), array, rtol=1e-12, atol=1e-12)

    if expected.keys() > {"y", "x"}:
        layer.load_state_dict(again.state_dict())
        y_again = again(x_theirs).detach().numpy()
        np.testing.assert_allclose(
            to_host(layer.forward(xp.asarray(x))),
            np.moveaxis(y_again, 0, -1),
            rtol=1e-12,
            atol=1e-12,
        )


@pytest.mark.parametrize("name", ["Linear", "Conv2d"])
def test_a_first_layer_computes_all_but_the_input_gradient(xp, name):
    ours, _, shape = CASES[name]
    layer, first = make(ours, xp), make(ours, xp)
    first.needs_input_grad = False
    x = xp.asarray(normal(1, shape))
    expected, got = run(layer, x), run(first, x)
    assert expected.pop("x") is not None and got.pop("x") is None
    for name, array in got.items():
        np.testing.assert_array_equal(to_host(array), to_host(expected[name]))


def test_a_sequential_ends_its_backward_at_the_first_layer():
    rng = np.random.default_rng(0)
    first = Linear(6, 4, rng=rng, needs_input_grad=False)
    network = Sequential(Flatten(), first, ReLU(inplace=True), Linear(4, 2, rng=rng))
    y = network.forward(normal(0, (2, 1, 3, 5)).astype(np.float32))
    assert network.backward(np.ones_like(y)) is None
    assert (first.weight.grad != 0).any()


def test_relu_in_place(xp):
    """The same numbers, where x and dy stood."""
    x, dy = xp.asarray(normal(0, (5, 3))), xp.asarray(normal(1, (5, 3)))
    layer, inplace = ReLU(), ReLU(inplace=True)
    expected = layer.forward(x), layer.backward(dy)
    y = inplace.forward(x)
    dx = inplace.backward(dy)
    assert y is x and dx is dy
    for got, array in zip((y, dx), expected, strict=True):
        np.testing.assert_array_equal(to_host(got), to_host(array))
