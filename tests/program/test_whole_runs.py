"""Whole runs of the command line: what they write and print, and how one follows another."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from command_line import train
from short_runs import result

from examples import train_mnist
from tinyvae import make_model
from tinyvae.data import load
from tinyvae.models.registry import MODELS
from tinyvae.training import program
from tinyvae.training.checkpoint import load_checkpoint
from tinyvae.training.config import Config

ALL_FIGURES = {
    "loss",
    "reconstructions",
    "samples",
    "interpolation",
    "latent_scatter",
    "kl",
    "traversal",
}


def test_a_vae_from_beginning_to_end(capsys):
    assert train("--epochs 2 --latent-dim 3 --batch-size 64 --seed 5 --beta 0.5") == 0
    out, err = capsys.readouterr()
    folder = Path("runs/vae-mlp-z3-n200-batch-size64-beta0.5-seed5")
    assert {path.name for path in folder.iterdir()} == {
        "checkpoint.npz",
        "config.json",
        "figures",
        "history.csv",
        "metrics.json",
    }
    assert {path.stem for path in folder.glob("figures/*.png")} == ALL_FIGURES
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in folder.glob("figures/*"))

    config = json.loads((folder / "config.json").read_text())
    asked = {"epochs": 2, "batch_size": 64, "seed": 5, "beta": 0.5}
    assert Config(**config["config"]) == Config(**asked)
    assert config["model"] == make_model(network="mlp", latent_dim=3, seed=5).settings
    assert config["dataset_source"] == "digits"
    assert config["dataset"] == "synthetic digits"
    assert (config["train_examples"], config["test_examples"]) == (200, 60)

    with open(folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["dataset"], row["epoch"], row["beta"]) for row in rows] == [
        ("synthetic digits", "1", "0.5"),
        ("synthetic digits", "2", "0.5"),
    ]
    for row in rows:
        for of in ("train", "test"):
            total, reconstruction, kl, mse = (
                float(row[f"{of}_{name}"]) for name in ("total", "reconstruction", "kl", "mse")
            )
            assert total == pytest.approx(reconstruction + kl)
            assert 0 < kl < reconstruction and 0 < mse < 1
        assert 0 <= int(row["active_units"]) <= 3 and float(row["seconds"]) > 0

    metrics = json.loads((folder / "metrics.json").read_text())
    test, bound = metrics["test"], metrics["importance_weighted"]
    assert metrics["dataset"] == "synthetic digits" and metrics["epochs_done"] == 2
    for name in ("total", "reconstruction", "kl", "mse"):
        assert test[name] == float(rows[-1][f"test_{name}"])
    assert len(test["kl_per_dimension"]) == 3
    assert (bound["examples"], bound["samples"]) == (20, 5)

    assert "data set: synthetic digits, 200 training and 60 test examples, each 1 x 28 x 28" in out
    assert "--network mlp, --likelihood bernoulli" in out
    assert "cannot fall below" in out
    assert "epoch 2: test" in out and "epoch 2/2" in err
    summary = out[out.index("VAE after 2 epochs") :]
    assert "synthetic digits,\nin nats per example:" in summary
    for label, value in (
        ("negative ELBO", f"{test['total']:.2f}"),
        ("reconstruction", f"{test['reconstruction']:.2f}"),
        ("KL", f"{test['kl']:.2f}"),
        ("importance-weighted bound", f"{-bound['bound']:.2f}"),
        ("squared error per pixel", f"{test['mse']:.4f}"),
        ("active units", f"{test['active_units']} of 3"),
    ):
        (line,) = [line for line in summary.splitlines() if line.startswith(f"  {label} ")]
        assert value in line
    pictures, page, following = summary.splitlines()[-3:]
    assert pictures == f"pictures: {folder / 'figures'}/*.png"
    assert page.endswith(f"in a browser: python examples/live_page.py {folder}")
    assert following.startswith("try next: --latent-dim 2")


def test_an_autoencoder_from_beginning_to_end(capsys):
    assert train("--model ae --epochs 1 --latent-dim 2 --out here/and/there") == 0
    folder, out = Path("here/and/there"), capsys.readouterr().out
    figures = {path.stem for path in folder.glob("figures/*.png")}
    assert figures == ALL_FIGURES - {"kl", "traversal"}
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["test"]["total"] == metrics["test"]["reconstruction"]
    assert "importance_weighted" not in metrics
    assert "AE after 1 epochs" in out
    assert "KL" not in out[out.index("AE after") :] and "ELBO" not in out
    assert out.splitlines()[-1].startswith("try next: --model vae")


def test_profile_says_where_the_time_went(no_figures, capsys):
    assert train("--epochs 1 --latent-dim 2 --profile --out run") == 0
    out = capsys.readouterr().out
    assert "milliseconds a step" in out and "all around the steps" in out
    assert train_mnist.main("--resume run --epochs 2 --profile".split()) == 0
    assert "decoder.0 Linear" in capsys.readouterr().out
    assert train_mnist.main("--resume run --profile".split()) == 0  # nothing left to do
    assert "decoder.0 Linear" not in capsys.readouterr().out


def test_the_convolutional_vae(no_figures, capsys):
    given = "--dataset digits --train-size 70 --batch-size 32 --latent-dim 2 --epochs 1"
    assert train_mnist.main(given.split()) == 0
    _, about = load_checkpoint(Path("runs/vae-conv-z2-n70-batch-size32/checkpoint.npz"))
    assert about["model"]["network"] == "conv" and about["step"] == 3
    assert capsys.readouterr().out.splitlines()[-1].startswith("try next: --model ae")


def test_every_flag_reaches_the_run(no_figures, capsys):
    flags = (
        "--model vae --hidden 30,20 --latent-dim 4 --likelihood gaussian "
        "--beta 2.5 --kl-anneal 0.5 --free-bits 0.1 --epochs 1 --batch-size 50 --lr 0.002 "
        "--optimizer sgd --samples 2 "
        "--binarize dynamic --threads 3 --seed 7 --backend numpy --out run"
    )
    assert train(flags) == 0
    about = json.loads(Path("run/config.json").read_text())
    assert about["model"] == {
        "model": "vae",
        "network": "mlp",
        "latent_dim": 4,
        "likelihood": "gaussian",
        "hidden": [30, 20],
        "shape": [1, 28, 28],
        "seed": 7,
    }
    assert about["config"] == {
        "beta": 2.5,
        "kl_anneal": 0.5,
        "free_bits": 0.1,
        "epochs": 1,
        "batch_size": 50,
        "lr": 0.002,
        "optimizer": "sgd",
        "samples": 2,
        "binarize": "dynamic",
        "threads": 3,
        "seed": 7,
    }
    assert "grey levels" not in capsys.readouterr().out  # there is no such floor here


def test_the_default_settings_are_the_tutorials():
    given = program.parse_arguments(train_mnist.__doc__, "auto", [])
    assert given == {}
    with pytest.raises(SystemExit) as stop:
        train_mnist.main(["--help"])
    assert stop.value.code == 0


def test_help_names_every_flag_and_default(capsys):
    with pytest.raises(SystemExit):
        train_mnist.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for flag in (
        f"--backend {{numpy,cupy}} --model {{{','.join(MODELS)}}} --network {{conv,mlp}} --hidden "
        "--latent-dim --k --estimator {standard,stl,dreg} --upper --flow --codebook --classes "
        "--likelihood {bernoulli,gaussian} --beta --kl-anneal --free-bits --epochs --batch-size "
        "--lr --optimizer {adam,sgd} --samples --binarize {none,threshold,dynamic} "
        "--dataset --data-dir --train-size --threads --seed --out --resume "
        "--profile"
    ).split(" --"):
        assert f"--{flag.removeprefix('--')}" in text
    for default in ("20", "128", "0.001", "auto", "runs/<model>-<network>-z<latent>"):
        assert f"(default: {default})" in text or f"default: {default}" in text


def test_the_same_command_twice_and_the_earlier_results(no_figures, capsys):
    """The second run does not touch the first one's files, and ends the same."""
    command = "--epochs 1 --latent-dim 2 --out run"
    assert train(command) == 0
    first, files = result("run"), {p.name: p.read_bytes() for p in Path("run").glob("*.*")}
    Path("run/notes.txt").write_text("mine")
    assert train(command) == 0
    assert "now in run/earlier-1" in capsys.readouterr().out.replace(os.sep, "/")
    assert {p.name: p.read_bytes() for p in Path("run/earlier-1").glob("*.*")} == files
    assert Path("run/earlier-1/figures").is_dir() and Path("run/figures").is_dir()
    assert Path("run/notes.txt").read_text() == "mine"
    assert result("run") == first
    assert train(command) == 0
    assert result("run/earlier-2") == result("run/earlier-1") == first


def test_a_refused_command_leaves_the_earlier_results_alone(no_figures):
    assert train("--epochs 1 --latent-dim 2 --out run") == 0
    assert train_mnist.main("--dataset digits --out run --epochs 0".split()) == 2
    assert train_mnist.main("--dataset digits --out run --train-size 401".split()) == 2
    assert Path("run/checkpoint.npz").exists() and not Path("run/earlier-1").exists()


def test_resume_goes_on_with_the_settings_of_the_run(no_figures, capsys):
    settings = "--latent-dim 2 --binarize dynamic --samples 2 --kl-anneal 2 --seed 3 "
    assert train(settings + "--epochs 3 --out whole") == 0
    assert train(settings + "--epochs 2 --out parts") == 0
    capsys.readouterr()
    assert train_mnist.main("--resume parts --epochs 3".split()) == 0
    out = capsys.readouterr().out
    assert "epoch 3: test" in out and "epoch 2: test" not in out  # it did not begin anew
    assert "VAE after 3 epochs" in out
    assert result("parts") == result("whole")
    assert json.loads(Path("parts/config.json").read_text())["config"]["epochs"] == 3
    for name in ("metrics.json", "config.json"):
        assert Path("parts", name).read_bytes() == Path("whole", name).read_bytes()
    assert not Path("parts/earlier-1").exists()
    assert train_mnist.main("--resume parts".split()) == 0  # finished: it only measures again
    assert result("parts") == result("whole")


def test_synthetic_digits_are_announced_where_mnist_was_wanted(no_figures, monkeypatch, capsys):
    def unavailable(data_dir):
        raise load.DatasetUnavailable("there is no network")

    monkeypatch.setattr(load, "load_mnist", unavailable)
    command = "--network mlp --train-size 50 --epochs 1 --latent-dim 2"
    assert train_mnist.main(command.split()) == 0
    out, err = capsys.readouterr()
    assert "SYNTHETIC DIGITS" in err and "there is no network" in err
    assert "data set: synthetic digits" in out
    assert train_mnist.main([*command.split(), "--dataset", "mnist"]) == 2
    assert capsys.readouterr().err == "train_mnist.py: there is no network\n"


def test_every_number_of_a_run_is_finite(no_figures):
    assert train("--epochs 1 --latent-dim 2 --likelihood gaussian --out run") == 0
    arrays, about = load_checkpoint(Path("run/checkpoint.npz"))
    assert all(np.isfinite(array).all() for array in arrays.values())
    for path in ("run/metrics.json", "run/config.json"):
        json.loads(Path(path).read_text(), parse_constant=pytest.fail)
