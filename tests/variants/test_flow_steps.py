"""The steps of normalizing flows: Jacobians, gradients, inverses, and what each step depends on."""

import copy

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tinyvae import MaskedLinear, to_host
from tinyvae.engine.differences import check_flow, numerical_gradient, relative_error
from tinyvae.engine.flows import STEPS, Coupling, Flow, InverseAutoregressive
from tinyvae.engine.planar import Planar

each_step = pytest.mark.parametrize("kind", STEPS)
with_inverse = pytest.mark.parametrize("kind", ["coupling", "iaf"])
sizes = given(
    latent_dim=st.integers(1, 6),
    features=st.integers(1, 4),
    n=st.integers(1, 3),
    seed=st.integers(0, 2**16),
)


def moved(flow, seed=0, scale=0.5, xp=np):
    """The flow in float64 with noise added to all parameters: a new flow changes nothing."""
    rng = np.random.default_rng(seed)
    flow.to(np, np.float64)
    flow.theta += scale * rng.standard_normal(flow.theta.shape)
    return flow.to(xp, np.float64)


def make(kind, latent_dim, features, seed=0, number=None):
    rng = np.random.default_rng(seed)
    if number is None:
        return moved(STEPS[kind](latent_dim, features, rng=rng), seed)
    return moved(Flow(kind, number, latent_dim, features, rng=rng), seed)


def codes(latent_dim, features, *shape, seed=0):
    rng = np.random.default_rng(seed + 1)
    return rng.standard_normal((latent_dim, *shape)), rng.standard_normal((features, shape[-1]))


@pytest.fixture
def narrow(monkeypatch):
    """Networks of few hidden units, so that finite differences of every weight are quick."""
    monkeypatch.setattr("tinyvae.engine.flows.WIDTH", 5)


@each_step
@settings(max_examples=20)
@sizes
def test_log_det_and_gradients_of_a_step(narrow, kind, latent_dim, features, n, seed):
    """log |det| of the Jacobian, and every gradient, by finite differences of random sums."""
    z, h = codes(latent_dim, features, n, seed=seed)
    step = make(kind, latent_dim, features, seed)
    errors = check_flow(step, z, h, np.random.default_rng(seed))
    assert max(errors.values()) < 1e-6, errors


@each_step
@pytest.mark.parametrize("number", [0, 1, 4])
def test_log_det_and_gradients_of_a_flow(narrow, kind, number):
    """Codes (L, S, N) with one context for the S samples of an example."""
    z, h = codes(5, 3, 2, 4)
    flow = make(kind, 5, 3, number=number)
    if not number:
        after, log_det = flow.forward(z, h)
        dz, dh = flow.backward(2 * z, log_det)
        assert (after == z).all() and (log_det == 0).all() and log_det.shape == (2, 4)
        assert (dz == 2 * z).all() and dh == 0
        return
    errors = check_flow(flow, z, h, np.random.default_rng(0))
    assert max(errors.values()) < 1e-6, errors


@each_step
@pytest.mark.parametrize("latent_dim", [1, 2, 5])
def test_a_new_flow_changes_nothing(xp, kind, latent_dim):
    """Bit for bit, in single precision too, and so does a flow whose parameters are all zero."""
    flow = Flow(kind, 3, latent_dim, 4, rng=np.random.default_rng(0))
    z, h = (xp.asarray(a, dtype=np.float32) for a in codes(latent_dim, 4, 2, 3))
    for zero in (False, True):
        flow.to(xp)
        flow.theta *= not zero
        after, log_det = flow.forward(z, h)
        np.testing.assert_array_equal(to_host(after), to_host(z))
        assert not to_host(log_det).any()
        dz, dh = flow.backward(z, xp.zeros_like(log_det))
        np.testing.assert_array_equal(to_host(dz), to_host(z))
        assert not to_host(dh).any()


@each_step
def test_a_new_step_learns(kind):
    """The gradient is not zero, and after a small step against it no parameter's is."""
    flow = Flow(kind, 2, 3, 4, rng=np.random.default_rng(0)).to(np, np.float64)
    z, h = codes(3, 4, 2, 50)
    for first in (True, False):
        _, log_det = flow.forward(z, h)
        flow.backward(np.ones_like(z), np.ones_like(log_det))
        gradients = [parameter.grad for _, parameter in flow.named_parameters()]
        assert any(g.any() for g in gradients) if first else all(g.any() for g in gradients)
        flow.theta -= 1e-3 * flow.grad
    after, log_det = flow.forward(z, h)
    assert (after != z).any() and (log_det != 0).any()


@with_inverse
@sizes
def test_the_inverse_undoes_forward(kind, latent_dim, features, n, seed):
    z, h = codes(latent_dim, features, 2, n, seed=seed)
    flow = make(kind, latent_dim, features, seed, number=3)
    np.testing.assert_allclose(flow.inverse(flow.forward(z, h)[0], h), z, atol=1e-8)
    np.testing.assert_allclose(flow.forward(flow.inverse(z, h), h)[0], z, atol=1e-8)


def test_planar_has_no_inverse_in_closed_form():
    flow = Flow("planar", 2, 3, 4, rng=np.random.default_rng(0))
    assert not Planar.has_inverse
    with pytest.raises(ValueError, match="Planar: this step has no inverse in closed form"):
        flow.inverse(np.zeros((3, 1, 2)), np.zeros((4, 2)))


def test_planar_is_the_formula_of_the_paper():
    """Eq. 10 and 12 of Rezende and Mohamed 2015, one code after the other."""
    step, (z, h) = make("planar", 3, 2), codes(3, 2, 7)
    after, log_det = step.forward(z, h)
    for n in range(7):
        y = step.parameters.weight.value @ h[:, n] + step.parameters.bias.value
        u, w, b = y[:3], y[3:6], y[6]
        a = w @ u
        elu = a if a > 0 else np.exp(a) - 1
        v = u + (elu - a) * w / (w @ w)
        assert w @ v == pytest.approx(elu)
        at = np.tanh(w @ z[:, n] + b)
        np.testing.assert_allclose(after[:, n], z[:, n] + v * at)
        psi = (1 - at**2) * w
        assert log_det[n] == pytest.approx(np.log(abs(1 + v @ psi)))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@given(seed=st.integers(0, 2**16), scale=st.floats(0.1, 30))
def test_planar_stays_invertible(dtype, seed, scale):
    """w'v > -1 for random parameters: along w the map never turns back, up to rounding errors.

    Half of the codes are near t = 0, where log_det is lowest and its rounding errors are largest.
    Below w'u = -80 the determinant at t = 0 is not a float32: it is below 1e-35.
    """
    step, (_, h) = make("planar", 3, 2, seed), codes(3, 2, 1, seed=seed)
    step.theta *= scale
    y = step.parameters.forward(h)[:, 0]
    u, w, b = y[:3], y[3:6], y[6]
    assume(u @ w > -80)
    along = np.linspace(-20, 20, 1000)
    along = np.sort(np.append(along, (1e-4 * along - b) / np.linalg.norm(w)))
    line = along * (w / np.linalg.norm(w))[:, None]  # (3, 2000)
    step.to(np, np.dtype(dtype))
    after, log_det = step.forward(line.astype(dtype), np.repeat(h, 2000, axis=1).astype(dtype))
    slack = 100 * np.finfo(dtype).eps * (np.abs(w) @ np.abs(after)).max()  # rounding errors
    assert (np.diff(w @ after) >= -slack).all() and np.isfinite(log_det).all()
    gradients = step.backward(np.ones_like(after), np.ones_like(log_det))
    assert all(np.isfinite(g).all() for g in gradients) and np.isfinite(step.grad).all()


def test_planar_learns_from_u_zero_unless_w_and_b_are_zero_too():
    """Which parts of the layer that gives u, w, b have a gradient, in a step that does nothing."""
    z, h = codes(3, 2, 7)
    rng = np.random.default_rng(0)
    for parts, learns in (("wb", True), ("w", True), ("b", True), ("", False)):
        step = make("planar", 3, 2)
        parameters = step.parameters
        rows = {"w": slice(3, 6), "b": slice(6, 7)}
        for part in (slice(0, 3), *(rows[name] for name in "wb" if name not in parts)):
            parameters.weight.value[part], parameters.bias.value[part] = 0, 0
        after, log_det = step.forward(z, h)
        assert (after == z).all() and not log_det.any()
        step.backward(rng.standard_normal(z.shape), rng.standard_normal(7))
        assert step.grad.any() == learns


def test_planar_has_the_same_log_det_in_single_precision():
    """Where w'v is rounded to -1: w'u from -30 to 5, t from 0.001 to 0.5, against float64."""
    step = make("planar", 1, 1)
    step.parameters.weight.value[...] = [[1], [0], [0]]  # u = h
    step.parameters.bias.value[...] = [0, 1, 0]  # w = 1, b = 0
    h, z = (a.reshape(1, -1) for a in np.meshgrid(np.linspace(-30, 5, 71), [0.001, 0.02, 0.5]))
    outputs = []
    for dtype in (np.float64, np.float32):
        step.to(np, dtype)
        after, log_det = step.forward(z.astype(dtype), h.astype(dtype))
        dz, dh = step.backward(np.ones_like(after), np.ones_like(log_det))
        outputs.append([log_det, dz, dh])
    for expected, got in zip(*outputs, strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def jacobian(step, z, h):
    """(L, L) for a single code, z (L, 1) or (L, 1, 1)."""
    rows = [numerical_gradient(lambda d=d: step.forward(z, h)[0].flat[d], z) for d in range(len(z))]
    return np.reshape(rows, (len(z), len(z)))


def test_a_coupling_changes_the_last_dimensions_as_the_first_say():
    """Eq. 7 and 8 of Dinh et al. 2017, by their loop; with five dimensions, the first two stay."""
    step, (z, h) = make("coupling", 5, 2), codes(5, 2, 3)
    after, log_det = step.forward(z, h)
    np.testing.assert_array_equal(after[:2], z[:2])
    net = step.network
    for n in range(3):
        hidden = net.from_z.weight.value @ z[:2, n] + net.from_z.bias.value
        hidden += net.from_h.weight.value @ h[:, n] + net.from_h.bias.value
        out = net.out.weight.value @ np.tanh(hidden) + net.out.bias.value
        s = np.tanh(out[3:])
        np.testing.assert_allclose(after[2:, n], z[2:, n] * np.exp(s) + out[:3])
        assert log_det[n] == pytest.approx(s.sum())
    one = codes(5, 2, 1)
    expected = np.ones((5, 5), bool)
    expected[:2], expected[2:, 2:] = np.eye(5, dtype=bool)[:2], np.eye(3, dtype=bool)
    np.testing.assert_array_equal(np.abs(jacobian(step, *one)) > 1e-9, expected)


def test_an_autoregressive_step_uses_the_dimensions_before():
    """The Jacobian is a lower triangular matrix, with nothing missing below its diagonal."""
    step, (z, h) = make("iaf", 5, 2), codes(5, 2, 1)
    found = np.abs(jacobian(step, z, h)) > 1e-9
    np.testing.assert_array_equal(found, np.tril(np.ones((5, 5), bool)))
    s = np.log(np.diag(jacobian(step, z, h)))
    assert step.forward(z, h)[1][0] == pytest.approx(s.sum()) and (np.abs(s) < 1).all()


@pytest.mark.parametrize("kind", STEPS)
def test_every_dimension_sees_h(kind):
    """Also the first one of an autoregressive step, which sees no other dimension."""
    step, (z, h) = make(kind, 4, 2), codes(4, 2, 1)
    moved_by_h = step.forward(z, h + 0.1)[0] - step.forward(z, h)[0]
    assert (moved_by_h != 0)[step.kept if kind == "coupling" else 0 :].all()


@with_inverse
def test_two_steps_change_every_dimension(kind):
    """The second sees the dimensions in reverse order: they depend on each other both ways."""
    flow = make(kind, 4, 2, number=2)
    found = np.abs(jacobian(flow, *codes(4, 2, 1, 1))) > 1e-9
    off_diagonal = found & ~np.eye(4, dtype=bool)
    assert off_diagonal.any(axis=0).all() and off_diagonal.any(axis=1).all()


def test_the_widest_networks_leave_no_dimension_out():
    step = make("iaf", 70, 1)
    assert step.network.from_z.out_features == 140
    z, h = codes(70, 1, 1)
    base, _ = step.forward(z, h)
    z[68] += 1
    assert (step.forward(z, h)[0] != base)[69, 0]


@pytest.mark.parametrize("strict", [True, False])
def test_a_masked_layer_is_a_linear_layer_with_zeros(xp, strict):
    rng = np.random.default_rng(0)
    layer = MaskedLinear(4, 7, 3, strict=strict, rng=rng).to(xp, np.float64)
    x, dy = (xp.asarray(rng.standard_normal(shape)) for shape in ((4, 5), (7, 5)))
    w = to_host(layer.weight.value).copy()
    for i in range(7):
        for j in range(4):
            if not (j % 3 < i % 3 or (j % 3 == i % 3 and not strict)):
                w[i, j] = 0
    y, dx = to_host(layer.forward(x)), to_host(layer.backward(dy))
    np.testing.assert_allclose(y, w @ to_host(x) + to_host(layer.bias.value)[:, None])
    np.testing.assert_allclose(dx, w.T @ to_host(dy))
    full = to_host(dy) @ to_host(x).T
    np.testing.assert_allclose(to_host(layer.weight.grad), np.where(w, full, 0))


@each_step
def test_a_step_on_a_device_is_the_step_on_the_host(xp, kind):
    found = []
    for module in (np, xp):
        flow = moved(Flow(kind, 3, 5, 3, rng=np.random.default_rng(0)), xp=module)
        z, h = (module.asarray(a) for a in codes(5, 3, 2, 4))
        found.append([*flow.forward(z, h), *flow.backward(z, z[0]), flow.grad])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(to_host(b), a, rtol=1e-10, atol=1e-12)


def test_backward_leaves_its_gradients_alone():
    for kind in STEPS:
        step, (z, h) = make(kind, 4, 2), codes(4, 2, 3)
        dy, dlog_det = np.ones_like(z), np.ones(3)
        step.forward(z, h)
        step.backward(dy, dlog_det)
        assert (dy == 1).all() and (dlog_det == 1).all()


@each_step
def test_wrong_calls_are_told_in_a_sentence(kind):
    step, (z, h) = make(kind, 4, 2), codes(4, 2, 3)
    name = type(step).__name__
    with pytest.raises(RuntimeError) as error:
        step.backward(z, z[0])
    assert str(error.value) == f"{name}.backward: call forward first, once for every backward"
    for wrong in ((z[:3], h), (z, h[:, :2]), (z[:, 0], h)):
        with pytest.raises(ValueError) as error:
            step.forward(*wrong)
        assert str(error.value) == (
            f"{name}: expected z (4, M) and h (features, M), got {wrong[0].shape} and "
            f"{wrong[1].shape}"
        )
    if step.has_inverse:  # the inverse uses the network, so what forward kept is gone
        step.forward(z, h)
        step.inverse(z, h)
        with pytest.raises(RuntimeError, match="call forward first"):
            step.backward(z, z[0])


def test_a_copy_is_a_flow_of_its_own():
    flow, (z, h) = make("iaf", 3, 2, number=2), codes(3, 2, 1, 4)
    other = copy.deepcopy(flow)
    other.theta *= 2
    assert relative_error(flow.forward(z, h)[0], other.forward(z, h)[0]) > 0.01
    assert {type(step) for step in other.steps} == {InverseAutoregressive} != {Coupling}


@pytest.mark.parametrize(
    "kind, latent_dim, said",
    [("x", 2, "kind must be one of planar, "), ("planar", 0, "latent_dim must")],
)
def test_a_flow_of_another_kind_or_size_is_refused(kind, latent_dim, said):
    with pytest.raises(ValueError, match=said):
        Flow(kind, 1, latent_dim, 3, rng=np.random.default_rng(0))
