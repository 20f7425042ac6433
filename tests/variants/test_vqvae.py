"""The VQ-VAE against loops, PyTorch, finite differences, and an example with a known gradient."""

import copy
import math
import re

import numpy as np
import pytest
from short_runs import DATA, trainer

from tinyvae import VQVAE, Flatten, Gaussian, Linear, Reshape, Sequential, UserError, make_model
from tinyvae import to_host as host
from tinyvae.data import to_float
from tinyvae.engine.differences import check_direction, check_model
from tinyvae.gradcheck import TOLERANCE
from tinyvae.models.codebook import Codebook
from tinyvae.training.evaluation import evaluate
from tinyvae.training.parallel import DataParallel

SHAPE, L, K, GRID = (1, 9, 12), 3, 7, (3, 3)
each_codebook = pytest.mark.parametrize("codebook", ["gradient", "ema"])


def tiny(codebook="gradient", commitment=0.7, xp=np, dtype=np.float64, seed=0, codes=K):
    options = {"codes": codes, "commitment": commitment, "codebook": codebook}
    model = make_model("vqvae", latent_dim=L, shape=SHAPE, seed=seed, **options)
    rng = np.random.default_rng(seed)  # vectors as far apart as the encoder's outputs
    model.codebook.vectors.value = 0.1 * rng.standard_normal((codes, L))
    return model.to(xp, dtype)


def batch(n=4, seed=1):
    return np.random.default_rng(seed).random((n, *SHAPE))


def test_the_sizes():
    model = make_model("vqvae")
    assert type(model) is VQVAE and model.grid == (7, 7) and model.latent_dim == 0
    assert model.codebook.vectors.value.shape == (128, 20)
    assert model.encode(np.zeros((2, 1, 28, 28), np.float32)).shape == (2, 7, 7)
    assert tiny().grid == GRID


def test_new_vectors_are_uniform_between_plus_and_minus_one_over_their_number():
    vectors = make_model("vqvae", latent_dim=50, codes=40).codebook.vectors.value
    assert abs(vectors).max() < 1 / 40 and vectors.std() == pytest.approx(1 / 40 / 3**0.5, rel=0.05)


@each_codebook
def test_the_terms_against_a_loop(xp, codebook):
    model, x = tiny(codebook, xp=xp), batch()
    loss = model.loss(xp.asarray(x))
    z = host(model.encoder.forward(xp.asarray(np.moveaxis(x, 0, -1))))
    vectors, reconstruction, distance = host(model.codebook.vectors.value), 0, 0
    e = np.empty_like(z)
    for place in np.ndindex(z.shape[1:]):
        at = (slice(None), *place)
        e[at] = min(vectors, key=lambda vector: ((z[at] - vector) ** 2).sum())
        distance += ((z[at] - e[at]) ** 2).sum() / len(x)
    logits = np.moveaxis(host(model.decoder.forward(xp.asarray(e))), -1, 0)
    p = 1 / (1 + np.exp(-logits))
    reconstruction = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum() / len(x)
    expected = {"reconstruction": reconstruction, "codebook": distance}
    expected["commitment"] = 0.7 * distance
    if codebook == "ema":
        del expected["codebook"]
    assert {k: float(v) for k, v in loss.terms.items()} == pytest.approx(expected, rel=1e-10)
    assert float(loss.total) == pytest.approx(sum(expected.values()), rel=1e-10)


@each_codebook
def test_every_gradient_against_pytorch(xp, codebook):
    """PyTorch's stop-gradient is detach; the terms have random weights."""
    torch = pytest.importorskip("torch")
    model, x = tiny(codebook, xp=xp), batch()
    weights = dict(zip(model.term_names, (1.3, 0.6, 2.1), strict=False))
    model.loss(xp.asarray(x))
    model.terms_backward(weights)
    theirs = {k: torch.tensor(v, requires_grad=True) for k, v in model.state_dict().items()}
    conv, up = torch.nn.functional.conv2d, torch.nn.functional.conv_transpose2d

    def of(layer):
        return theirs[f"{layer}.weight"], theirs[f"{layer}.bias"]

    h = conv(torch.tensor(x), *of("encoder.0"), stride=2, padding=1).relu()
    h = conv(h, *of("encoder.2"), stride=2, padding=1).relu()
    z = conv(h, *of("encoder.4"))  # (N, L, h, w)
    vectors = theirs["codebook.vectors"]
    flat = z.movedim(1, -1).reshape(-1, L)
    index = torch.cdist(flat, vectors).argmin(dim=1)
    e = vectors[index].reshape(len(x), *GRID, L).movedim(-1, 1)
    h = conv(z + (e - z).detach(), *of("decoder.0"), padding=1).relu()
    h = up(h, *of("decoder.2"), stride=2, padding=1, output_padding=(0, 1)).relu()
    logits = up(h, *of("decoder.4"), stride=2, padding=1, output_padding=(0, 1))
    terms = {
        "reconstruction": torch.nn.functional.binary_cross_entropy_with_logits(
            logits, torch.tensor(x), reduction="sum"
        ),
        "codebook": ((z.detach() - e) ** 2).sum(),
        "commitment": 0.7 * ((z - e.detach()) ** 2).sum(),
    }
    (sum(weights[name] * terms[name] for name in weights) / len(x)).backward()
    for name, parameter in model.named_parameters():
        if not parameter.trained:
            continue
        expected = theirs[name].grad.numpy()
        largest = np.abs(expected).max()
        np.testing.assert_allclose(
            host(parameter.grad), expected, rtol=1e-8, atol=1e-11 * largest, err_msg=name
        )


@each_codebook
def test_with_the_codes_frozen_every_gradient_passes_the_finite_differences(codebook):
    rng, x = np.random.default_rng(0), batch()
    for commitment in (0.0, 0.7):
        model = tiny(codebook, commitment)
        frozen = model.frozen(x)
        assert float(frozen()) == pytest.approx(float(model.loss(x).total), rel=1e-12)
        assert check_model(model, x, rng=rng) < TOLERANCE
    model.loss(x)
    model.backward()
    theta, grad = (v[: model.trained_size] for v in (model.theta, model.grad))
    # The loss itself has another derivative: it does not see the encoder through the codes.
    assert check_direction(lambda: model.loss(x).total, theta, grad.copy(), rng) > 1e-3


def test_the_bias_of_the_straight_through_gradient_where_the_gradient_is_known():
    """z = w x + b, codes -1 and 1, x uniform in [-1, 1], and the loss J = mean of (x - e)^2.

    e is the sign of z, so J = 1/3 + (b / w)^2 for |b| < w. Its gradient is dJ/dw = -2 b^2 / w^3 and
    dJ/db = 2 b / w^2. The straight-through gradient is the mean of 2 (e - x) dz: at w = 1 it is
    1/3 - b^2 for w, which is wrong by 1/3 + b^2, and 2 b for b, which is right.
    """
    x = ((np.arange(4000) + 0.5) / 2000 - 1)[:, None]  # (N, 1)
    line = Linear(1, 1, rng=np.random.default_rng(0))
    encoder, book = Sequential(line, Reshape(1, 1, 1)), Codebook(np.array([[-1.0], [1.0]]))
    model = VQVAE(encoder, book, Flatten(), Gaussian(0.5), (1, 1), commitment=0.0)
    model.to(np, np.float64)
    constant = 0.5 * math.log(2 * math.pi * 0.5)  # -log p = (x - e)^2 + constant

    def at(w, b):
        line.weight.value, line.bias.value = [[w]], [b]
        return model.terms(x)["reconstruction"] - constant

    for b in (0.0, 0.25, -0.5):
        known = 1 / 3 + b * b
        assert at(1.0, b) == pytest.approx(known, abs=1e-6)
        slope = (at(1.0, b + 0.1) - at(1.0, b - 0.1)) / 0.2
        assert slope == pytest.approx(2 * b, abs=1e-9)
        at(1.0, b)
        model.terms_backward({"reconstruction": 1.0, "codebook": 0.0, "commitment": 0.0})
        assert line.bias.grad[0] == pytest.approx(2 * b, abs=1e-6)
        assert line.weight.grad[0, 0] == pytest.approx(1 / 3 - b * b, abs=1e-6)
    # On a single example J is constant near (w, b), but the straight-through gradient is not 0.
    x = np.array([[0.5]])
    assert at(1.0, 0.0) == pytest.approx(at(1.01, 0.02), rel=1e-14) == pytest.approx(0.25)
    at(1.0, 0.0)
    model.terms_backward({"reconstruction": 1.0, "codebook": 0.0, "commitment": 0.0})
    assert (line.weight.grad[0, 0], line.bias.grad[0]) == pytest.approx((0.5, 1.0))


def test_sums_of_parts_are_the_sums_of_the_batch():
    sums = []
    for parts in (1, 3):
        model = tiny("ema")
        in_parts = DataParallel(model, parts, parts)
        with in_parts.threads:
            in_parts.gradient(batch(10))
        sums.append((model.codebook.vectors.grad.copy(), model.codebook.counts.grad.copy()))
    np.testing.assert_allclose(sums[1][0], sums[0][0], rtol=1e-12)
    np.testing.assert_array_equal(sums[1][1], sums[0][1])
    assert sums[0][1].sum() == 10 * 9


# Use


def test_encode_decode_reconstruct(xp):
    model, x = tiny(xp=xp), xp.asarray(batch())
    index = model.encode(x)
    assert index.dtype.kind == "i" and index.shape == (4, *GRID)
    np.testing.assert_array_equal(host(model.decode(index)), host(model.reconstruct(x)))
    one = host(model.decode(host(index)[2:3]))
    np.testing.assert_allclose(one[0], host(model.reconstruct(x))[2], rtol=1e-12)
    np.testing.assert_array_equal(
        host(model.decode(host(index).tolist())), host(model.decode(index))
    )
    for wrong in (index[:, 0], index[:, :2], [[1]]):
        with pytest.raises(ValueError, match=r"indices must be \(N, 3, 3\), got \("):
            model.decode(wrong)


def test_an_index_out_of_range_is_refused():
    with pytest.raises(ValueError, match="must be from 0 to 6, got 0 to 7"):
        tiny().decode(np.arange(9).reshape(1, 3, 3) % 8)


def test_perplexity_is_of_all_examples_together():
    model, x = tiny(), batch(12)
    found = evaluate(model, x.astype(np.float32), batch_size=5)
    share = np.bincount(model.encode(x).ravel(), minlength=K) / (12 * 9)
    used = share[share > 0]
    np.testing.assert_allclose(found["usage"], share, rtol=1e-12)
    assert found["codes_in_use"] == len(used) > 1
    assert found["perplexity"] == pytest.approx(np.exp(-(used * np.log(used)).sum()), rel=1e-12)
    assert found["mse"] == pytest.approx(((model.reconstruct(x) - x) ** 2).mean(), rel=1e-5)


def test_a_step_moves_each_used_code_to_the_mean_of_its_vectors():
    """Its moving average has no past yet. No optimizer moves the codebook beside."""
    run = trainer(None, {"model": "vqvae", "network": "conv", "codes": 9, "codebook": "ema"})
    book = run.model.codebook
    run.feed.begin(0)
    (x,) = run.feed.inputs(0)
    z = run.model.encoder.forward(np.ascontiguousarray(np.moveaxis(x, 0, -1))).reshape(3, -1)
    index, expected = book.nearest(z), book.vectors.value.copy()
    for code in np.unique(index):
        expected[code] = z[:, index == code].mean(axis=1)
    run.steps.do(0)
    np.testing.assert_allclose(book.vectors.value, expected, rtol=1e-4, atol=1e-6)


@each_codebook
def test_a_run_revives_codes_after_each_epoch(codebook):
    """All vectors of the codebook but one begin far away from whatever the encoder gives."""
    run = trainer(None, {"model": "vqvae", "network": "conv", "codes": 9, "codebook": codebook})
    vectors = run.model.codebook.vectors
    vectors.value = np.array([[0.0, 0.0, 0.0]] + [[99.0, i, 0.0] for i in range(8)])
    in_use = evaluate(run.model, DATA.x_train)["codes_in_use"]
    run.fit()
    assert in_use == 1 and np.abs(vectors.value).max() < 50
    assert run.history[0]["codes_in_use"] > 1
    assert {"train_perplexity", "test_perplexity", "codes_in_use"} < run.history[-1].keys()


def test_a_codebook_larger_than_the_data_is_refused():
    """DATA has 50 training examples of 7 x 7 positions."""
    settings = {"model": "vqvae", "network": "conv", "codes": 2450}
    trainer(None, settings)
    with pytest.raises(UserError) as error:
        trainer(None, settings | {"codes": 2451})
    assert str(error.value) == (
        "the codebook is larger than the data: it has 2451 vectors, but 50 training examples with "
        "7 x 7 vectors each have 2450; lower --codes"
    )


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"network": "mlp"}, "--model vqvae takes --network conv, got mlp"),
        ({"codes": 0}, "--codes must be a whole number of at least 1, got 0"),
        ({"commitment": -1.0}, "--commitment must be a finite number of at least 0, got -1.0"),
        ({"codebook": "kmeans"}, "--codebook must be one of gradient, ema, got 'kmeans'"),
    ],
)
def test_other_settings_are_refused(options, sentence):
    with pytest.raises(UserError) as error:
        make_model("vqvae", **options)
    assert str(error.value) == sentence


def test_what_a_vqvae_has_not():
    model = make_model("vqvae")
    assert model.sample_means is None and model.log_weights is None
    x = to_float(DATA.x_test[:2])
    assert model.reconstruct(x).shape == x.shape


@pytest.mark.parametrize(
    "wrong, said", [(7, "from 0 to 6, got 0 to 7"), (0.5, "integers, got float")]
)
def test_indices_that_are_none_are_refused(wrong, said):
    index = np.zeros((1, *GRID), type(wrong))
    index[0, 0, 0] = wrong
    with pytest.raises(ValueError, match=f"indices must be {said}"):
        tiny().decode(index)


def test_an_encoder_of_another_size_is_refused():
    """Built by hand: too few channels, and a grid that is turned over."""
    for layers, grid, got in ((4, GRID, "(64, 3, 3)"), (5, (3, 4), "(3, 3, 3)")):
        parts = copy.deepcopy(tiny())
        encoder, book = Sequential(*parts.encoder.layers[:layers]), parts.codebook
        encoder, book, decoder = map(copy.deepcopy, (encoder, book, parts.decoder))
        model = VQVAE(encoder, book, decoder, Gaussian(), grid).to(np, np.float64)
        for call in (model.loss, model.encode, model.reconstruct):
            with pytest.raises(
                ValueError, match=re.escape(f"= (3, {grid[0]}, {grid[1]}), got {got}")
            ):
                call(batch())
