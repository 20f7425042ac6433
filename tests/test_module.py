import copy
import pickle

import numpy as np
import pytest

from tinyvae import SGD, Adam, Flatten, Linear, Sequential, Tanh, to_host
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
        (lambda s: s.update(scale=np.array(["a"])), "scale must be an array of real numbers"),
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


# A parameter that is not in theta would never train, so that is made impossible or refused.


def linear(seed=0, size=3):
    return Linear(size, size, rng=np.random.default_rng(seed))


class Holder(Module):
    """A module with one attribute, of whatever is given."""

    def __init__(self, part):
        self.part = part


def in_theta(model):
    """Whether every parameter is a view into the model's theta and grad, and fills them."""
    parameters = [parameter for _, parameter in model.named_parameters()]
    assert all(p.theta is model.theta for p in parameters)
    model.theta += 1
    model.grad += 2
    values = np.concatenate([to_host(p.value).ravel() for p in parameters])
    grads = np.concatenate([to_host(p.grad).ravel() for p in parameters])
    same = np.array_equal(values, to_host(model.theta)) and np.array_equal(
        grads, to_host(model.grad)
    )
    model.theta -= 1
    model.grad -= 2
    return same


@pytest.mark.parametrize("attribute", ["value", "grad"])
def test_an_assignment_writes_into_the_view(xp, attribute):
    model = Scaled().to(xp)
    vector = {"value": model.theta, "grad": model.grad}[attribute]
    new = np.arange(6.0).reshape(2, 3)
    setattr(model.body.layers[0].weight, attribute, new)
    np.testing.assert_array_equal(to_host(vector)[:6], np.arange(6))
    assert in_theta(model) and vector.dtype == np.float32
    for wrong in (np.ones((3, 2)), np.ones(3), 1.0, np.ones((1, 3))):
        with pytest.raises(ValueError, match=rf"Parameter.{attribute}: .* shape \(2, 3\), got \("):
            setattr(model.body.layers[0].weight, attribute, wrong)
    np.testing.assert_array_equal(to_host(vector)[:6], np.arange(6))


def test_theta_is_written_in_place_too(xp):
    model = Scaled().to(xp)
    theta = model.theta
    model.theta = model.theta * 0 + 3
    assert model.theta is theta and float(model.scale.value[0]) == 3 and in_theta(model)
    with pytest.raises(ValueError, match=r"Scaled.theta: expected an array of shape \(21,\), got"):
        model.theta = xp.zeros(20)


def test_an_array_that_becomes_a_parameter_is_copied():
    given = np.ones((2, 3), order="F")
    parameter = Parameter(given)
    parameter.value[...] = 5
    assert (given == 1).all() and parameter.value.flags.c_contiguous


@pytest.mark.parametrize(
    "part, names",
    [
        (lambda: [linear(), Tanh(), linear(1)], ["part.0", "part.2"]),
        (lambda: (linear(), [linear(1)]), ["part.0", "part.1.0"]),
        (lambda: {"first": linear(), "second": linear(1)}, ["part.first", "part.second"]),
        (lambda: Sequential(linear(), Tanh(), linear(1)), ["part.0", "part.2"]),
    ],
    ids=["list", "tuple", "dict", "Sequential"],
)
def test_layers_in_containers_are_found(xp, part, names):
    model = Holder(part()).to(xp)
    expected = [f"{name}.{array}" for name in names for array in ("weight", "bias")]
    assert [name for name, _ in model.named_parameters()] == expected
    assert in_theta(model) and set(names) <= {name for name, _ in model.named_modules()}
    assert len(model.theta) == 2 * (9 + 3)


def test_a_sequential_with_a_parameter_of_its_own():
    network = Sequential(linear())
    network.scale = Parameter(np.ones(2))
    assert [name for name, _ in network.named_parameters()] == ["0.weight", "0.bias", "scale"]


def tied():
    model = Sequential(linear(), Tanh(), linear(1))
    model.layers[2].weight = model.layers[0].weight
    return model


def used_twice(layer):
    return Sequential(layer, Flatten(), layer)


@pytest.mark.parametrize(
    "model, sentence",
    [
        (tied, r"Sequential: 0\.weight and 2\.weight are the same Parameter, .* use two objects"),
        (lambda: used_twice(linear()), "Sequential: 0 and 2 are the same Linear, "),
        (lambda: used_twice(Tanh()), "Sequential: 0 and 2 are the same Tanh, "),
    ],
    ids=["tied", "Linear", "Tanh"],
)
def test_what_is_used_twice_is_refused(model, sentence):
    with pytest.raises(ValueError, match=sentence):
        model().to()


def test_a_part_of_a_model_is_refused():
    model = Scaled().to()
    for gather in (
        lambda: model.body.to(),
        lambda: Adam(model.body),
        lambda: Adam(model.body.layers[0]),
        lambda: Holder(model.body).to(),  # a second model with the parts of the first
        lambda: copy.copy(model),
    ):
        with pytest.raises(ValueError, match=r"the parameter .* belongs to another model, .*`to`"):
            gather()
    assert in_theta(model) and in_theta(model.to())  # again, of the whole model, is fine
    part = copy.deepcopy(model.body)
    assert in_theta(Holder(part).to()) and in_theta(model)


def test_a_model_may_take_over_a_module_that_was_gathered_by_itself():
    layer = linear()
    optimizer = Adam(layer)
    model = Holder(Sequential(layer)).to()
    assert in_theta(model) and not layer.gathered
    with pytest.raises(ValueError, match="belongs to another model"):
        Adam(layer)
    with pytest.raises(ValueError, match="Linear: the parameter weight is not in the vector"):
        optimizer.step()


def replaced_layer(model):
    model.body = Sequential(linear())


def replaced_weight(model):
    model.body.layers[0].weight = Parameter(np.ones((2, 3), dtype=np.float32))


def more_layers(model):
    model.body.layers += (linear(),)


@pytest.mark.parametrize("optimizer", [Adam, lambda model: SGD(model, 0.1)], ids=["Adam", "SGD"])
def test_a_step_refuses_a_parameter_that_was_put_in_twice(xp, optimizer):
    """Both lie in theta, so the one backward would overwrite what the other has written."""
    model = Sequential(linear(), Tanh(), linear(1), Tanh(), linear(2)).to(xp)
    made = optimizer(model)
    made.step()
    model.layers[4].weight = model.layers[0].weight
    for refused in (made.step, model.replica, model.to, lambda: optimizer(model).step()):
        with pytest.raises(ValueError, match="0.weight and 4.weight are the same Parameter"):
            refused()


@pytest.mark.parametrize(
    "change, name",
    [
        (replaced_layer, "body.0"),
        (replaced_weight, "body.0.weight"),
        (more_layers, "body.3"),
    ],
)
@pytest.mark.parametrize("optimizer", [Adam, lambda model: SGD(model, 0.1)], ids=["Adam", "SGD"])
def test_a_step_refuses_what_was_put_in_later(xp, optimizer, change, name):
    model = Scaled().to(xp)
    made = optimizer(model)
    made.step()
    change(model)
    for refused in (made.step, model.replica, lambda: optimizer(model).step()):
        with pytest.raises(ValueError, match=rf"parameter {name}.* call `to` .* new op"):
            refused()
    made = optimizer(model.to(xp))
    model.grad += 1
    before = model.state_dict()
    made.step()
    for name, value in model.state_dict().items():
        assert (value != before[name]).all(), name


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "replica": lambda model: model.replica(),
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("trained", [False, True], ids=["new", "trained"])
def test_a_copy_has_all_its_parameters_in_its_theta(xp, copied, trained):
    model = Scaled().to(xp)
    if trained:
        model.grad[...] = xp.arange(len(model.grad))
        Adam(model, lr=0.1).step()
    other = copied(model)
    assert same_state(other.state_dict(), model.state_dict())
    np.testing.assert_array_equal(to_host(other.grad), to_host(model.grad))
    assert in_theta(other) and in_theta(model) and other.theta.dtype == np.float32
    before = model.state_dict()
    other.grad[...] = 1
    Adam(other, lr=0.1).step()
    assert (to_host(model.grad) != 1).any()
    shared = copied is COPIES["replica"]
    assert (other.theta is model.theta) == same_state(model.state_dict(), other.state_dict())
    assert same_state(model.state_dict(), before) != shared


@pytest.mark.parametrize("copied", list(COPIES.values())[:2], ids=list(COPIES)[:2])
def test_a_copy_of_what_is_not_gathered(copied):
    layer = linear()
    other = copied(layer)
    assert not other.gathered and same_state(layer.state_dict(), other.state_dict())
    assert in_theta(other.to()) and not layer.gathered


@pytest.mark.parametrize("convert", ["double", "bfloat16", "int", "requires_grad_"])
def test_a_state_dict_may_hold_any_pytorch_tensor(convert):
    torch = pytest.importorskip("torch")
    layer = Linear(3, 2, rng=np.random.default_rng(0))
    tensors = {name: torch.ones(p.value.shape) for name, p in layer.named_parameters()}
    layer.load_state_dict({name: getattr(tensor, convert)() for name, tensor in tensors.items()})
    assert (layer.weight.value == 1).all() and layer.weight.value.dtype == np.float32


@pytest.mark.parametrize(
    "wrong", [np.ones((2, 3), complex), np.full((2, 3), "a"), [[None] * 3] * 2]
)
def test_a_state_dict_holds_real_numbers(wrong):
    layer = Linear(3, 2, rng=np.random.default_rng(0))
    before = layer.weight.value.copy()
    with pytest.raises(ValueError, match="weight must be an array of real numbers"):
        layer.load_state_dict({"weight": wrong, "bias": np.zeros(2)})
    np.testing.assert_array_equal(layer.weight.value, before)


@pytest.mark.parametrize("state", [None, [("scale", np.zeros(1))], 3], ids=["None", "list", "3"])
def test_a_state_dict_is_a_dict(state):
    with pytest.raises(ValueError, match=r"state_dict must be a dict \{name: array\}, got "):
        Scaled().to().load_state_dict(state)


@pytest.mark.parametrize("dtype", [np.int64, bool, complex])
def test_theta_holds_floats(dtype):
    model = Scaled().to()
    before = model.theta.copy()
    with pytest.raises(ValueError, match="Scaled.to: expected a dtype of floats, got "):
        model.to(np, dtype)
    np.testing.assert_array_equal(model.theta, before)


def test_to_another_device_keeps_the_dtype(xp):
    model = Scaled().to()
    assert model.theta.dtype == np.float32
    assert model.to(xp, np.float64).to(np).theta.dtype == np.float64
