"""Mistakes on the command line: each is answered by one sentence and exit code 2."""

import errno
import os
import sys
from pathlib import Path

import pytest
from command_line import train

from examples import train_mnist
from tinyvae.data import load
from tinyvae.training import program
from tinyvae.training.checkpoint import load_checkpoint, save_checkpoint


def one_sentence(capsys, arguments):
    """The only line on stderr of a command that is refused with exit code 2."""
    capsys.readouterr()
    try:
        code = train_mnist.main(arguments)
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    assert code == 2
    assert err.startswith("train_mnist.py: ") and err.endswith("\n") and err.count("\n") == 1
    assert "Traceback" not in out + err
    return err


REFUSED = {
    "--model gan": "invalid choice: 'gan' (choose from",
    "--network resnet": "--network: invalid choice",
    "--likelihood poisson": "--likelihood: invalid choice",
    "--optimizer lion": "--optimizer: invalid choice",
    "--binarize yes": "--binarize: invalid choice",
    "--dataset cifar": "got 'cifar', and there is no such file",
    "--backend jax": "--backend: invalid choice",
    "--epochs 1.5": "--epochs: invalid int value: '1.5'",
    "--epochs ten": "--epochs: invalid int value: 'ten'",
    "--batch-size 1e2": "--batch-size: invalid int value: '1e2'",
    "--lr fast": "--lr: invalid float value: 'fast'",
    "--beta one": "--beta: invalid float value: 'one'",
    "--train-size all": "--train-size: invalid int value",
    "--epochs 0": "--epochs must be at least 1, got 0",
    "--epochs -3": "--epochs must be at least 1, got -3",
    "--latent-dim 0": "--latent-dim must be a whole number of at least 1, got 0",
    "--latent-dim -1": "--latent-dim must be a whole number of at least 1, got -1",
    "--batch-size 0": "--batch-size must be at least 1, got 0",
    "--samples 0": "--samples must be at least 1, got 0",
    "--seed -1": "--seed must be a finite number, not negative, got -1",
    "--seed nan": "--seed: invalid int value: 'nan'",
    "--lr 0": "--lr must be a finite number above 0, got 0.0",
    "--lr -0.1": "--lr must be a finite number above 0, got -0.1",
    "--lr nan": "--lr must be a finite number above 0, got nan",
    "--lr inf": "--lr must be a finite number above 0, got inf",
    "--lr 1e-999": "--lr must be a finite number above 0, got 0.0",
    "--beta -1": "--beta must be a finite number, not negative, got -1.0",
    "--beta nan": "--beta must be a finite number, not negative, got nan",
    "--beta inf": "--beta must be a finite number, not negative, got inf",
    "--kl-anneal nan": "--kl-anneal must be",
    "--kl-anneal -2": "--kl-anneal must be",
    "--kl-anneal inf": "--kl-anneal must be",
    "--free-bits -0.1": "--free-bits must be",
    "--free-bits nan": "--free-bits must be",
    "--model ae --beta 2": "--beta means nothing to the model Autoencoder",
    "--model ae --beta 0": "--beta means nothing to the model Autoencoder",
    "--model ae --kl-anneal 3": "--kl-anneal means nothing to the model Autoencoder",
    "--model ae --free-bits 0.1": "--free-bits means nothing to the model Autoencoder",
    "--model ae --samples 5": "--samples means nothing to the model Autoencoder",
    "--dataset digits --train-size 0": "training size from 1 to 400",
    "--dataset digits --train-size -5": "training size from 1 to 400",
    "--dataset digits --train-size 401": "synthetic digits, got 401",
    "--data-dir nowhere": "--data-dir to name a folder with MNIST's files, got nowhere",
    "--dataset mnist --data-dir nowhere": "got nowhere",
    "--dataset digits --data-dir .": "--data-dir is for MNIST",
    "--dataset digits --hidden 200": "--hidden is for --network mlp; leave it out, or use",
    "--dataset digits --network mlp --hidden 200,0": "--hidden must be whole numbers of at least 1",
    "--dataset digits --hidden 400": "--hidden is for --network mlp; leave it out, or use",
    "--hidden wide": "--hidden: must be whole numbers with commas between them, such as 200,100",
    "--hidden 200,": "--hidden: must be whole numbers with commas between them, such as 200,100",
    "--model hvae --upper ,": "--upper: must be whole numbers with commas between them, such as",
    "--out=": "--out: must name a file or a folder, got nothing",
    "--resume=": "--resume: must name a file or a folder, got nothing",
    "--data-dir=": "--data-dir: must name a file or a folder, got nothing",
    "--epoch 3": "unrecognized arguments: --epoch 3",
    "--learning-rate 1": "unrecognized arguments: --learning-rate 1",
    "digits": "unrecognized arguments: digits",
    "--epochs": "--epochs: expected one argument",
    "--resume": "--resume: expected one argument",
    "--resume nowhere": "there is no checkpoint; name the folder of a run",
    "--resume .": "there is no checkpoint; name the folder of a run",
    "--resume nowhere --lr 0.1": "takes the settings of the run; leave out --lr",
    "--resume . --seed 1 --model ae": "leave out --model, --seed",
    "--resume . --out here": "leave out --out",
    "--resume . --train-size 5": "leave out --train-size",
}


@pytest.mark.parametrize("command, sentence", REFUSED.items(), ids=REFUSED)
def test_bad_values_and_combinations(capsys, tmp_path, command, sentence):
    assert sentence in one_sentence(capsys, command.split())
    assert list(tmp_path.iterdir()) == []  # nothing was begun


def test_more_latent_dimensions_than_memory(capsys):
    command = "--dataset digits --network mlp --epochs 1 --latent-dim 100000000000"
    assert "--latent-dim" in one_sentence(capsys, command.split())


def test_a_batch_larger_than_the_data_is_one_batch(no_figures):
    assert train(f"--epochs 1 --batch-size {10**18} --out run") == 0
    assert load_checkpoint(Path("run/checkpoint.npz"))[1]["step"] == 1


def test_cupy_that_is_not_installed(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cupy", None)
    for command in ("--backend cupy", "--backend cupy --resume nowhere"):
        sentence = one_sentence(capsys, command.split())
        assert (
            "CuPy is not installed; install it with" in sentence and "--backend numpy" in sentence
        )
    assert list(tmp_path.iterdir()) == []


def test_out_that_cannot_be_a_folder(capsys):
    Path("file").write_text("precious")
    for out in ("file", "file/below"):
        sentence = one_sentence(capsys, ["--dataset", "digits", "--out", out])
        assert f"cannot use the file or folder {Path(out)}: " in sentence
    assert Path("file").read_text() == "precious"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that even root cannot write")
def test_out_that_cannot_be_written(capsys):
    sentence = one_sentence(capsys, ["--dataset", "digits", "--network", "mlp", "--out", "/proc"])
    assert "cannot use the file or folder /proc/" in sentence


def test_a_full_disk(no_figures, monkeypatch, capsys):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as fsync raises it: no file name

    monkeypatch.setattr(os, "fsync", full)
    assert train("--epochs 1 --out run") == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert "run/checkpoint.npz: the disk is full; make room, and go on from the last" in last
    assert not list(Path("run").glob("*.tmp"))  # half a checkpoint would keep the disk full


@pytest.fixture
def finished_run(no_figures, capsys):
    assert train("--epochs 1 --latent-dim 2 --out run") == 0
    return Path("run")


def test_resume_of_a_damaged_checkpoint(finished_run, capsys):
    path = finished_run / "checkpoint.npz"
    whole = path.read_bytes()
    for content in (whole[:-1], whole[: len(whole) // 2], whole[:100], b"", b"foreign"):
        path.write_bytes(content)
        sentence = one_sentence(capsys, ["--resume", "run"])
        assert f"{path}: not a whole tinyvae checkpoint" in sentence
        assert path.read_bytes() == content
    path.write_bytes(whole)
    assert train_mnist.main(["--resume", "run"]) == 0


def test_resume_with_other_values(finished_run, capsys):
    assert "--epochs must be at least 1" in one_sentence(capsys, "--resume run --epochs 0".split())
    assert train("--epochs 2 --latent-dim 2 --out longer") == 0
    sentence = one_sentence(capsys, "--resume longer --epochs 1".split())
    assert "has done more than 1 epochs; raise --epochs" in sentence
    load.DIGITS_TEST = 50
    assert "the same data" in one_sentence(capsys, "--resume run --epochs 2".split())


def test_resume_of_the_file_instead_of_its_folder(finished_run, capsys):
    sentence = one_sentence(capsys, ["--resume", str(finished_run / "checkpoint.npz")])
    assert "folder" in sentence and "cut short" not in sentence


@pytest.mark.parametrize("lost", ["model/encoder.mu.weight", "optimizer/M"])
def test_resume_of_a_checkpoint_that_lacks_something(finished_run, capsys, lost):
    path = finished_run / "checkpoint.npz"
    arrays, about = load_checkpoint(path)
    del arrays[lost]
    save_checkpoint(path, arrays, about)
    assert "run" in one_sentence(capsys, "--resume run --epochs 2".split())


@pytest.mark.parametrize(
    "change",
    [
        lambda about: about["config"].update(invented=1),
        lambda about: about["config"].update(lr="fast"),
        lambda about: about["model"].update(invented=1),
        lambda about: about["model"].update(latent_dim=3),
        *(
            lambda about, lost=lost: about.pop(lost)
            for lost in ("config", "model", "dataset_source", "train_examples", "sums", "history")
        ),
    ],
)
def test_resume_of_another_versions_checkpoint(finished_run, capsys, change):
    path = finished_run / "checkpoint.npz"
    arrays, about = load_checkpoint(path)
    change(about)
    save_checkpoint(path, arrays, about)
    assert "does not fit this version" in one_sentence(capsys, "--resume run --epochs 2".split())


def test_resume_of_a_checkpoint_with_a_changed_setting(finished_run, capsys):
    path = finished_run / "checkpoint.npz"
    arrays, about = load_checkpoint(path)
    about["model"]["latent_dim"] = "two"
    save_checkpoint(path, arrays, about)
    assert "got 'two'" in one_sentence(capsys, "--resume run --epochs 2".split())


def test_a_run_that_diverges_says_so(no_figures, capsys):
    assert train("--epochs 2 --batch-size 64 --lr 1e30 --out run") == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("train_mnist.py: training stopped at step ") and "--lr" in last
    assert load_checkpoint(Path("run/checkpoint.npz"))[1]["step"] == 0


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_run_that_diverges_in_its_last_step_says_so_too(no_figures, capsys):
    assert train("--epochs 1 --batch-size 200 --lr 1e30 --out run") == 2


def test_ctrl_c_while_measuring(no_figures, monkeypatch, capsys):
    """The checkpoint is there already; no traceback."""

    def interrupted(trainer):
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "write_metrics", interrupted)
    try:
        assert train("--epochs 1 --latent-dim 2 --out run") == 130
    except KeyboardInterrupt:  # which would end the tests
        pytest.fail("Ctrl-C got through")
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("interrupted") and "--resume" in last
    assert load_checkpoint(Path("run/checkpoint.npz"))[1]["epoch"] == 1
