import numpy as np
import pytest

from tinyvae import make_model, to_host
from tinyvae.data import to_float
from tinyvae.laboratory.outliers import out_of_distribution, scores
from tinyvae.training import on_host
from tinyvae.training.evaluation import evaluate

IMAGES = np.random.default_rng(0).integers(0, 256, (11, 1, 28, 28), dtype=np.uint8)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(on_host, "BATCH", 4)


def test_batches_join_to_what_the_whole_would_be(xp):
    vae = make_model("vae", "mlp", 3).to(xp)
    mu, logvar = (to_host(a) for a in vae.encode(to_float(IMAGES)))
    codes = on_host.embed(vae, IMAGES)
    np.testing.assert_allclose(codes, mu, atol=1e-5)
    for part, expected in zip(on_host.posteriors(vae, IMAGES), (mu, logvar), strict=True):
        assert isinstance(part, np.ndarray) and part.shape == (11, 3)
        np.testing.assert_allclose(part, expected, atol=1e-5)
    drawn = on_host.draws(vae, IMAGES, np.random.default_rng(1))
    eps = np.random.default_rng(1).standard_normal((11, 3), dtype=np.float32)
    np.testing.assert_allclose(drawn, mu + np.exp(0.5 * logvar) * eps, atol=1e-5)
    images = on_host.decode(vae, codes[:10].reshape(2, 5, 3))
    assert isinstance(images, np.ndarray) and images.shape == (2, 5, 1, 28, 28)
    expected = to_host(vae.decode(codes[:10])).reshape(images.shape)
    np.testing.assert_allclose(images, expected, atol=1e-5)


def test_log_prob_is_what_evaluation_calls_reconstruction(xp):
    model = make_model("ae", "mlp", 3).to(xp)
    log_prob = on_host.log_prob(model, IMAGES, on_host.embed(model, IMAGES))
    assert log_prob.shape == (11,)
    assert -log_prob.mean() == pytest.approx(evaluate(model, IMAGES)["reconstruction"], rel=1e-5)


def test_scores_are_those_of_evaluation_image_by_image():
    vae = make_model("vae", "mlp", 3)
    one = scores(vae, IMAGES)
    evaluated = evaluate(vae, IMAGES)
    assert one["negative ELBO"].shape == one["reconstruction error"].shape == (11,)
    assert one["reconstruction error"].mean() == pytest.approx(evaluated["mse"], rel=1e-5)
    assert one["negative ELBO"].mean() == pytest.approx(evaluated["total"], rel=0.02)  # other noise


def test_out_of_distribution_images_are_made_of_the_images():
    made = out_of_distribution(IMAGES, np.random.default_rng(0))
    assert all(
        images.shape == IMAGES.shape and images.dtype == np.uint8 for images in made.values()
    )
    shuffled = made["pixels shuffled"].reshape(11, -1)
    assert (np.sort(shuffled) == np.sort(IMAGES.reshape(11, -1))).all()
    assert (shuffled != IMAGES.reshape(11, -1)).any(axis=1).all()
    assert (made["black and white exchanged"].astype(int) + IMAGES == 255).all()
    assert (made["mirrored"][0, 0, 3] == IMAGES[0, 0, 3, ::-1]).all()
    assert (made["lower half erased"][:, :, :14] == IMAGES[:, :, :14]).all()
    assert not made["lower half erased"][:, :, 14:].any() and not made["all black"].any()
