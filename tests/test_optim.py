import copy
import math
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyvae import SGD, Adam, Linear, clip_grad_norm, to_host
from tinyvae.engine.module import Module, Parameter
from tinyvae.engine.optim import BLOCK

SIZE = 2 * BLOCK + 3  # three blocks, the last of them ragged
STEPS = 4


def gradients(size):
    """Of sizes from 1e-6 to 1e2, with a parameter that never gets any."""
    rng = np.random.default_rng(1)
    scale = 10 ** rng.uniform(-6, 2, size)
    scale[size // 2] = 0
    return [scale * rng.standard_normal(size) for _ in range(STEPS)]


class Weights(Module):
    def __init__(self, size):
        self.weights = Parameter(np.random.default_rng(0).standard_normal(size))


def make_model(xp, size, dtype=np.float64):
    return Weights(size).to(xp, dtype)


def train(xp, make_optimizer, size):
    model = make_model(xp, size)
    optimizer = make_optimizer(model)
    for gradient in gradients(size):
        model.grad[...] = xp.asarray(gradient)
        optimizer.step()
    return to_host(model.theta)


def adam_of_the_paper(theta, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
    """Kingma and Ba 2015, algorithm 1, line by line."""
    m, v = 0, 0
    for t, g in enumerate(gradients(len(theta)), start=1):
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        m_hat = m / (1 - betas[0] ** t)
        v_hat = v / (1 - betas[1] ** t)
        theta = theta - lr * m_hat / (np.sqrt(v_hat) + eps)
    return theta


def sgd_by_hand(theta, lr, momentum=0.0):
    """The velocity as what it is: every gradient so far, each step weighed by the momentum."""
    past = gradients(len(theta))
    for t in range(1, STEPS + 1):
        velocity = sum(momentum ** (t - 1 - s) * past[s] for s in range(t))
        theta = theta - lr * velocity
    return theta


OPTIMIZERS = [
    (Adam, adam_of_the_paper, {}),
    (Adam, adam_of_the_paper, {"lr": 0.03, "betas": (0.5, 0.8), "eps": 1e-2}),
    (SGD, sgd_by_hand, {"lr": 0.1}),
    (SGD, sgd_by_hand, {"lr": 0.1, "momentum": 0.9}),
]
every_optimizer = pytest.mark.parametrize(
    "ours, by_hand, options", OPTIMIZERS, ids=["Adam", "Adam-options", "SGD", "SGD-momentum"]
)


@every_optimizer
def test_against_the_definition(xp, ours, by_hand, options):
    result = train(xp, lambda model: ours(model, **options), SIZE)
    expected = by_hand(to_host(make_model(xp, SIZE).theta), **options)
    np.testing.assert_allclose(result, expected, rtol=1e-11, atol=1e-13)


@every_optimizer
def test_against_pytorch(xp, ours, by_hand, options):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Parameter(torch.from_numpy(to_host(make_model(xp, 1000).theta).copy()))
    optimizer = getattr(torch.optim, ours.__name__)([theirs], **options)
    for gradient in gradients(1000):
        theirs.grad = torch.from_numpy(gradient)
        optimizer.step()
    result = train(xp, lambda model: ours(model, **options), 1000)
    np.testing.assert_allclose(result, theirs.detach().numpy(), rtol=1e-11, atol=1e-13)


@every_optimizer
def test_theta_stays_where_it_is_and_float32(xp, ours, by_hand, options):
    """A parameter's value is a view into theta: it must move with it."""
    model = make_model(xp, SIZE, np.float32)
    theta, grad, view = model.theta, model.grad, model.theta[-2:]
    before = to_host(theta).copy()
    optimizer = ours(model, **options)
    model.grad[...] = 1
    optimizer.step()
    assert model.theta is theta and model.grad is grad
    assert (to_host(theta) < before).all() and (to_host(grad) == 1).all()
    np.testing.assert_array_equal(to_host(view), to_host(theta)[-2:])
    vectors = [theta, *(state for name, state in optimizer.state.items() if name != "step")]
    assert {vector.dtype for vector in vectors} == {np.dtype(np.float32)}


@every_optimizer
def test_state_is_all_there_is_to_save(xp, ours, by_hand, options):
    past = gradients(10)
    whole = train(xp, lambda model: ours(model, **options), 10)
    model = make_model(xp, 10)
    optimizer = ours(model, **options)
    for step, gradient in enumerate(past):
        if step == 2:
            saved = {name: to_host(array).copy() for name, array in optimizer.state.items()}
            optimizer = ours(model, **options)
            for name, array in saved.items():
                optimizer.state[name][...] = array if name == "step" else xp.asarray(array)
        model.grad[...] = xp.asarray(gradient)
        optimizer.step()
    np.testing.assert_array_equal(to_host(model.theta), whole)


@given(
    grad=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=9).map(np.array),
    max_norm=st.floats(1e-2, 1e4),
)
def test_clip_grad_norm(xp, grad, max_norm):
    model = SimpleNamespace(grad=xp.array(grad), trained_size=None)
    kept = model.grad
    norm = math.sqrt(sum(float(g) ** 2 for g in grad))
    assert float(clip_grad_norm(model, max_norm)) == pytest.approx(norm, rel=1e-12)
    assert model.grad is kept
    if norm + 1e-6 <= max_norm:
        np.testing.assert_array_equal(to_host(kept), grad)
    else:  # PyTorch's 1e-6 keeps a zero gradient from a division by zero
        expected = grad * (max_norm / (norm + 1e-6))
        np.testing.assert_allclose(to_host(kept), expected, rtol=1e-12)
        assert np.linalg.norm(to_host(kept)) <= max_norm


def test_clip_grad_norm_stays_float32(xp):
    model = SimpleNamespace(grad=xp.full(4, 3, dtype=np.float32), trained_size=None)
    assert clip_grad_norm(model, 1.0).dtype == model.grad.dtype == np.float32


def test_clip_grad_norm_against_pytorch(xp):
    torch = pytest.importorskip("torch")
    for max_norm in (0.5, 1e9):
        model = SimpleNamespace(grad=xp.asarray(gradients(100)[0]), trained_size=None)
        theirs = torch.nn.Parameter(torch.zeros(100, dtype=torch.float64))
        theirs.grad = torch.from_numpy(gradients(100)[0])
        norm = torch.nn.utils.clip_grad_norm_([theirs], max_norm)
        assert float(clip_grad_norm(model, max_norm)) == pytest.approx(norm.item(), rel=1e-12)
        np.testing.assert_allclose(to_host(model.grad), theirs.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("lr", [0, -1e-3, math.nan, math.inf])
@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_the_learning_rate_must_be_positive(optimizer, lr):
    with pytest.raises(ValueError, match=f"lr must be positive and finite, got {lr}"):
        optimizer(Weights(3), lr=lr)


@pytest.mark.parametrize(
    "optimizer, name, values",
    [
        (SGD, "momentum", [-0.1, 1.0, math.nan, math.inf]),
        (Adam, "betas", [(0.9, 1.0), (-0.1, 0.9), (math.nan, 0.9), (0.9,), (0.1, 0.2, 0.3)]),
        (Adam, "eps", [0.0, -1e-8, math.nan, math.inf]),
    ],
)
def test_other_settings_out_of_range_are_refused(optimizer, name, values):
    for value in values:
        with pytest.raises(ValueError, match=f"{name} must be .*, got") as refusal:
            optimizer(Weights(3), lr=0.1, **{name: value})
        assert str(refusal.value).endswith(f"got {value}")


def one_step(layer, optimizer):
    layer.grad = 1 + np.arange(layer.grad.size)
    before = layer.theta.copy()
    optimizer.step()
    return layer.theta - before


@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_a_layer_by_itself_is_gathered_and_learns(optimizer):
    layer = Linear(3, 2, rng=np.random.default_rng(0))
    state = layer.state_dict()
    made = optimizer(layer, lr=0.1)
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, state[name])
    x = np.ones((3, 4), dtype=np.float32)
    before = layer.forward(x).sum()
    layer.backward(np.ones((2, 4), dtype=np.float32))
    made.step()
    assert layer.forward(x).sum() < before - 0.1


@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_an_optimizer_refuses_vectors_that_are_no_longer_the_models(optimizer):
    model = Weights(3).to()
    made = optimizer(model, lr=0.1)
    model.to()
    with pytest.raises(ValueError, match="`to` was called, after .* make a new optimizer"):
        made.step()
    assert one_step(model, optimizer(model, lr=0.1)).all()


@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_a_copied_optimizer_goes_on_with_the_copied_model(optimizer):
    """The pair that copy and pickle make does what the original does, and leaves it alone."""
    model = Weights(5).to()
    made = optimizer(model, lr=0.1)
    one_step(model, made)
    for copied in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        other, before = copied.model, model.theta.copy()
        assert other is not model
        change = one_step(other, copied)
        np.testing.assert_array_equal(model.theta, before)
        twin = copy.deepcopy(made)
        np.testing.assert_array_equal(one_step(twin.model, twin), change)
