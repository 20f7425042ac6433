import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import linregress, norm

from tinyvae.data import load_digits
from tinyvae.laboratory.disentanglement import BINS, explained, mig, sap

N = 4000
NOISE = (BINS - 1) ** 2 / (2 * N)  # nats: estimated from N independent values
SEEDS = st.integers(0, 999)
each_score = pytest.mark.parametrize("score", [mig, sap])


def known(rng, n=N):
    """Three independent factors: classes, and two quantities of different shape."""
    return {
        "label": rng.integers(0, 7, n),
        "slant": rng.standard_normal(n),
        "thickness": rng.uniform(1, 3, n),
    }


def as_code(factors):
    return np.stack(list(factors.values()), axis=1).astype(float)


@each_score
def test_factors_themselves_as_the_code_score_1(score):
    """Also if dimensions are scaled, mirrored and permuted, and dimensions of noise are added."""
    rng = np.random.default_rng(0)
    factors = known(rng)
    code = np.concatenate([-3 * as_code(factors), rng.standard_normal((N, 4))], axis=1)
    gaps = score(code[:, rng.permutation(7)] + 5, factors)
    assert gaps.keys() == factors.keys()
    for gap in gaps.values():
        assert 1 - 4 * NOISE < gap <= 1


@each_score
def test_a_code_that_knows_nothing_scores_0(score):
    rng = np.random.default_rng(1)
    for gap in score(rng.standard_normal((N, 9)), known(rng)).values():
        assert 0 <= gap < 0.01


@each_score
def test_a_factor_in_two_dimensions_scores_0(score):
    """Each of the two dimensions tells everything, so there is no gap."""
    factors = known(np.random.default_rng(2))
    twice = np.concatenate([as_code(factors), -2 * as_code(factors)], axis=1)
    assert score(twice, factors) == pytest.approx(dict.fromkeys(factors, 0.0), abs=1e-12)


@each_score
def test_a_rotated_code_scores_0(score):
    """By 45 degrees: each dimension depends equally on both factors."""
    rng = np.random.default_rng(3)
    factors = {"one": rng.standard_normal(N), "other": rng.standard_normal(N)}
    turned = as_code(factors) @ np.array([[1, 1], [1, -1]])
    assert all(gap > 0.95 for gap in score(as_code(factors), factors).values())
    assert all(gap < 0.03 for gap in score(turned, factors).values())


@each_score
@given(seed=SEEDS)
def test_order_sign_and_scale_of_the_dimensions_do_not_matter(score, seed):
    rng = np.random.default_rng(seed)
    factors = known(rng, 334)
    code = as_code(factors) @ rng.standard_normal((3, 5)) + rng.standard_normal((334, 5))
    other = code[:, rng.permutation(5)] * rng.choice([-1, 1], 5) * rng.uniform(0.1, 9, 5) - 1
    assert score(other, factors) == pytest.approx(score(code, factors), abs=1e-6)


@given(seed=SEEDS)
def test_mig_sees_only_the_order_of_a_quantity(seed):
    rng = np.random.default_rng(seed)
    factors = known(rng, 300)
    code = as_code(factors) + rng.standard_normal((300, 3))
    stretched = factors | {"slant": np.exp(factors["slant"])}
    assert mig(code**3, stretched) == pytest.approx(mig(code, factors), abs=1e-12)


def information_by_loops(a, b):
    pairs = list(zip(a.tolist(), b.tolist(), strict=True))
    total = 0.0
    for x in set(a.tolist()):
        for y in set(b.tolist()):
            both = sum(pair == (x, y) for pair in pairs) / len(pairs)
            if both:
                total += both * np.log(both / (np.mean(a == x) * np.mean(b == y)))
    return total


@given(seed=SEEDS)
def test_mig_is_the_gap_of_mutual_information(seed):
    """By the definition with its sums, for codes with few values, which are their own bins."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, 60)
    code = np.stack([(label + rng.integers(0, k, 60)) % 4 for k in (1, 2, 3, 4)], axis=1)
    told = sorted(information_by_loops(column, label) for column in code.T)
    expected = (told[-1] - told[-2]) / information_by_loops(label, label)
    (gap,) = mig(code, {"label": label}).values()
    assert gap == pytest.approx(expected, abs=1e-12)


def test_information_of_correlated_gaussians():
    """-log(1 - r^2) / 2 nats, less a small loss by the bins, plus NOISE by sampling."""
    rng = np.random.default_rng(4)
    a, e = rng.standard_normal((2, N))
    code = np.stack([0.8 * a + 0.6 * e, rng.standard_normal(N)], axis=1)
    (gap,) = mig(code, {"a": a}).values()
    exact = -np.log(1 - 0.8**2) / 2
    assert gap * np.log(BINS) == pytest.approx(exact, abs=0.03)


@given(seed=SEEDS)
def test_sap_of_a_quantity_is_the_gap_of_r_squared(seed):
    rng = np.random.default_rng(seed)
    factor = rng.uniform(-1, 1, 50)
    code = factor[:, None] * [2.0, -0.5, 0.1] + rng.standard_normal((50, 3))
    squares = sorted(linregress(column, factor).rvalue ** 2 for column in code.T)
    (gap,) = sap(code, {"factor": factor}).values()
    assert gap == pytest.approx(squares[-1] - squares[-2], abs=1e-12)


def test_sap_of_classes_is_how_much_better_than_chance_they_are_guessed():
    """Two classes at +-1 with std 1, one nine times as frequent: a share of Phi(1) is right."""
    rng = np.random.default_rng(5)
    label = (rng.random(20 * N) < 0.1).astype(int)
    code = np.stack([2 * label - 1, 0 * label], axis=1) + rng.standard_normal((20 * N, 2))
    (gap,) = sap(code, {"label": label}).values()
    assert gap == pytest.approx(2 * norm.cdf(1) - 1, abs=0.03)  # the bins are coarse


def test_a_rotated_code_still_determines_its_factors():
    """All dimensions together explain what no single dimension does. Noise lowers R^2."""
    rng = np.random.default_rng(7)
    factors = {"one": rng.standard_normal(N), "other": rng.standard_normal(N)}
    turned = as_code(factors) @ np.array([[1, 1], [1, -1]])
    assert explained(3 * turned + 1, factors) == pytest.approx({"one": 1, "other": 1})
    noisy = turned + np.sqrt(2) * rng.standard_normal((N, 2))  # half of the variance
    assert explained(noisy, factors) == pytest.approx({"one": 0.5, "other": 0.5}, abs=0.04)
    assert explained(rng.standard_normal((N, 9)), known(rng)) == pytest.approx(
        {"slant": 0, "thickness": 0}, abs=0.01
    )


@each_score
def test_a_collapsed_dimension_is_no_dimension(score):
    factors = known(np.random.default_rng(6))
    constant = np.zeros((N, 1))
    alone = np.concatenate([as_code(factors)[:, :1], constant, constant], axis=1)
    assert score(alone, {"label": factors["label"]})["label"] == pytest.approx(1)


@each_score
def test_the_factors_of_the_digits_can_be_told_apart(score):
    """The factors of the synthetic digits as a code score high."""
    _, labels, factors = load_digits(2000, seed=3)
    names = ("slant", "rotation", "aspect", "scale", "thickness")
    factors = {"label": labels} | {name: factors[name] for name in names}
    for gap in score(as_code(factors), factors).values():
        assert gap > 0.85


@each_score
@pytest.mark.parametrize(
    "code, factors, sentence",
    [
        (np.zeros((9, 1)), {}, r"L of at least 2, got \(9, 1\)"),
        (np.zeros(9), {}, r"got \(9,\)"),
        (np.eye(9), {"slant": np.arange(8)}, r"factor slant must be .*\(9,\), got int64 of shape"),
        (np.eye(9), {"slant": np.array(9 * ["a"])}, "factor slant must be integers or floats"),
        (np.eye(9), {"slant": np.full(9, 3)}, "two values or more, got 3 only"),
    ],
)
def test_refuses_what_it_cannot_score(score, code, factors, sentence):
    with pytest.raises(ValueError, match=sentence):
        score(code, factors)
