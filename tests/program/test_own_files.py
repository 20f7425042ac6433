"""examples/train.py on data of one's own: files of every kind, from the first epoch to --resume."""

import json
import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from short_runs import result

from examples import train, train_mnist
from tinyvae.training.checkpoint import load_checkpoint

RUN = "--epochs 2 --latent-dim 2 --batch-size 32 --hidden 8 --network mlp --out run"


def table(n=120, seed=0):
    """Three columns of different units; the third is a sum of the others, and noise."""
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, n))
    return np.stack([100 + 20 * a, 0.01 * b, a + b + 0.1 * rng.standard_normal(n)], axis=1)


def pictures(n=60, size=(9, 13), channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *size, channels), dtype=np.uint8)


def write_idx(path, array):
    path.write_bytes(struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape))
    with open(path, "ab") as file:
        file.write(array.tobytes())


def csv_file(path):
    np.savetxt(path, table(), delimiter=",", header="length,mass,sum", comments="")


def npz_file(path):
    images, labels = pictures(), np.arange(60) % 13
    np.savez(
        path,
        x_train=images[:50],
        y_train=labels[:50],
        x_test=images[50:],
        y_test=labels[50:],
    )


def npy_file(path):
    np.save(path, pictures(channels=1, size=(8, 10))[..., 0])


def idx_folder(path):
    path.mkdir()
    images, labels = pictures(channels=1, size=(28, 28))[..., 0], np.arange(60, dtype=np.uint8) % 3
    write_idx(path / "train-images-idx3-ubyte", images[:50])
    write_idx(path / "train-labels-idx1-ubyte", labels[:50])
    write_idx(path / "t10k-images-idx3-ubyte", images[50:])
    write_idx(path / "t10k-labels-idx1-ubyte", labels[50:])


IMAGES = {"loss", "reconstructions", "samples", "interpolation", "latent_scatter", "kl"}
IMAGES |= {"traversal"}
TABLE = {"loss", "column_r2", "histograms", "latent_scatter", "kl"}
SOURCES = {  # what makes it, the shape of an example, the line about it, the figures
    "table.csv": (csv_file, [3], "96 training and 24 test examples, each 3 columns", TABLE),
    "pictures.npz": (npz_file, [3, 9, 13], "50 training and 10 test examples, each 3 x 9", IMAGES),
    "grey.npy": (npy_file, [1, 8, 10], "48 training and 12 test examples, each 1 x 8", IMAGES),
    "fashion": (idx_folder, [1, 28, 28], "50 training and 10 test examples, each 1", IMAGES),
}


@pytest.fixture(params=SOURCES.values(), ids=SOURCES)
def source(request, tmp_path):
    make, shape, about, figures = request.param
    (name,) = (name for name, known in SOURCES.items() if known is request.param)
    make(tmp_path / name)
    return name, shape, about, figures


def test_from_the_file_to_the_figures(source, capsys):
    name, shape, about, figures = source
    assert train.main(["--dataset", name, *RUN.split()]) == 0
    out = capsys.readouterr().out
    assert f"data set: {name}, {about}" in out
    checkpoint = load_checkpoint(Path("run/checkpoint.npz"))[1]
    assert checkpoint["model"]["shape"] == shape and checkpoint["dataset_source"] == name
    assert {path.stem for path in Path("run/figures").glob("*.png")} == figures
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert metrics["dataset"] == name and np.isfinite(metrics["test"]["total"])
    assert ("squared error per column" in out) == (shape == [3])
    assert ("squared error per pixel" in out) == (shape != [3])


def test_a_resumed_run_ends_bit_for_bit_the_same(source, no_figures, capsys):
    name = source[0]
    assert train.main(["--dataset", name, *RUN.split()]) == 0
    assert train.main(["--dataset", name, *f"{RUN}-parts --epochs 1".split()]) == 0
    assert train.main("--resume run-parts --epochs 2".split()) == 0
    assert result("run-parts") == result("run")
    for file in ("metrics.json", "config.json"):
        assert Path("run-parts", file).read_bytes() == Path("run", file).read_bytes()


def test_train_mnist_takes_the_same_files(source, no_figures):
    name = source[0]
    assert train_mnist.main(["--dataset", name, *RUN.split()]) == 0
    assert train.main(["--dataset", name, *f"{RUN}-2".split()]) == 0
    assert result("run") == result("run-2")


def test_a_table_is_standardized_and_told_in_its_own_units(no_figures, capsys):
    csv_file(Path("table.csv"))
    assert train.main(["--dataset", "table.csv", *RUN.split()]) == 0
    out = capsys.readouterr().out
    assert "the columns are standardized" in out
    assert "--network mlp, --likelihood gaussian" in out
    about = load_checkpoint(Path("run/checkpoint.npz"))[1]
    mean, std = np.array(about["columns"]["mean"]), np.array(about["columns"]["std"])
    assert 90 < mean[0] < 110 and 15 < std[0] < 25 and 0.005 < std[1] < 0.02
    total = json.loads(Path("run/metrics.json").read_text())["test"]["total"]
    assert f"of standardized columns; {total + np.log(std).sum():.2f} in the units of" in out
    test = json.loads(Path("run/metrics.json").read_text())["test"]
    assert len(test["r2_per_column"]) == 3
    assert f"R^2, mean over the columns  {np.mean(test['r2_per_column']):>13.3f}" in out


def test_small_images_and_tables_get_fully_connected_networks(no_figures, capsys):
    np.save("tiny.npy", pictures(size=(7, 12)))
    for name, network in (("tiny.npy", "mlp"), ("table.csv", "mlp"), ("grey.npy", "conv")):
        if name in SOURCES:
            SOURCES[name][0](Path(name))
        assert train.main(["--dataset", name, *"--epochs 1 --latent-dim 2".split()]) == 0
        folder = Path(f"runs/{name}-vae-{network}-z2")
        assert load_checkpoint(folder / "checkpoint.npz")[1]["model"]["network"] == network


def test_a_run_finds_data_that_have_moved_and_refuses_other_data(no_figures, capsys):
    csv_file(Path("table.csv"))
    assert train.main(["--dataset", "table.csv", *RUN.split()]) == 0
    Path("table.csv").rename("moved.csv")
    assert train.main("--resume run --epochs 3".split()) == 2
    assert "'table.csv', and there is no such file" in capsys.readouterr().err
    assert train.main("--resume run --epochs 3 --dataset moved.csv".split()) == 0
    np.savetxt("other.csv", table(seed=1), delimiter=",", header="length,mass,sum", comments="")
    capsys.readouterr()
    assert train.main("--resume run --epochs 4 --dataset other.csv".split()) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "the run was trained on moved.csv" in error and "give the same data" in error


CONSTANT = ["a,b,$c$,d_$x"] + [f"{i % 3},{i % 5 / 10},{-i * i},{i}" for i in range(30)]


def test_a_test_set_in_which_a_column_is_constant(capsys):
    """It has no R^2 there, which is no reason to fail after the training. And $ is no formula."""
    np.savez("pairs.npz", x_train=table(30), x_test=table(3) * [1, 0, 1])
    Path("$few$.csv").write_text("\n".join(CONSTANT[:9]))  # the test set is one row
    for name, r2 in (("pairs.npz", [True, False, True]), ("$few$.csv", [False] * 4)):
        assert train.main(["--dataset", name, *RUN.split(), "--epochs", "1"]) == 0
        metrics = json.loads(Path("run/metrics.json").read_text())
        assert [value is not None for value in metrics["test"]["r2_per_column"]] == r2
        assert {path.stem for path in Path("run/figures").glob("*.png")} >= {"column_r2", "loss"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_file_name_may_be_any_bytes(no_figures, capsys):
    csv_file(Path("table.csv"))
    name = os.fsdecode(b"caf\xe9.csv")
    Path("table.csv").rename(name)
    assert train.main(["--dataset", name, *RUN.split(), "--epochs", "1"]) == 0
    assert train.main("--resume run --epochs 2".split()) == 0
    assert "caf\\xe9.csv,2," in Path("run/history.csv").read_text("utf-8")


REFUSED = {
    "": "--dataset is required: a file .npz, .npy or .csv, or a folder of IDX files",
    "--dataset nothing.csv": "'nothing.csv', and there is no such file",
    "--dataset table.csv --network conv": "takes images of at least 8x8 pixels, got examples of",
    "--dataset table.csv --likelihood bernoulli": "expected values from 0 to 1 in x_train",
    "--dataset constant.csv": "found constant: column 'b'; leave out these columns",
    "--dataset words.csv": "'name'",
    "--dataset nan.npy": "expected finite values",
    "--dataset floats.npy": "expected the images in x_train of floats.npy",
    "--dataset table.csv --model vqvae": "--model vqvae takes images of at least 8x8 pixels, but",
    "--dataset small.npy --network conv": "at least 8x8 pixels, got examples of shape (1, 4, 4)",
}


@pytest.mark.parametrize("command, sentence", REFUSED.items(), ids=REFUSED)
def test_what_cannot_be_learned_from_is_told_in_a_sentence(
    capsys, tmp_path, monkeypatch, command, sentence
):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    csv_file(Path("table.csv"))
    constant = np.stack([np.arange(20.0), np.ones(20)], axis=1)
    np.savetxt("constant.csv", constant, delimiter=",", header="a,b", comments="")
    Path("words.csv").write_text("size,name\n1,small\n2,large\n")
    np.save("nan.npy", np.where(np.eye(5) > 0, np.nan, np.arange(5.0)))
    np.save("floats.npy", 3 * np.ones((20, 8, 8)))
    np.save("small.npy", pictures(size=(4, 4), channels=1)[..., 0])
    before = set(tmp_path.iterdir())
    try:
        code = train.main(command.split())
    except SystemExit as stop:
        code = stop.code
    last = capsys.readouterr().err.splitlines()[-1]
    assert code == 2 and last.startswith("train.py: ") and sentence in last
    assert set(tmp_path.iterdir()) == before  # nothing was begun
