"""A checkpoint file that is damaged, no file, or made to take memory: refused in one sentence."""

import io
import json
import os
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyvae.errors import UserError
from tinyvae.training import checkpoint
from tinyvae.training.checkpoint import load_checkpoint, save_checkpoint


def zipped(members, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def bomb(size):
    return zipped({"x.npy": npy(np.zeros(size, np.uint8))}, zipfile.ZIP_DEFLATED)


def lying_header():
    """An .npy of 8 bytes that says it holds 10^13 numbers."""
    content = npy(np.zeros(1)).replace(b"(1,)", b"(10000000000000,)")
    return zipped({"x.npy": content.replace(b" " * 13 + b"\n", b"\n")})


def one_array_many_times():
    """An archive whose directory names the same 8 MB a thousand times."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", npy(np.zeros(10**6)))
        archive.filelist *= 1000
    return file.getvalue()


@pytest.mark.parametrize("make", [lambda: bomb(10**8), lying_header, one_array_many_times])
def test_memory_is_taken_only_for_what_the_file_holds(tmp_path, make):
    content = make()
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="not a whole tinyvae checkpoint"):
            load_checkpoint(path)
        assert tracemalloc.get_traced_memory()[1] < 3e6 + 10 * len(content)
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
def test_what_is_no_ordinary_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", "/dev/zero"):
        with pytest.raises(UserError, match="expected an ordinary file"):
            load_checkpoint(path)


@pytest.mark.parametrize(
    "error, words",
    [
        (PermissionError(13, "Permission denied"), "change its permissions"),
        (OSError(5, "Input/output error"), "check the path and the disk"),
        (MemoryError(), "does not fit into memory"),
    ],
    ids=["permission", "disk", "memory"],
)
def test_an_unreadable_checkpoint_is_not_called_damaged(run, sentence, monkeypatch, error, words):
    assert run("--epochs 1 --out run") == 0

    class Unreadable(io.BytesIO):
        def read(self, *arguments):
            raise error

    monkeypatch.setattr("builtins.open", lambda *_, **__: Unreadable())
    with pytest.raises(UserError) as told:
        load_checkpoint("run/checkpoint.npz")
    assert words in str(told.value) and "train anew" not in str(told.value)
    assert "not a whole" not in str(told.value)


@given(data=st.data())
def test_damaged_bytes_are_refused_or_harmless(saved, tmp_path, data):
    """Cut, changed, inserted and moved bytes: never another error, never other numbers."""
    path = tmp_path / "checkpoint.npz"
    save_checkpoint(path, *saved)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        length = data.draw(st.integers(0, 40))
        content[at : at + length] = data.draw(st.binary(max_size=40))
    path.write_bytes(content)
    try:
        arrays, about = load_checkpoint(path)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert about == saved[1] and arrays.keys() == saved[0].keys()
        assert all(arrays[name].tobytes() == saved[0][name].tobytes() for name in arrays)


def test_the_archive_is_what_numpy_reads(saved, tmp_path):
    """The reader of this module and NumPy's agree."""
    save_checkpoint(tmp_path / "file.npz", *saved)
    with np.load(tmp_path / "file.npz", allow_pickle=False) as archive:
        assert {*archive.files} == {*saved[0], "about"}
        for name, array in saved[0].items():
            assert archive[name].tobytes() == array.tobytes()
    assert checkpoint.FORMAT in str(json.loads(str(np.load(tmp_path / "file.npz")["about"])))
