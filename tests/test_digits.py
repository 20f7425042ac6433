"""The synthetic digits: reproducible, legible, varied, like MNIST, and what their factors say."""

import numpy as np
import pytest

from tinyvae.data import digits
from tinyvae.data.digits import load_digits

FACTORS = {"variant", "slant", "rotation", "aspect", "scale", "thickness", "wobble"}


@pytest.fixture(scope="module")
def sample():
    return load_digits(5000, seed=3)


def moments(images):
    """Variance of the ink in y, its covariance of x and y, variance in x: images (n, 1, 28, 28)."""
    ink = images[:, 0] / images.sum(axis=(1, 2, 3))[:, None, None]
    at = np.arange(28.0)
    y = at - (ink.sum(2) @ at)[:, None]
    x = at - (ink.sum(1) @ at)[:, None]
    return [np.einsum("nij,ni,nj->n", ink, *pair) for pair in ((y**2, x**0), (y, x), (y**0, x**2))]


def boxes(images):
    """Heights and widths of the smallest boxes that hold all pixels at least half black."""
    solid = images[:, 0] >= 128
    return [np.ptp(np.where(solid.any(a), np.arange(28), 14), axis=1) + 1 for a in (2, 1)]


def draw_plain(label, variant=0, **changes):
    """One glyph without noise or wobble, its factors neutral but for the changes, each (n,)."""
    n = max(len(values) for values in changes.values())
    neutral = dict(slant=0, rotation=0, aspect=1, scale=1, thickness=2.5, wobble=0)
    factors = {name: np.broadcast_to(value, n) for name, value in (neutral | changes).items()}
    glyph = digits.Glyph(digits.GLYPHS[label][variant][1])
    return digits.draw(glyph, factors, np.zeros((n, 3 * len(glyph.points))))[:, None]


def test_shapes_dtypes_and_range(sample):
    images, labels, factors = sample
    assert images.shape == (5000, 1, 28, 28) and images.dtype == np.uint8
    assert images.min() == 0 and images.max() == 255
    assert labels.shape == (5000,) and labels.dtype == np.int64
    assert set(factors) == FACTORS
    assert all(f.shape == (5000,) and f.dtype == np.float64 for f in factors.values())
    assert all(np.isfinite(f).all() for f in factors.values())


@pytest.mark.parametrize("n", [1, 7, 130, 4999])
def test_fewer_digits_are_a_prefix_of_more(sample, n):
    images, labels, factors = load_digits(n, seed=3)
    np.testing.assert_array_equal(images, sample[0][:n])
    np.testing.assert_array_equal(labels, sample[1][:n])
    for name in FACTORS:
        np.testing.assert_array_equal(factors[name], sample[2][name][:n])


def test_seeds_differ_and_no_digit_is_drawn_twice(sample):
    other, other_labels, _ = load_digits(5000, seed=4)
    assert not np.array_equal(sample[1], other_labels)
    both = np.concatenate([sample[0], other]).reshape(10_000, -1)
    assert len(np.unique(both, axis=0)) == 10_000


def test_labels_are_balanced_and_in_random_order(sample):
    labels = sample[1]
    np.testing.assert_array_equal(np.sort(labels.reshape(-1, 10), axis=1), [np.arange(10)] * 500)
    place_counts = np.array(
        [np.bincount(column, minlength=10) for column in labels.reshape(500, 10).T]
    )
    assert place_counts.min() > 20 and place_counts.max() < 90  # 50 expected, 6.7 the deviation


def test_the_ways_of_writing_have_their_shares(sample):
    _, labels, factors = sample
    for digit, ways in digits.GLYPHS.items():
        shares = np.array([share for share, _ in ways])
        counts = np.bincount(factors["variant"][labels == digit].astype(int))
        np.testing.assert_allclose(counts / 500, shares / shares.sum(), atol=0.09)


def test_statistics_are_like_those_of_mnist(sample):
    images = sample[0]
    assert images.mean() / 255 == pytest.approx(0.1307, abs=0.01)
    assert images.std() / 255 == pytest.approx(0.3081, abs=0.015)
    assert (images > 0).mean() == pytest.approx(0.191, abs=0.015)
    grey = ((images > 16) & (images < 240)).mean()
    assert grey == pytest.approx(0.097, abs=0.02)
    height, width = boxes(images)
    assert np.maximum(height, width).mean() == pytest.approx(19, abs=1)
    assert width.mean() == pytest.approx(15, abs=1.5)


def test_ink_keeps_off_the_border_and_its_mass_in_the_middle(sample):
    images = sample[0][:, 0].astype(float)
    edges = images[:, [0, -1]].sum() + images[:, :, [0, -1]].sum()
    assert edges == 0
    mass = images.sum((1, 2))
    for axis in (1, 2):
        centre = images.sum(axis) @ np.arange(28.0) / mass
        assert centre.mean() == pytest.approx(14, abs=0.3)
        assert np.abs(centre - 14).max() < 3.5


@pytest.mark.parametrize("towards", [-1, 1])
def test_a_curve_with_its_mass_at_one_end_still_keeps_its_distance(towards):
    path = np.zeros((1, 2, 50))
    path[:, :, -1] = towards
    factors = {"scale": np.ones(1), "thickness": np.full(1, 4.0)}
    fitted, _ = digits.fit(path, np.ones_like(path), factors)
    assert fitted.min() >= 2 + digits.MARGIN - 1e-9
    assert fitted.max() <= 27 - 2 - digits.MARGIN + 1e-9


def test_thickness_is_the_width_of_a_stroke():
    thickness = np.array([2.0, 3.0, 4.0])
    images = draw_plain(1, thickness=thickness)  # a plain vertical line
    across = images[:, 0, 14].sum(1) / 255
    np.testing.assert_allclose(across, thickness, atol=0.15)


def test_scale_is_the_longer_side_of_the_box():
    scale = np.array([0.5, 0.75, 1.0])
    for label in range(10):
        height, width = boxes(draw_plain(label, scale=scale))
        np.testing.assert_allclose(np.maximum(height, width), 20 * scale, atol=1.1)


def test_positive_slant_leans_right_by_its_amount():
    slant = np.array([-0.4, 0.0, 0.4])
    yy, xy, _ = moments(draw_plain(1, slant=slant))
    np.testing.assert_allclose(-xy / yy, slant, atol=0.02)


def test_rotation_is_counter_clockwise_in_degrees():
    rotation = np.array([-30.0, 0.0, 30.0])
    yy, xy, xx = moments(draw_plain(1, rotation=rotation))
    tilt = np.degrees(0.5 * np.arctan2(2 * xy, yy - xx))  # of the principal axis, y down
    np.testing.assert_allclose(tilt, rotation, atol=1)


def test_aspect_widens():
    aspect = np.array([0.7, 1.0, 1.3])
    height, width = boxes(draw_plain(0, aspect=aspect, thickness=np.full(3, 1.5)))
    ratio = (width - 1.5) / (height - 1.5)
    np.testing.assert_allclose(ratio / ratio[1], aspect, rtol=0.12)


def test_wobble_moves_points_by_its_percent_of_the_height():
    glyph = digits.Glyph(digits.GLYPHS[8][2][1])
    noise = np.random.default_rng(0).standard_normal((4000, 3 * len(glyph.points)))
    moves = noise.reshape(4000, 3, -1) @ glyph.mixing.T
    np.testing.assert_allclose(moves.std(axis=0), 1, rtol=0.05)
    together = [i for i, point in enumerate(glyph.points) if (point == glyph.points[0]).all()]
    assert len(together) == 4  # the two rings of the 8 begin and end at one place
    assert np.ptp(moves[:, :, together], axis=2).max() < 0.02


def test_factors_show_in_the_drawn_sample(sample):
    images, labels, factors = sample
    yy, xy, _ = moments(images)
    ink = images.mean(axis=(1, 2, 3))
    for digit in range(10):
        mine = labels == digit
        lean = factors["slant"] - np.tan(np.deg2rad(factors["rotation"]))
        assert np.corrcoef(lean[mine], -(xy / yy)[mine])[0, 1] > 0.7
        assert np.corrcoef(factors["thickness"][mine], ink[mine])[0, 1] > 0.5


def test_factors_are_independent_of_each_other_and_of_the_label(sample):
    _, labels, factors = sample
    continuous = [factors[name] for name in sorted(FACTORS - {"variant"})]
    correlations = np.corrcoef([labels, *continuous]) - np.eye(7)
    assert np.abs(correlations).max() < 0.07


def test_classes_are_distinguishable_by_their_nearest_neighbours(sample):
    images = sample[0].reshape(5000, -1) / np.float32(255)
    known, asked = images[:2000], images[2000:2500]
    gaps = (known**2).sum(1) - 2 * asked @ known.T
    guess = sample[1][gaps.argmin(axis=1)]
    assert (guess == sample[1][2000:2500]).mean() > 0.95


def test_pixels_vary_within_a_class(sample):
    images, labels, _ = sample
    images = images.reshape(5000, -1) / 255
    total = images.var(axis=0).sum()
    within = np.mean([images[labels == digit].var(axis=0).sum() for digit in range(10)])
    assert 0.6 < within / total < 0.95  # 0.79 in MNIST


@pytest.mark.parametrize("n", [0, -3, 2.0, "10", None, True])
def test_a_number_of_digits_that_is_none_is_refused(n):
    with pytest.raises(ValueError, match="positive integer"):
        load_digits(n)
