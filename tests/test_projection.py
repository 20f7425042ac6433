import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from tinyvae import (
    VAE,
    Bernoulli,
    Flatten,
    Gaussian,
    GaussianEncoder,
    Linear,
    Reshape,
    Sequential,
    to_host,
)
from tinyvae.laboratory.projection import project, repair

SHAPE, PIXELS, L, N = (1, 2, 4), 8, 3, 5


def linear_decoder(rng):
    return Sequential(Linear(L, PIXELS, rng=rng), Reshape(*SHAPE))


def drawn(seed):
    """Images, and a mask of the pixels that are seen."""
    rng = np.random.default_rng(seed)
    return rng.random((N, *SHAPE)), (rng.random((N, *SHAPE)) < 0.7).astype(float)


@pytest.mark.parametrize("seed", range(4))
def test_the_projection_on_a_linear_decoder_is_the_posterior_mean(seed):
    """Tipping and Bishop 1999, with only those rows of W that belong to seen pixels."""
    decoder, s2 = linear_decoder(np.random.default_rng(seed)).to(np, np.float64), 0.1
    x, seen = drawn(seed)
    z = project(decoder, Gaussian(s2), np.zeros((N, L)), x, seen, steps=400)
    w, b = (decoder.layers[0].weight.value, decoder.layers[0].bias.value)
    for code, image, mask in zip(z, x.reshape(N, -1), seen.reshape(N, -1) > 0, strict=True):
        part = w[mask]
        m = part.T @ part + s2 * np.eye(L)
        np.testing.assert_allclose(code, np.linalg.solve(m, part.T @ (image - b)[mask]), atol=2e-3)


def test_on_any_device(xp):
    decoder = linear_decoder(np.random.default_rng(0)).to(np, np.float64)
    x, seen = drawn(0)
    expected = project(decoder, Bernoulli(), np.zeros((N, L)), x, seen, steps=20)
    got = project(decoder.to(xp, np.float64), Bernoulli(), xp.zeros((N, L)), x, seen, steps=20)
    np.testing.assert_allclose(to_host(got), expected, atol=1e-10)


def small_vae(rng):
    encoder = GaussianEncoder(Flatten(), PIXELS, L, rng=rng)
    return VAE(encoder, linear_decoder(rng), Bernoulli()).to(np, np.float64)


def test_repair_of_noise_uses_the_likelihood_of_the_noise():
    rng, noise = np.random.default_rng(1), 0.3
    vae, (x, _) = small_vae(rng), drawn(1)
    noisy = x + noise * rng.standard_normal(x.shape)
    errors, ways = repair(vae, x, noisy, np.ones_like(x), noise)
    w, b = vae.decoder.layers[0].weight.value, vae.decoder.layers[0].bias.value
    for image, original in zip(ways["projected"].reshape(N, -1), noisy.reshape(N, -1), strict=True):

        def loss(z, original=original):
            gap = original - expit(w @ z + b)
            return gap @ gap / (2 * noise**2) + z @ z / 2

        np.testing.assert_allclose(image, expit(w @ minimize(loss, np.zeros(L)).x + b), atol=1e-3)
    assert errors["damaged"] == pytest.approx(((noisy - x) ** 2).mean())
    assert errors["projected"] == pytest.approx(((ways["projected"] - x) ** 2).mean())


def test_the_error_of_repair_is_a_mean_over_missing_pixels():
    vae, (x, seen) = small_vae(np.random.default_rng(2)), drawn(2)
    errors, ways = repair(vae, x, x * seen, seen)
    assert errors["damaged"] == pytest.approx((x[seen == 0] ** 2).mean())
    for name, way in ways.items():
        assert errors[name] == pytest.approx(((way - x)[seen == 0] ** 2).mean())
    np.testing.assert_allclose(ways["reconstructed"], vae.reconstruct(x * seen))


def test_seen_must_have_the_shape_of_the_images():
    decoder = linear_decoder(np.random.default_rng(0)).to(np, np.float64)
    with pytest.raises(ValueError, match=r"shape of images, \(5, 1, 2, 4\), got \(1, 2, 4\)"):
        project(decoder, Bernoulli(), np.zeros((N, L)), drawn(0)[0], np.ones(SHAPE))
