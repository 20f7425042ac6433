"""The hierarchical VAE against loops, finite differences, and linear models in closed form."""

import json

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_toy import gaussian_kl
from short_runs import DATA, trainer

from tinyvae import HVAE, VAE, Gaussian, Linear, Sequential, UserError, make_model, to_host
from tinyvae.engine.differences import check_direction, numerical_gradient, relative_error
from tinyvae.engine.gaussian import precision_weighted, precision_weighted_backward
from tinyvae.engine.layers import Flatten
from tinyvae.laboratory.linear_gaussian import LinearGaussian, exact_noise
from tinyvae.models.bottom_up import BottomUp, GaussianLayer
from tinyvae.models.ladder import Ladder
from tinyvae.models.networks import MLPNetworks
from tinyvae.models.vae import GaussianEncoder
from tinyvae.training.evaluation import evaluate, importance_weighted_bound
from tinyvae.training.report import loss_lines, write_metrics

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


# Linear hierarchies: z2 -> z1 -> x, in which everything is known


class Hierarchy:
    """z2 ~ N(0, I), z1 ~ N(W2 z2 + c, diag s1), x ~ N(W1 z1 + b, s2 I), W1 (5, 3), W2 (3, 2)."""

    s2 = 0.3

    def __init__(self, w1, w2, s1, rng):
        self.w1, self.w2, self.s1 = w1, w2, s1
        self.b, self.c = rng.standard_normal(5), rng.standard_normal(3)

    def model(self, inference, first, second):
        """The HVAE with this p; first and second: (weight, bias, variance) of q's two layers."""
        rng, ladder = np.random.default_rng(0), inference == "ladder"
        bottom = GaussianEncoder(Flatten(), 5, 3, rng=rng)
        top = GaussianEncoder(Flatten(), 5, 2, rng=rng) if ladder else self.layer(3, 2, rng)
        encoder = (Ladder if ladder else BottomUp)([bottom, top])
        prior, decoder = self.layer(2, 3, rng), Sequential(Linear(3, 5, rng=rng))
        model = HVAE(encoder, [prior], decoder, Gaussian(self.s2)).to(np, np.float64)
        for layer, (weight, bias, variance) in (
            (bottom, first),
            (top, second),
            (prior, (self.w2, self.c, self.s1)),
        ):
            layer.mu.weight.value, layer.mu.bias.value = weight, bias
            layer.logvar.weight.value, layer.logvar.bias.value = 0 * weight, np.log(variance)
        decoder.layers[0].weight.value, decoder.layers[0].bias.value = self.w1, self.b
        return model

    @staticmethod
    def layer(inside, outside, rng):
        return GaussianLayer(Flatten(), inside, outside, rng=rng)

    def log_p(self, x):
        """x ~ N(W1 c + b, W1 (W2 W2' + diag s1) W1' + s2 I): probabilistic PCA."""
        w = self.w1 @ np.linalg.cholesky(self.w2 @ self.w2.T + np.diag(self.s1))
        return LinearGaussian(w, self.w1 @ self.c + self.b, self.s2).log_p(x)

    def posterior(self, x):
        """Mean (5,) and covariance (5, 5) of (z2, z1) given one x, by conditioning."""
        mean, covariance = chain(np.zeros(2), np.eye(2), self.w2, self.c, self.s1)
        mean, covariance = chain(
            mean, covariance, np.hstack([np.zeros((5, 2)), self.w1]), self.b, self.s2 * np.ones(5)
        )
        gain = covariance[:5, 5:] @ np.linalg.inv(covariance[5:, 5:])
        return mean[:5] + gain @ (x - mean[5:]), covariance[:5, :5] - gain @ covariance[5:, :5]


def chain(mean, covariance, weight, bias, variance):
    """Of (u, v) where u ~ N(mean, covariance) and v ~ N(weight u + bias, diag variance)."""
    cross = weight @ covariance
    corner = cross @ weight.T + np.diag(variance)
    both = np.block([[covariance, cross.T], [cross, corner]])
    return np.concatenate([mean, weight @ mean + bias]), both


def linear(rows, columns, rng):
    """Any q of one layer."""
    return rng.standard_normal((rows, columns)), rng.standard_normal(rows), rng.random(rows) + 0.1


def orthogonal(rows, columns, rng):
    return np.linalg.qr(rng.standard_normal((rows, columns)))[0] * (0.5 + rng.random(columns))


def exact(inference, rng):
    """A hierarchy whose true posterior is of the form that q has, and the model with this q."""
    w1, s1 = orthogonal(5, 3, rng), 0.2 + rng.random(3)
    length2 = (w1**2).sum(axis=0)  # of W1's columns
    seen = Hierarchy.s2 / length2  # the variance of z1 seen from x alone
    back = (w1 / length2).T  # z1 = back (x - b)
    if inference == "ladder":
        e = 1 / (s1 + seen)
        one = Hierarchy(w1, orthogonal(3, 2, rng) / np.sqrt(e)[:, None], s1, rng)
        first = back, -back @ one.b, seen
        v = 1 / (1 + np.diag(one.w2.T * e @ one.w2))
        a = v[:, None] * (one.w2.T * e)
        second = a @ back, -a @ (back @ one.b + one.c), v
    else:
        w2 = np.zeros((3, 2))
        w2[2, 0], w2[0, 1] = 0.7, -1.3
        one = Hierarchy(w1, w2, s1, rng)
        m = s1 + (w2**2).sum(axis=1)  # the variance of z1
        v = 1 / (1 / seen + 1 / m)
        a = (v / seen)[:, None] * back
        first = a, -a @ one.b + v / m * one.c, v
        v = 1 / (1 + (w2.T / s1 * w2.T).sum(axis=1))
        a = v[:, None] * w2.T / s1
        second = a, -a @ one.c, v
    return one, one.model(inference, first, second)


@each_inference
def test_with_the_exact_posterior_every_weight_is_p_of_x(inference):
    """log p(x, z) - log q(z|x) = log p(x) for every z: no variance, and the ELBO is log p(x)."""
    rng = np.random.default_rng(0)
    one, model = exact(inference, rng)
    x, eps = 3 * rng.standard_normal((7, 5)), rng.standard_normal((11, 7, 5))
    log_w = model.log_weights(x, eps)
    np.testing.assert_allclose(log_w, np.broadcast_to(one.log_p(x), (11, 7)), rtol=1e-11)
    total = model.loss(x, exact_noise(7, 5)).total
    assert -total == pytest.approx(one.log_p(x).mean(), rel=1e-11)


def any_model(inference, rng):
    one = Hierarchy(
        rng.standard_normal((5, 3)), rng.standard_normal((3, 2)), 0.2 + rng.random(3), rng
    )
    first, second = linear(3, 5, rng), linear(2, 5 if inference == "ladder" else 3, rng)
    return one, one.model(inference, first, second), first, second


def joint(one, inference, first, second, x):
    """Mean and covariance of (z2, z1) under q, for one x."""
    (a, a0, v), (b, b0, u) = first, second
    if inference == "ladder":
        share = one.s1 / (one.s1 + v)  # of x's own precision
        weight, bias = (1 - share)[:, None] * one.w2, share * (a @ x + a0) + (1 - share) * one.c
        return chain(b @ x + b0, np.diag(u), weight, bias, v * one.s1 / (v + one.s1))
    mean, covariance = chain(a @ x + a0, np.diag(v), b, b0, u)  # of (z1, z2)
    order = [3, 4, 0, 1, 2]
    return mean[order], covariance[np.ix_(order, order)]


@each_inference
@pytest.mark.parametrize("seed", range(3))
def test_the_elbo_of_any_q(inference, seed):
    """ELBO = log p(x) - KL(q || p(z1, z2 | x)). The noise makes the means over q exact."""
    rng = np.random.default_rng(seed)
    one, model, *q = any_model(inference, rng)
    x = rng.standard_normal((4, 5))
    gap = [gaussian_kl(*joint(one, inference, *q, each), *one.posterior(each)) for each in x]
    expected, noise = one.log_p(x) - gap, exact_noise(4, 5)
    np.testing.assert_allclose(model.log_weights(x, noise).mean(axis=0), expected, rtol=1e-10)
    assert -model.loss(x, noise).total == pytest.approx(expected.mean(), rel=1e-10)


@each_inference
def test_the_importance_weighted_bound_tends_to_log_p(inference):
    rng = np.random.default_rng(0)
    one, model = exact(inference, rng)
    layer = model.encoder.layers[0]
    layer.mu.bias.value += 0.3
    layer.logvar.bias.value += 0.4
    x = one.w1 @ rng.standard_normal((3, 20)) + one.b[:, None]
    x = x.T.astype(np.float32)
    log_p = one.log_p(x).mean()
    bounds = [importance_weighted_bound(model, x, k, seed=1).mean() for k in (1, 10, 2000)]
    assert bounds[0] < bounds[1] - 0.1 < bounds[2] < log_p + 0.02
    assert bounds[2] == pytest.approx(log_p, abs=0.02)


def test_the_model_draws_from_its_distribution():
    rng = np.random.default_rng(0)
    one, model, *_ = any_model("bottom-up", rng)
    x = model.sample(100_000, rng)
    inside = one.w2 @ one.w2.T + np.diag(one.s1)
    covariance = one.w1 @ inside @ one.w1.T + one.s2 * np.eye(5)
    error = np.abs(np.cov(x.T) - covariance).max() / np.abs(covariance).max()
    assert error < 0.02
    np.testing.assert_allclose(x.mean(axis=0), one.w1 @ one.c + one.b, atol=0.05)


# What people see


def test_numbers_of_each_layer():
    run = trainer(None, {"model": "hvae", "upper": (4, 2), "epochs": 1})
    run.fit()
    found = evaluate(run.model, DATA.x_test, seed=3)
    kl, variance = (np.array(found[f"{one}_per_dimension"]) for one in ("kl", "variance"))
    for i, part in enumerate((slice(0, 3), slice(3, 7), slice(7, 9)), 1):
        assert found[f"kl_{i}"] == pytest.approx(kl[part].sum())
        assert found[f"active_units_{i}"] == (variance[part] > 0.01).sum()
    assert sum(found[f"kl_{i}"] for i in (1, 2, 3)) == pytest.approx(found["kl"])
    assert {"train_kl_1", "test_kl_3"} <= run.history[0].keys()
    notes = {label: note for label, _, note in loss_lines(run, write_metrics(run))}
    layers = ", ".join(f"{found[f'kl_{i}']:.2f}" for i in (1, 2, 3))
    assert notes["KL"].startswith("layers, bottom first: ") and notes["KL"].count(",") == 3
    assert len(layers.split(", ")) == 3 and notes["reconstruction"] == ""
    assert notes["active units"].startswith("layers, bottom first: ")


def test_a_part_of_the_kl_may_be_negative():
    """Only the sum over the layers is a KL: z2 may know z1 better than x does."""
    rng = np.random.default_rng(0)
    one = Hierarchy(np.ones((5, 3)), np.eye(3, 2), 0.01 * np.ones(3), rng)
    first = np.zeros((3, 5)), one.c, np.ones(3)
    second = np.eye(2, 3), -one.c[:2], 0.01 * np.ones(2)
    model = one.model("bottom-up", first, second)
    kl = model.loss(rng.standard_normal((4, 5)), exact_noise(4, 5)).kl
    assert (kl[:2] < -1).all() and kl.sum() > 0


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"upper": (10, 0)}, "--upper must be whole numbers of at least 1, got 10,0"),
        ({"upper": ()}, "--upper must be whole numbers of at least 1, got nothing"),
        (
            {"inference": "sideways"},
            "--inference must be one of bottom-up, ladder, got 'sideways'",
        ),
        (
            {"model": "vae", "upper": (3,)},
            "--upper is an option of --model hvae, not of vae; leave it out",
        ),
    ],
)
def test_refusals(options, sentence):
    with pytest.raises(UserError) as error:
        make_model(**{"model": "hvae"} | options)
    assert str(error.value) == sentence


@each_inference
def test_noise_of_another_shape_is_refused(inference):
    model, (x, eps) = tiny(inference), batch()
    for wrong in (eps[0], eps[:0], eps[:, :2], eps[:, :, :4]):
        with pytest.raises(ValueError) as error:
            model.loss(x, wrong)
        assert str(error.value) == f"eps must be (samples >= 1, 3, 9), got {wrong.shape}"


def test_a_call_between_loss_and_backward_is_refused():
    model, (x, eps) = tiny("ladder"), batch()
    for call in (lambda: model.embed(x), lambda: model.draw_codes(2, np.random.default_rng(0))):
        model.loss(x, eps)
        call()
        with pytest.raises(RuntimeError, match="call loss first"):
            model.backward()


def test_the_options_make_the_folder_and_the_checkpoint():
    settings = make_model("hvae", upper=(4, 2), inference="ladder").settings
    assert settings["upper"] == [4, 2] and settings["inference"] == "ladder"
    again = make_model(**json.loads(json.dumps(settings)))
    assert again.latent_layers == (20, 4, 2) and type(again.encoder) is Ladder
