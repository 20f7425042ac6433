import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyvae import make_model
from tinyvae.data import load_digits, to_float
from tinyvae.laboratory.attributes import arithmetic, attribute_vectors, response, slant, thickness

DIGITS, LABELS, FACTORS = load_digits(300, seed=5)


@given(shear=st.floats(-0.6, 0.6), stretch=st.floats(0.5, 1.5))
def test_slant_is_the_shear_of_a_sheared_blob(shear, stretch):
    y, x = np.indices((61, 61)) - 30.0
    upright = np.exp(-(((x + shear * y) / (4 * stretch)) ** 2 + (y / 7) ** 2) / 2)
    assert slant(upright[None, None]) == pytest.approx(shear, abs=1e-3)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_thickness_is_the_width_of_a_vertical_horizontal_or_grey_bar(width):
    image = np.zeros((1, 1, 120, 120))
    image[:, :, 10:110, 40 : 40 + width] = 1
    expected = 100 * width / (100 + width)  # the ends belong to the outline too
    assert thickness(image) == pytest.approx(expected, rel=0.02)
    assert thickness(image.swapaxes(2, 3)) == pytest.approx(expected, rel=0.02)
    assert thickness(0.5 * image) == pytest.approx(thickness(image))


@pytest.mark.parametrize("angle", [0.0, 0.4, np.pi / 4, 2.0])
def test_thickness_is_the_same_in_all_directions(angle):
    y, x = np.indices((121, 121)) - 60.0
    along, across = (
        x * np.cos(angle) + y * np.sin(angle),
        y * np.cos(angle) - x * np.sin(angle),
    )
    outside = np.hypot(np.maximum(abs(along) - 50, 0), across) - 2  # a stroke 4 pixels wide
    image = np.clip(0.5 - outside / 2, 0, 1)
    assert thickness(image[None, None]) == pytest.approx(4, rel=0.06)


def test_the_measures_find_the_factors_of_synthetic_digits():
    images = to_float(DIGITS)
    assert np.corrcoef(thickness(images), FACTORS["thickness"])[0, 1] > 0.8
    assert np.corrcoef(slant(images), FACTORS["slant"])[0, 1] > 0.75
    assert abs(np.corrcoef(slant(images), FACTORS["thickness"])[0, 1]) < 0.2


@given(seed=st.integers(0, 999))
def test_attribute_vectors_are_separated_from_labels(seed):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(40) % 4) + 3
    attributes = rng.standard_normal((40, 2)) + labels[:, None]  # correlated with the labels
    directions, places = rng.standard_normal((2, 5)), rng.standard_normal((10, 5))
    codes = places[labels] + attributes @ directions
    np.testing.assert_allclose(attribute_vectors(codes, labels, attributes), directions, atol=1e-8)


def test_response_of_images_that_change_in_the_right_and_in_the_wrong_direction():
    amounts = np.array([-1.0, 0.0, 2.0])
    images = np.random.default_rng(0).random((4, 1, 1, 2, 3)) + 0.5 * amounts[:, None, None, None]

    def brightness(images):
        return images.mean(axis=(1, 2, 3))

    assert response(images, amounts, brightness) == pytest.approx((0.5, 1))
    assert response(-images, amounts, brightness) == pytest.approx((-0.5, -1))


def test_arithmetic_starts_from_the_images_themselves():
    model = make_model("vae", "mlp", 3)
    numbers, pictures = arithmetic(model, DIGITS[:7])
    assert numbers.keys() == pictures.keys() == {"slant", "thickness"}
    for name in numbers:
        assert pictures[name].shape == (7, 9, 1, 28, 28)
        middle = model.reconstruct(to_float(DIGITS[:7]))
        np.testing.assert_allclose(pictures[name][:, 4], middle, atol=1e-5)
        assert numbers[name]["measured against true, synthetic digits"] > 0.7
