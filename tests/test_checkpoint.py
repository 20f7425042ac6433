import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest

from tinyvae.errors import UserError
from tinyvae.training import checkpoint
from tinyvae.training.checkpoint import (
    load_checkpoint,
    save_checkpoint,
    write_atomically,
    write_json,
)

ARRAYS = {
    "model/encoder.0.weight": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    "optimizer/step": np.array(12),
    "sums": np.array([np.pi, -0.0]),
    "empty": np.zeros((0, 3)),
    "odd": np.array([np.nan, np.inf, 5e-324]),
}
ABOUT = {"step": 7, "seconds": 0.1, "name": "zwölf", "history": [{"epoch": 1, "loss": 1 / 3}]}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "checkpoint.npz"
    save_checkpoint(path, ARRAYS, ABOUT)
    return path


def assert_same(loaded, arrays=ARRAYS, about=ABOUT):
    loaded_arrays, loaded_about = loaded
    assert loaded_about == about
    assert loaded_arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        assert loaded_arrays[name].dtype == array.dtype
        assert loaded_arrays[name].shape == array.shape
        assert loaded_arrays[name].tobytes() == array.tobytes()


def refused(path, content=None):
    """The sentence with which load_checkpoint refuses a file of this content."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as error:
        load_checkpoint(path)
    sentence = str(error.value)
    assert sentence.startswith(f"{path}: ") and "\n" not in sentence
    return sentence


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def about(**changes):
    return np.array(json.dumps({"format": checkpoint.FORMAT} | changes))


def test_what_is_saved_is_loaded_bit_for_bit(saved):
    assert_same(load_checkpoint(saved))
    assert os.listdir(saved.parent) == ["checkpoint.npz"]


def test_the_last_save_counts(saved):
    save_checkpoint(saved, {"x": np.ones(3)}, {"step": 8})
    assert_same(load_checkpoint(saved), {"x": np.ones(3)}, {"step": 8})
    assert os.listdir(saved.parent) == ["checkpoint.npz"]


def test_numpy_alone_reads_it_without_pickle(saved):
    with np.load(saved, allow_pickle=False) as file:
        assert {*file.files} == {*ARRAYS, "about"}
        assert json.loads(str(file["about"]))["step"] == 7
        for name in ARRAYS:
            assert file[name].dtype != object


def test_a_save_that_fails_leaves_the_last_one(saved):
    class Broken:
        def __array__(self, dtype=None, copy=None):
            raise OSError("no space left on device")

    before = saved.read_bytes()
    with pytest.raises(OSError, match="no space left"):
        save_checkpoint(saved, {"whole": np.ones(1000), "broken": Broken()}, {})
    assert saved.read_bytes() == before
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_checkpoint(saved, {}, {"step": np.ones(1)})
    assert saved.read_bytes() == before
    save_checkpoint(saved, ARRAYS, ABOUT)  # what the failure left behind is no obstacle
    assert_same(load_checkpoint(saved))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_machine_that_stops_leaves_the_last_one(saved, monkeypatch, call):
    def stops(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, call, stops)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(saved, {"x": np.ones(3)}, {"step": 8})
    assert_same(load_checkpoint(saved))


def test_the_file_takes_its_place_only_when_it_is_on_the_disk(tmp_path, monkeypatch):
    path, calls = tmp_path / "file", []
    path.write_bytes(b"old")
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor):
        calls.append(("fsync", os.fstat(descriptor).st_size, path.read_bytes()))
        fsync(descriptor)

    def noted_replace(source, target):
        calls.append(("replace", os.path.getsize(source), path.read_bytes()))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    write_atomically(path, lambda file: file.write(b"brand new"))
    assert calls == [("fsync", 9, b"old"), ("replace", 9, b"old")]
    assert path.read_bytes() == b"brand new"


def test_json(tmp_path):
    write_json(tmp_path / "file.json", {"a": [1, 2.5], "b": None})
    text = (tmp_path / "file.json").read_text()
    assert json.loads(text) == {"a": [1, 2.5], "b": None}
    assert text.endswith("}\n") and len(text.splitlines()) > 3


def test_no_checkpoint_at_all(tmp_path):
    assert "there is no checkpoint" in refused(tmp_path / "checkpoint.npz")
    assert "there is no checkpoint" in refused(tmp_path / "no folder" / "checkpoint.npz")


def test_a_folder_is_no_checkpoint(tmp_path):
    assert "expected a file, found a folder" in refused(tmp_path)


def test_every_truncation_is_refused(saved):
    whole = saved.read_bytes()
    for length in [*range(0, 100), *range(100, len(whole), 23), len(whole) - 1]:
        assert "not a whole tinyvae checkpoint" in refused(saved, whole[:length])
    saved.write_bytes(whole)
    assert_same(load_checkpoint(saved))


def test_changed_numbers_are_refused(saved):
    """The archive carries a checksum of each array."""
    whole = saved.read_bytes()
    position = whole.index(ARRAYS["sums"].tobytes())
    for byte in range(position, position + 16):
        changed = bytearray(whole)
        changed[byte] ^= 1
        assert "not a whole tinyvae checkpoint" in refused(saved, bytes(changed))


def test_a_damaged_compressed_archive_is_refused(tmp_path):
    """tinyvae does not compress, but another program may have."""
    file = io.BytesIO()
    np.savez_compressed(file, about=about(arrays=["x"]), x=np.arange(1000))
    whole = file.getvalue()
    start = whole.index(b"x.npy") + 30
    for position in range(start, start + 20):
        changed = bytearray(whole)
        changed[position] ^= 255
        assert "not a whole tinyvae checkpoint" in refused(tmp_path / "file.npz", bytes(changed))


def test_no_flipped_bit_gets_through(saved):
    """Refused, or harmless: a date in the archive's directory may change."""
    whole = saved.read_bytes()
    directory = whole.index(b"PK\x01\x02")
    for position in [*range(0, directory, 7), *range(directory, len(whole))]:
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        saved.write_bytes(changed)
        try:
            loaded = load_checkpoint(saved)
        except UserError as error:
            assert "\n" not in str(error)
            continue
        assert_same(loaded)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 1000,
        b"PK\x03\x04 and then nothing",
        b"\x93NUMPY and then nothing",
        np.random.default_rng(0).bytes(5000),
        "Wörter".encode(),
        pickle.dumps({"about": 1}),
    ],
    ids=["empty", "zeros", "zip's start", "npy's start", "noise", "words", "pickle"],
)
def test_garbage_is_refused(tmp_path, content):
    assert "not a whole tinyvae checkpoint" in refused(tmp_path / "file", content)


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"x": np.ones(3)},
        {"about": np.ones(3)},
        *(
            {"about": np.array(text)}
            for text in (
                "no json",
                "3",
                "[]",
                "null",
                "{}",
                '{"format": null}',
                '{"format": "tinyvae checkpoint 1"}',
                '{"format": "tinyvae checkpoint 1", "arrays": ["lost"]}',
                '{"format": "tinyvae checkpoint 2"}',
            )
        ),
    ],
    ids=str,
)
def test_foreign_archives_are_refused(tmp_path, arrays):
    assert "not a whole tinyvae checkpoint" in refused(tmp_path / "file.npz", npz(**arrays))


def test_the_least_that_is_a_checkpoint(tmp_path):
    (tmp_path / "file.npz").write_bytes(npz(about=about(arrays=[])))
    assert load_checkpoint(tmp_path / "file.npz") == ({}, {})


def test_other_formats_of_numpy_and_zip_are_refused(tmp_path):
    file = io.BytesIO()
    np.save(file, np.ones(3))
    assert "not a whole tinyvae checkpoint" in refused(tmp_path / "array.npy", file.getvalue())
    with zipfile.ZipFile(tmp_path / "words.zip", "w") as archive:
        archive.writestr("about", "words")
        archive.writestr("about.npy", "words")
    assert "not a whole tinyvae checkpoint" in refused(tmp_path / "words.zip")


class Payload:
    """Unpickling this makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_inside_is_refused_and_not_run(tmp_path):
    trap = tmp_path / "sprung"
    content = npz(about=about(arrays=["x"]), x=np.array([Payload(trap)], dtype=object))
    assert "not a whole tinyvae checkpoint" in refused(tmp_path / "file.npz", content)
    content = pickle.dumps(Payload(trap))
    assert "not a whole tinyvae checkpoint" in refused(tmp_path / "file.npz", content)
    assert not trap.exists()
    pickle.loads(content)
    assert trap.exists()  # the trap is one
