import numpy as np
import pytest

from tinyvae import Linear, Sequential, Tanh, to_host
from tinyvae.engine.module import Module, Parameter


class Scaled(Module):
    """A network and a parameter of its own, defined in this order."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.body = Sequential(Linear(3, 2, rng=rng), Tanh(), Linear(2, 4, rng=rng))
        self.title = "neither a parameter nor a module"
        self.scale = Parameter(np.full(1, 7, dtype=np.float32))


SHAPES = {
    "body.0.weight": (2, 3),
    "body.0.bias": (2,),
    "body.2.weight": (4, 2),
    "body.2.bias": (4,),
    "scale": (1,),
}


def same_state(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_names_in_the_order_of_definition():
    model = Scaled()
    assert {name: p.value.shape for name, p in model.named_parameters()} == SHAPES
    assert [name for name, _ in model.named_parameters()] == list(SHAPES)
    assert [name for name, _ in model.named_modules()] == ["body.0", "body.1", "body.2", "body"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_to_keeps_the_values_and_gathers_them_in_order(xp, dtype):
    model = Scaled()
    before = model.state_dict()
    assert model.to(xp, dtype) is model
    assert model.theta.dtype == model.grad.dtype == dtype
    assert isinstance(model.theta, xp.ndarray) and isinstance(model.grad, xp.ndarray)
    assert same_state(model.state_dict(), before)
    in_order = np.concatenate([before[name].ravel() for name in SHAPES])
    np.testing.assert_array_equal(to_host(model.theta), in_order)


def test_values_and_gradients_are_views(xp):
    model = Scaled().to(xp)
    model.theta[...] = xp.arange(len(model.theta))
    for start, (_, parameter) in zip([0, 6, 8, 16, 20], model.named_parameters(), strict=True):
        np.testing.assert_array_equal(
            to_host(parameter.value).ravel(), start + np.arange(parameter.value.size)
        )
    model.grad[...] = 100
    layer = model.body.layers[0]
    layer.forward(xp.ones((3, 1), dtype=np.float32))
    layer.backward(xp.asarray([[1], [2]], dtype=np.float32))  # dW = dy x.T, db = dy
    expected = [1, 1, 1, 2, 2, 2, 1, 2] + [100] * 13
    np.testing.assert_array_equal(to_host(model.grad), expected)


def test_layers_compute_with_theta(xp):
    model = Scaled().to(xp)
    x = xp.asarray(np.random.default_rng(1).standard_normal((3, 5)), dtype=np.float32)
    assert float(xp.abs(model.body.forward(x)).max()) > 0
    model.theta[...] = 0
    assert float(xp.abs(model.body.forward(x)).max()) == 0


def test_state_dict_is_a_copy_on_the_host(xp):
    model = Scaled().to(xp)
    state = model.state_dict()
    assert list(state) == list(SHAPES) and {type(a) for a in state.values()} == {np.ndarray}
    model.theta += 1
    assert not any(np.array_equal(state[name], a) for name, a in model.state_dict().items())


def test_a_state_written_into_another_model(xp):
    source, target = Scaled(seed=1).to(xp), Scaled(seed=2).to(xp)
    theta = target.theta
    target.load_state_dict(source.state_dict())
    assert same_state(target.state_dict(), source.state_dict())
    assert target.theta is theta  # written into, not bound anew
    np.testing.assert_array_equal(to_host(theta), to_host(source.theta))


@pytest.mark.parametrize(
    "spoil, sentence",
    [
        (lambda s: s.pop("scale"), r"missing \['scale'\], unexpected \[\]"),
        (lambda s: s.update(shift=np.zeros(1)), r"missing \[\], unexpected \['shift'\]"),
        (
            lambda s: s.update({"body.2.bias": np.zeros((4, 1))}),
            r"body\.2\.bias must have shape \(4,\), got \(4, 1\)",
        ),
        (lambda s: s.update(scale=np.zeros(())), r"scale must have shape \(1,\), got \(\)"),
        (lambda s: s.update(scale=np.array(["a"])), "could not convert"),
    ],
    ids=["missing", "unexpected", "shape", "would-broadcast", "no-numbers"],
)
def test_a_wrong_state_is_refused_and_nothing_written(xp, spoil, sentence):
    model = Scaled(seed=1).to(xp)
    before = model.state_dict()
    state = {name: array + 1 for name, array in before.items()}
    spoil(state)
    with pytest.raises(ValueError, match=sentence):
        model.load_state_dict(state)
    assert same_state(model.state_dict(), before)


def test_a_replica_shares_theta_but_not_the_gradient(xp):
    model = Scaled().to(xp)
    replica = model.replica()
    assert type(replica) is Scaled and replica.theta is model.theta
    model.scale.value[...] = 11
    assert float(replica.scale.value[0]) == 11
    replica.body.layers[2].bias.value[...] = 5
    assert same_state(model.state_dict(), replica.state_dict())
    replica.grad[...] = 1
    assert float(model.grad.sum()) == 0 and float(replica.scale.grad[0]) == 1
    replica.body.forward(xp.ones((3, 1), dtype=np.float32))
    with pytest.raises(RuntimeError, match="call forward first"):  # it remembers its own inputs
        model.body.backward(xp.ones((4, 1), dtype=np.float32))
