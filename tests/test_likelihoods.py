import itertools
import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from tinyvae import Bernoulli, Gaussian, LearnedGaussian, to_host
from tinyvae.engine.likelihoods import Likelihood

SEEDS = st.integers(0, 2**32 - 1)
SIGMA2 = st.floats(0.01, 10)
LIKELIHOODS = {
    "Bernoulli": Bernoulli,
    "Gaussian": lambda: Gaussian(0.3),
    "LearnedGaussian": lambda: LearnedGaussian(0.3),
}
every_likelihood = pytest.mark.parametrize("make", LIKELIHOODS.values(), ids=LIKELIHOODS)
both_gaussians = pytest.mark.parametrize("gaussian", [Gaussian, LearnedGaussian])


def on(xp, likelihood, dtype=np.float64):
    return likelihood.to(xp, dtype) if list(likelihood.named_parameters()) else likelihood


def arrays(xp, seed, *shapes, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [xp.asarray(rng.standard_normal(shape), dtype=dtype) for shape in shapes]


# Density


@given(seed=SEEDS)
def test_bernoulli_against_scipy(xp, seed):
    rng = np.random.default_rng(seed)
    logits, x = 3 * rng.standard_normal((5, 3)), rng.integers(0, 2, (5, 3)).astype(float)
    log_prob = Bernoulli().log_prob(xp.asarray(x), xp.asarray(logits))
    expected = scipy.stats.bernoulli.logpmf(x, scipy.special.expit(logits)).sum(axis=0)
    np.testing.assert_allclose(to_host(log_prob), expected, rtol=1e-12)


@given(seed=SEEDS)
def test_bernoulli_of_grey_levels_is_the_cross_entropy(xp, seed):
    rng = np.random.default_rng(seed)
    logits, x = rng.standard_normal((5, 3)), rng.random((5, 3))
    p = scipy.special.expit(logits)
    expected = (x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=0)
    log_prob = Bernoulli().log_prob(xp.asarray(x), xp.asarray(logits))
    np.testing.assert_allclose(to_host(log_prob), expected, rtol=1e-12)


@given(dimensions=st.integers(1, 7), seed=SEEDS)
def test_bernoulli_of_grey_levels_is_a_mean_over_binary_images(xp, dimensions, seed):
    """Of log p(b|z), over all images b whose pixels are 1 with the grey level as probability."""
    rng = np.random.default_rng(seed)
    logits, x = xp.asarray(3 * rng.standard_normal((dimensions, 1))), rng.random((dimensions, 1))
    b = np.array(list(itertools.product((0.0, 1.0), repeat=dimensions))).T  # (D, 2^D)
    probability = np.where(b, x, 1 - x).prod(axis=0)  # (2^D,)
    mean = probability @ to_host(Bernoulli().log_prob(xp.asarray(b), logits))
    grey = to_host(Bernoulli().log_prob(xp.asarray(x), logits))
    np.testing.assert_allclose(grey, mean, rtol=1e-12)


@given(dimensions=st.integers(1, 7), seed=SEEDS)
def test_bernoulli_sums_to_one_over_all_images(xp, dimensions, seed):
    (logits,) = arrays(xp, seed, (dimensions, 1))
    images = np.array(list(itertools.product((0.0, 1.0), repeat=dimensions))).T
    log_prob = Bernoulli().log_prob(xp.asarray(images), 3 * logits)
    assert log_prob.shape == (2**dimensions,)
    assert np.exp(to_host(log_prob)).sum() == pytest.approx(1, rel=1e-12)


@both_gaussians
@given(sigma2=SIGMA2, seed=SEEDS)
def test_gaussian_against_scipy(xp, gaussian, sigma2, seed):
    likelihood = on(xp, gaussian(sigma2))
    x, mean = arrays(xp, seed, (5, 3), (5, 3))
    # LearnedGaussian keeps log sigma^2 in float32 until it is moved to float64
    np.testing.assert_allclose(
        to_host(likelihood.log_prob(x, mean)),
        scipy.stats.norm.logpdf(to_host(x), to_host(mean), math.sqrt(sigma2)).sum(axis=0),
        rtol=1e-5 if gaussian is LearnedGaussian else 1e-12,
    )


@both_gaussians
@given(sigma2=SIGMA2, seed=SEEDS)
def test_gaussian_integrates_to_one(xp, gaussian, sigma2, seed):
    """Over the plane, by the trapezoidal rule, which is exact to rounding for a Gaussian."""
    likelihood = on(xp, gaussian(sigma2))
    (mean,) = arrays(xp, seed, (2, 1))
    line, step = np.linspace(-9, 9, 61, retstep=True)
    offsets = math.sqrt(sigma2) * np.stack(np.meshgrid(line, line)).reshape(2, -1)
    log_prob = likelihood.log_prob(mean + xp.asarray(offsets), mean)
    total = np.exp(to_host(log_prob)).sum() * step**2 * sigma2
    assert total == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("sigma2", [0, -1.0, math.nan, math.inf])
@both_gaussians
def test_a_variance_is_positive(gaussian, sigma2):
    with pytest.raises(ValueError, match=f"sigma2 must be positive and finite, got {sigma2}"):
        gaussian(sigma2)


def test_bernoulli_is_stable_for_every_logit(xp):
    """No warning in float32, and at the ends the value is the logit's or zero."""
    size = np.array([0, 1, 20, 90, 500, 1e4])
    logits = xp.asarray(np.concatenate([-size, size])[None], dtype=np.float32)
    softplus = np.concatenate([np.logaddexp(0, -size), np.logaddexp(0, size)])
    one = xp.ones((), dtype=np.float32)
    bernoulli = Bernoulli()
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        for x in (0.0, 0.3, 1.0):
            images = xp.full(logits.shape, x, dtype=np.float32)
            log_prob = bernoulli.log_prob(images, logits)
            dlogits = bernoulli.backward(one, images, logits)
            host = to_host(logits)[0].astype(float)
            np.testing.assert_allclose(to_host(log_prob), x * host - softplus, rtol=1e-6, atol=1e-6)
            expected = x - scipy.special.expit(host)
            np.testing.assert_allclose(to_host(dlogits)[0], expected, rtol=1e-5, atol=1e-6)


# Mean and samples


@every_likelihood
def test_samples_have_the_mean_and_the_variance(xp, make):
    n, likelihood = 50_000, on(xp, make(), np.float32)
    output = xp.asarray([-2.0, -0.3, 0.0, 1.5], dtype=np.float32)[:, None] + xp.zeros(
        n, dtype=np.float32
    )
    mean = to_host(likelihood.mean(output[:, :1])).astype(float)
    if make is Bernoulli:
        np.testing.assert_allclose(mean, scipy.special.expit(to_host(output[:, :1])), rtol=1e-6)
        variance = mean * (1 - mean)
    else:
        np.testing.assert_array_equal(mean, to_host(output[:, :1]))
        variance = np.full_like(mean, 0.3)
    x = likelihood.sample(output, np.random.default_rng(0))
    assert x.dtype == output.dtype and x.shape == output.shape
    x = to_host(x).astype(float)
    if make is Bernoulli:
        assert set(np.unique(x)) == {0, 1}
    squared = (x - mean) ** 2
    assert (abs(x.mean(axis=1) - mean[:, 0]) < 5 * np.sqrt(variance[:, 0] / n)).all()
    assert (abs(squared.mean(axis=1) - variance[:, 0]) <= 5 * squared.std(axis=1) / n**0.5).all()


@every_likelihood
def test_samples_come_from_rng_alone(xp, make):
    likelihood, output = on(xp, make()), xp.zeros((50, 3))
    a, again, other = (
        to_host(likelihood.sample(output, np.random.default_rng(seed))) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(a, again)
    assert (a != other).any()


# Gradients


@every_likelihood
@pytest.mark.parametrize("upstream", ["one for each example", "a number"])
@given(sizes=st.permutations((1, 2, 3, 5)), seed=SEEDS)
def test_gradients_by_finite_differences(xp, make, upstream, sizes, seed):
    """As the VAE calls it: x (D, 1, N) shared by the samples, output (D, S, N).

    Of sum(dlog_prob * log_prob), along a random direction in the output and in the parameters.
    """
    d, s, n, _ = sizes
    likelihood = on(xp, make())
    x, output, v = arrays(xp, seed, (d, 1, n), (d, s, n), (d, s, n))
    dlog_prob = arrays(xp, seed + 1, (s, n))[0] if upstream != "a number" else -0.7
    doutput = likelihood.backward(dlog_prob, x, output)
    assert doutput.shape == output.shape
    step = 1e-5

    def difference(move):
        """d/dt of the loss, where move(t) makes the output and moves the parameters by t."""
        above = (dlog_prob * likelihood.log_prob(x, move(step))).sum()
        below = (dlog_prob * likelihood.log_prob(x, move(-step))).sum()
        move(0)
        return float(above - below) / (2 * step)

    numerical = difference(lambda t: output + t * v)
    scale = 1e-7 * float(1 + xp.abs(doutput).sum())
    assert numerical == pytest.approx(float((doutput * v).sum()), rel=1e-7, abs=scale)

    for _, parameter in likelihood.named_parameters():
        original, gradient = parameter.value.copy(), float(parameter.grad[0])

        def move(t, parameter=parameter, original=original):
            parameter.value[...] = original + t
            return output

        assert difference(move) == pytest.approx(gradient, rel=1e-7, abs=1e-7)


@every_likelihood
def test_float32_stays_float32(xp, make):
    likelihood = on(xp, make(), np.float32)
    x, output = arrays(xp, 0, (4, 3), (4, 3), dtype=np.float32)
    log_prob = likelihood.log_prob(x, output)
    results = (log_prob, likelihood.backward(log_prob, x, output), likelihood.mean(output))
    assert {result.dtype for result in results} == {np.dtype(np.float32)}
    assert log_prob.shape == (3,)


@given(seed=SEEDS)
def test_a_variance_for_each_dimension(xp, seed):
    """Against SciPy, as the VAE calls it: x (D, 1, N), output (D, S, N)."""
    likelihood = LearnedGaussian(0.3, size=5).to(xp, np.float64)
    x, output = arrays(xp, seed, (5, 1, 3), (5, 2, 3))
    (logvar,) = arrays(xp, seed + 1, (5,))
    likelihood.logvar.value = logvar
    std = np.exp(to_host(logvar) / 2)[:, None, None]
    expected = scipy.stats.norm.logpdf(to_host(x), to_host(output), std).sum(axis=0)
    np.testing.assert_allclose(to_host(likelihood.log_prob(x, output)), expected, rtol=1e-12)
    one = LearnedGaussian(0.3).to(xp, np.float64)
    one.backward(-1.0, x, output)
    likelihood.logvar.value = xp.zeros(5) + one.logvar.value
    likelihood.backward(-1.0, x, output)
    assert float(likelihood.logvar.grad.sum()) == pytest.approx(float(one.logvar.grad[0]))


def test_samples_have_the_variance_of_their_dimension(xp):
    likelihood = LearnedGaussian(size=3).to(xp)
    likelihood.logvar.value = np.log([0.01, 1.0, 4.0])
    x = to_host(
        likelihood.sample(xp.zeros((3, 50_000), dtype=np.float32), np.random.default_rng(0))
    )
    np.testing.assert_allclose(x.var(axis=1), [0.01, 1, 4], rtol=5 * math.sqrt(2 / 50_000))


@pytest.mark.parametrize("shape", [(5, 2), (1, 2)])
def test_a_number_of_variances_that_is_not_the_number_of_dimensions_is_refused(shape):
    output = np.zeros(shape, dtype=np.float32)
    with pytest.raises(ValueError, match=f"size must be 1 or .* dimensions {shape[0]}, got 3"):
        LearnedGaussian(size=3).log_prob(output, output)


@every_likelihood
def test_means_and_samples_lie_in_the_support(xp, make):
    likelihood, (output,) = on(xp, make()), arrays(xp, 0, (5, 3))
    assert isinstance(likelihood, Likelihood)
    low, high = likelihood.support
    assert (low, high) == ((0, 1) if make is Bernoulli else (-math.inf, math.inf))
    for x in (likelihood.mean(output), likelihood.sample(output, np.random.default_rng(0))):
        assert bool((low <= x).all()) and bool((x <= high).all())


def test_the_learned_variance_is_one_named_parameter():
    (state,) = LearnedGaussian(0.3).state_dict().items()
    assert state[0] == "logvar" and state[1] == pytest.approx([math.log(0.3)])
    assert not Bernoulli().state_dict() and not Gaussian().state_dict()
