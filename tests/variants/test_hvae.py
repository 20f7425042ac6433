"""The hierarchical VAE against loops, finite differences, and linear models in closed form."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyvae import HVAE, VAE, Gaussian, make_model, to_host
from tinyvae.engine.differences import check_direction, numerical_gradient, relative_error
from tinyvae.engine.gaussian import precision_weighted, precision_weighted_backward
from tinyvae.models.networks import MLPNetworks

D, SIZES, L = 5, (4, 3, 2), 9
each_inference = pytest.mark.parametrize("inference", ["bottom-up", "ladder"])


def tiny(inference, sizes=SIZES, likelihood="bernoulli", xp=np, dtype=np.float64, seed=0):
    options = {"upper": sizes[1:], "inference": inference, "hidden": (7,), "shape": (D,)}
    model = make_model("hvae", "mlp", sizes[0], likelihood, **options)
    model.theta = 0.3 * np.random.default_rng(seed).standard_normal(model.theta.shape)
    return model.to(xp, dtype)


def batch(n=3, samples=2, latent_dim=L, seed=1):
    rng = np.random.default_rng(seed)
    return rng.random((n, D)), rng.standard_normal((samples, n, latent_dim))


# The formulas


def test_the_product_of_two_gaussians_is_a_gaussian(xp):
    rng = np.random.default_rng(0)
    mu_a, logvar_a, mu_b, logvar_b = xp.asarray(rng.standard_normal((4, 3, 5)))
    mu, logvar = map(to_host, precision_weighted(mu_a, logvar_a, mu_b, logvar_b))
    points = np.linspace(-3, 3, 7)[:, None, None]

    def log_density(mu, logvar):
        return scipy.stats.norm(to_host(mu), np.exp(to_host(logvar) / 2)).logpdf(points)

    ratio = log_density(mu_a, logvar_a) + log_density(mu_b, logvar_b) - log_density(mu, logvar)
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:1], ratio.shape), rtol=1e-10)


@pytest.mark.parametrize("low", [-200.0, -90.0, 0.0])
def test_the_product_takes_any_variance(low):
    one = [np.full(1, value, np.float32) for value in (3.0, low, -1.0, low + 180)]
    for mu_a, logvar_a, mu_b, logvar_b in (one, one[2:] + one[:2]):
        mu, logvar = precision_weighted(mu_a, logvar_a, mu_b, logvar_b)
        assert mu == 3 and logvar == low  # the narrow Gaussian alone
        ones = np.ones(1, np.float32)
        gradient = precision_weighted_backward(ones, ones, mu_a, logvar_a, mu_b, logvar_b)
        assert sorted(float(one[0]) for one in gradient) == pytest.approx([0, 0, 1, 1], abs=1e-30)


@given(shape=st.permutations((1, 2, 3, 5)), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_gradient_of_the_product(shape, seed):
    arrays = list(np.random.default_rng(seed).standard_normal((6, *shape[:3])))
    dmu, dlogvar, *inputs = arrays

    def f():
        mu, logvar = precision_weighted(*inputs)
        return (dmu * mu).sum() + (dlogvar * logvar).sum()

    for x, dx in zip(inputs, precision_weighted_backward(*arrays), strict=True):
        assert relative_error(numerical_gradient(f, x), dx) < 1e-7


# The model


def loop(model, x, eps, inference):
    """Of one x and one noise: -log p(x|z_1), the parts of the KL, the log-weight, and the code."""
    state = {name: to_host(value) for name, value in model.state_dict().items()}

    def linear(name, v):
        return state[f"{name}.weight"] @ v + state[f"{name}.bias"]

    def heads(name, h):
        return linear(f"{name}.mu", h), np.exp(linear(f"{name}.logvar", h) / 2)

    def relu(v):
        return np.maximum(v, 0)

    def prior(i, z):
        if i == len(SIZES) - 1:
            return np.zeros(SIZES[i]), np.ones(SIZES[i])
        return heads(f"priors.{i}", relu(linear(f"priors.{i}.trunk.0", z[i + 1])))

    e, z, q = np.split(eps, np.cumsum(SIZES)[:-1]), {}, {}
    features = relu(linear("encoder.layers.0.trunk.1", x))
    if inference == "bottom-up":
        for i in range(len(SIZES)):
            name = f"encoder.layers.{i}"
            h = relu(linear(f"{name}.trunk.0", z[i - 1])) if i else features
            q[i] = heads(name, h)
            z[i] = q[i][0] + q[i][1] * e[i]
    else:
        own = [heads("encoder.layers.0", features)]
        for i in range(1, len(SIZES)):
            features = relu(linear(f"encoder.layers.{i}.trunk.0", features))
            own.append(heads(f"encoder.layers.{i}", features))
        for i in reversed(range(len(SIZES))):
            q[i] = own[i]
            if i + 1 < len(SIZES):
                (mu, std), (mu_p, std_p) = own[i], prior(i, z)
                variance = 1 / (1 / std**2 + 1 / std_p**2)
                q[i] = variance * (mu / std**2 + mu_p / std_p**2), np.sqrt(variance)
            z[i] = q[i][0] + q[i][1] * e[i]
    logits = linear("decoder.2", relu(linear("decoder.0", z[0])))
    s = 1 / (1 + np.exp(-logits))
    log_px = (x * np.log(s) + (1 - x) * np.log(1 - s)).sum()
    ratios, closed = [], []
    for i in range(len(SIZES)):
        (mu, std), (mu_p, std_p) = q[i], prior(i, z)
        log_q, log_p = scipy.stats.norm(mu, std), scipy.stats.norm(mu_p, std_p)
        ratios.append(log_q.logpdf(z[i]) - log_p.logpdf(z[i]))
        ratio = (std / std_p) ** 2
        closed.append(((mu - mu_p) ** 2 / std_p**2 + ratio - 1 - np.log(ratio)) / 2)
    exact = [False, False, True] if inference == "bottom-up" else [True] * 3
    kl = [c if it else r for it, c, r in zip(exact, closed, ratios, strict=True)]
    code = np.concatenate([z[i] for i in range(len(SIZES))])
    return -log_px, np.concatenate(kl), log_px - np.concatenate(ratios).sum(), code


@each_inference
def test_terms_and_log_weights_against_a_loop(xp, inference):
    model, (x, eps) = tiny(inference, xp=xp), batch()
    found = [[loop(model, *one, inference) for one in zip(x, e, strict=True)] for e in eps]
    terms = model.terms(xp.asarray(x), xp.asarray(eps))
    reconstruction = np.mean([[one[0] for one in row] for row in found])
    assert float(terms["reconstruction"]) == pytest.approx(reconstruction, rel=1e-12)
    kl = np.mean([[one[1] for one in row] for row in found], axis=(0, 1))
    np.testing.assert_allclose(to_host(terms["kl"]), kl, rtol=1e-10)
    log_w = to_host(model.log_weights(xp.asarray(x), xp.asarray(eps)))
    np.testing.assert_allclose(log_w, [[one[2] for one in row] for row in found], rtol=1e-11)


@each_inference
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_the_gradient_of_every_parameter(inference, likelihood):
    """With a random weight of each term and of each dimension's part of the KL."""
    model, (x, eps) = tiny(inference, likelihood=likelihood), batch()
    rng = np.random.default_rng(2)
    dterms = {"reconstruction": 0.7, "kl": rng.standard_normal(sum(SIZES))}

    def f():
        terms = model.terms(x, eps)
        return dterms["reconstruction"] * terms["reconstruction"] + dterms["kl"] @ terms["kl"]

    f()
    model.terms_backward(dterms)
    numerical = numerical_gradient(f, model.theta)
    for (name, parameter), (start, stop) in zip(
        model.named_parameters(), spans(model), strict=True
    ):
        error = relative_error(numerical[start:stop], parameter.grad.ravel())
        assert error < 1e-6, name


def spans(model):
    stops = np.cumsum([parameter.value.size for _, parameter in model.named_parameters()])
    return zip([0, *stops[:-1]], stops, strict=True)


@each_inference
@given(
    sizes=st.lists(st.integers(1, 4), min_size=2, max_size=4),
    n=st.integers(1, 3),
    samples=st.integers(1, 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=10, deadline=None)
def test_the_gradient_for_any_number_of_layers(inference, sizes, n, samples, seed):
    model = tiny(inference, tuple(sizes), "gaussian", seed=seed)
    x, eps = batch(n, samples, sum(sizes), seed)

    def f():
        return model.loss(x, eps, beta=1.7).total

    f()
    model.backward()
    assert check_direction(f, model.theta, model.grad, np.random.default_rng(seed)) < 1e-6


@each_inference
def test_one_layer_is_the_vae(inference):
    def networks():
        return MLPNetworks((D,), (7,), np.random.default_rng(0))

    one = HVAE.build(networks(), 3, Gaussian(), (), inference)
    vae = VAE.build(networks(), 3, Gaussian())
    x, eps = batch(latent_dim=3)
    one.theta, found = vae.theta, []
    for model in (one, vae):
        loss = model.to(np, np.float64).loss(x, eps, beta=2.0)
        model.backward()
        found.append([loss.total, *loss.kl, *model.grad, *model.log_weights(x, eps).ravel()])
    np.testing.assert_allclose(*found, rtol=1e-13)


@each_inference
def test_codes_are_means_and_x_depends_on_the_first_layer_alone(xp, inference):
    model, (x, _) = tiny(inference, xp=xp), batch()
    code = model.embed(xp.asarray(x))
    assert code.shape == (3, 9) and model.latent_dim == model.noise_dim == 9
    assert model.latent_layers == SIZES and not model.standard_codes
    means = [loop(model, one, np.zeros(9), inference)[3] for one in x]
    np.testing.assert_allclose(to_host(code), means, rtol=1e-11)
    other = code.copy()
    other[:, 4:] = 7.0
    np.testing.assert_array_equal(to_host(model.decode(code)), to_host(model.decode(other)))
    other[:, :4] = 7.0
    assert (to_host(model.decode(code)) != to_host(model.decode(other))).all()


def test_codes_come_from_the_top(xp):
    model, rng = tiny("bottom-up", xp=xp), np.random.default_rng(0)
    noise = rng.standard_normal((4, 9)).astype(np.float32)
    codes = to_host(model.codes_from(noise))
    np.testing.assert_array_equal(codes[:, 7:], noise[:, 7:])  # z_T is its noise
    lower = noise.copy()
    lower[:, :4] += 1
    again = to_host(model.codes_from(lower))
    np.testing.assert_array_equal(again[:, 4:], codes[:, 4:])  # the layers above stay
    upper = noise.copy()
    upper[:, 7:] += 1
    assert (to_host(model.codes_from(upper)) != codes).all()  # the layers below change
    drawn = model.draw_codes(5, np.random.default_rng(3))
    assert type(drawn) is np.ndarray and drawn.shape == (5, 9)
    same = np.random.default_rng(3).standard_normal((5, 9), dtype=np.float32)
    np.testing.assert_array_equal(drawn, to_host(model.codes_from(same)))
