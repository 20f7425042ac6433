import json
import math

import numpy as np
import pytest

from examples import vqvae
from tinyvae import CodePrior, make_model
from tinyvae.data import Dataset, to_float
from tinyvae.laboratory import grid_codes
from tinyvae.training.state import load_model


@pytest.fixture
def data():
    x = np.random.default_rng(0).integers(0, 2, (30, 1, 8, 8), dtype=np.uint8) * np.uint8(255)
    return Dataset("squares", x[:20], None, x[20:], None)


@pytest.fixture
def model():
    made = make_model("vqvae", latent_dim=3, shape=(1, 8, 8), codes=5)
    made.codebook.vectors.value = 0.1 * np.random.default_rng(0).standard_normal((5, 3))
    return made


def test_codes_are_a_table_with_a_grid_in_each_row(data, model):
    codes = grid_codes.as_dataset(model, data)
    assert codes.name == "codes of squares" and codes.x_train.dtype == np.float32
    expected = model.encode(to_float(data.x_test)).reshape(10, 4)
    np.testing.assert_array_equal(codes.x_test, expected)
    assert codes.shape == (4,) and len(codes.x_train) == 20 and len(np.unique(codes.x_train)) > 1


def test_bits_of_frequencies_by_hand():
    train, test = np.array([[0, 1], [0, 2], [0, 1]]), np.array([[0, 1], [2, 1]])
    of_columns = (math.log2(6 / 4) + math.log2(6 / 1) + 2 * math.log2(6 / 3)) / 4
    assert grid_codes.bits_of_frequencies(train, test, 3) == pytest.approx(of_columns)
    together = (math.log2(9 / 4) + math.log2(9 / 2) + 2 * math.log2(9 / 3)) / 4
    columns = train.reshape(-1, 1), test.reshape(-1, 1)
    assert grid_codes.bits_of_frequencies(*columns, 3) == pytest.approx(together)


def test_code_lengths_add_up(data, model):
    codes = grid_codes.as_dataset(model, data)
    prior = CodePrior.build(5, model.grid, np.random.default_rng(0), width=4)
    found = grid_codes.code_lengths(model, prior, data, codes)
    x = to_float(data.x_test)
    log_px = model.terms(x)["reconstruction"]
    assert found["reconstruction_bits"] == pytest.approx(log_px / math.log(2), rel=1e-6)
    nll = prior.terms(codes.x_test)["nll"]
    assert found["bits_per_code"]["prior"] == pytest.approx(nll / (4 * math.log(2)), rel=1e-6)
    assert found["bits_per_code"]["uniform"] == math.log2(5)
    for name, bits in found["bits_per_code"].items():
        total = found["reconstruction_bits"] + 4 * bits
        assert found["total_bits"][name] == pytest.approx(total, rel=1e-12)


def test_vqvae(capsys, monkeypatch):
    monkeypatch.setattr(vqvae, "SAMPLES", 8)
    small = ["--codes", "16", "--epochs", "1", "--prior-epochs", "1"]
    assert vqvae.main(["--dataset", "digits", *small]) == 0
    with open("runs/vqvae/vqvae.json") as file:
        found = json.load(file)
    assert found["dataset"] == "synthetic digits, black and white" and found["codes"] == 16
    assert found["vae"]["total"] == pytest.approx(
        found["vae"]["reconstruction"] + found["vae"]["kl"], rel=1e-9
    )
    out = capsys.readouterr().out
    for codebook in ("gradient", "ema"):
        one, saved = found["vqvae"][codebook], load_model(f"runs/vqvae/vqvae-{codebook}")
        assert saved.settings["codebook"] == codebook and saved.theta.size == one["parameters"]
        assert one["bits_per_code"]["uniform"] == 4 and 1 <= one["codes_in_use"] <= 16
        assert one["entropy_bits"] == pytest.approx(math.log2(one["perplexity"]))
        assert f"{codebook}, prior" in out
    with open("runs/vqvae/vqvae.png", "rb") as file:
        assert file.read(4) == b"\x89PNG"
