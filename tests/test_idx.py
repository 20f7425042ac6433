import errno
import gzip
import math
import os
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyvae.data import idx
from tinyvae.data.idx import DamagedFile, find_idx, idx_header, read_idx
from tinyvae.errors import UserError

ARRAY = np.random.default_rng(0).integers(0, 256, (3, 5, 4), dtype=np.uint8)
PLAIN = bytes([0, 0, 8, 3]) + struct.pack(">III", 3, 5, 4) + ARRAY.tobytes()


def read(tmp_path, content, ndim=3):
    path = tmp_path / "some.idx"
    path.write_bytes(content)
    return read_idx(path, ndim)


def refused(tmp_path, content, match, ndim=3):
    """The content is refused in a message that names the file, the trouble and the remedy."""
    with pytest.raises(DamagedFile, match=match) as caught:
        read(tmp_path, content, ndim)
    assert str(tmp_path / "some.idx") in str(caught.value)
    assert "replace it by an intact copy" in str(caught.value)


@given(shape=st.lists(st.integers(0, 5), min_size=1, max_size=4), compressed=st.booleans())
@settings(max_examples=40, deadline=None)
def test_what_was_written_is_read(tmp_path_factory, shape, compressed):
    array = np.arange(math.prod(shape), dtype=np.uint8).reshape(shape)
    content = idx_header(array.shape) + array.tobytes()
    back = read(
        tmp_path_factory.getbasetemp(),
        gzip.compress(content) if compressed else content,
        len(shape),
    )
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, array)


def test_header_is_the_formats():
    assert idx_header(ARRAY.shape) == PLAIN[:16]


def test_larger_than_one_chunk(tmp_path):
    array = np.random.default_rng(1).integers(0, 256, (3, 1 << 19), dtype=np.uint8)
    content = gzip.compress(idx_header(array.shape) + array.tobytes(), compresslevel=1)
    np.testing.assert_array_equal(read(tmp_path, content, 2), array)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    "content, match",
    [
        (b"", "two zero bytes, found nothing"),
        (PLAIN[:3], "two zero bytes, found 00 00 08"),
        (b"\1" + PLAIN[1:], "two zero bytes, found 01 00 08 03"),
        (b"\0\0\x0d" + PLAIN[3:], r"0x08 \(uint8\), found 0x0d"),
        (b"\0\0\x08\1" + PLAIN[4:], "3 dimensions, found 1"),
        (PLAIN[:15], "header of 16 bytes, found 15"),
        (PLAIN[:-1], "60 bytes as its header says, found 59"),
        (PLAIN + b"\0", "60 bytes as its header says, found more"),
    ],
    ids=["empty", "short", "magic", "type", "ndim", "header", "truncated", "trailing"],
)
def test_not_such_an_array(tmp_path, pack, content, match):
    refused(tmp_path, pack(content), match)


def test_broken_gzip_streams(tmp_path):
    stream = gzip.compress(PLAIN)
    refused(tmp_path, stream[:-1], "intact gzip stream")
    refused(tmp_path, stream[: len(stream) // 2], "intact gzip stream")
    refused(tmp_path, stream[:-5] + bytes([stream[-5] ^ 1]) + stream[-4:], "CRC")
    refused(tmp_path, stream + b"garbage", "intact gzip stream")


def test_unreadable_files(tmp_path):
    """Each cause has its own sentence, and none of them is called damage."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    causes = {
        tmp_path / "absent": "No such file.*check the path",
        tmp_path: "found a folder; name a file",
        fifo: "found a FIFO.*copy the data to a file",  # to open it would wait for ever
        "/dev/zero": "found a FIFO, a socket or a device",
    }
    for path, cause in causes.items():
        with pytest.raises(UserError, match=cause) as caught:
            read_idx(path, 3)
        assert str(caught.value).startswith(f"{path}: expected")
        assert not isinstance(caught.value, DamagedFile)


def test_permission_and_memory_have_their_own_remedies(tmp_path, monkeypatch):
    path = tmp_path / "some.idx"
    path.write_bytes(PLAIN)
    for error, remedy in (
        (PermissionError(errno.EACCES, "Permission denied"), "change its permissions"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error; check the path and"),
        (MemoryError(), "fit into memory"),
    ):

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr(idx, "_read_array", fail)
        with pytest.raises(UserError, match=remedy) as caught:
            read_idx(path, 3)
        assert not isinstance(caught.value, DamagedFile)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_promise_takes_no_memory(tmp_path, pack):
    """2^40 bytes cannot be in so short a file; 20,000 could be if compressed, but are not."""
    refused(tmp_path, pack(idx_header((1 << 20, 1 << 10, 1 << 10))), "a file that can hold")
    refused(tmp_path, pack(idx_header((20, 100, 10)) + b"abc"), "20000 bytes")


def peak_memory(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    bomb = gzip.compress(PLAIN + bytes(64 << 20))
    assert peak_memory(lambda: refused(tmp_path, bomb, "found more")) < 4 << 20


def test_a_large_promise_takes_only_what_arrives(tmp_path):
    """Incompressible bytes of one chunk's size: the header may promise 1000 times as much."""
    rest = np.random.default_rng(2).bytes(1 << 17)
    liar = gzip.compress(idx_header((100, 1 << 10, 1 << 10)) + rest)
    assert peak_memory(lambda: refused(tmp_path, liar, "found 131072")) < 4 << 20


def test_a_known_shape_bounds_the_memory(tmp_path):
    """A bomb that keeps its header's promise: 64 MB in 64 kB."""
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(idx_header((64, 1024, 1024)) + bytes(64 << 20)))

    def refuse():
        with pytest.raises(DamagedFile, match=r"shape \(3, 5, 4\), found \(64, 1024, 1024\)"):
            read_idx(path, 3, (3, 5, 4))

    assert peak_memory(refuse) < 4 << 20
    path.write_bytes(PLAIN)
    np.testing.assert_array_equal(read_idx(path, 3, (3, 5, 4)), ARRAY)


def test_data_sets_are_found_by_the_names_of_their_files(tmp_path):
    """Dashes or dots, .gz or not, a folder for each file, folders below, EMNIST's prefixes."""
    names = [
        "train-images-idx3-ubyte",
        "train-labels.idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-images-idx3-ubyte",
        "t10k-labels.idx1-ubyte/t10k-labels-idx1-ubyte",
        "raw/emnist-letters-train-images-idx3-ubyte.gz",
        "raw/emnist-letters-test-labels-idx1-ubyte",
        "a/b/train-images-idx3-ubyte",
        "a/b/c/train-labels-idx1-ubyte",  # three folders below: too far
        "train-images-idx3-ubyte.txt",
        "readme",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    top, raw, below = find_idx(tmp_path)
    assert top == (str(tmp_path), "", parts(tmp_path, *names[:2], names[3], names[2], names[4]))
    assert raw == (f"{tmp_path}/raw", "emnist-letters", parts(tmp_path, *names[5:7]))
    assert below == (f"{tmp_path}/a/b", "", parts(tmp_path, names[7]))
    assert find_idx(tmp_path / "readme") == find_idx(tmp_path / "absent") == []


def parts(folder, *names):
    """What find_idx says of these files, given in its order."""
    found = {}
    for name in names:
        half = "train" if "train" in name else "test"
        part = f"{'x' if 'images' in name else 'y'}_{half}"
        found.setdefault(part, []).append(str(folder / name))
    return found


def test_the_search_ends_in_a_folder_that_links_to_itself(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(PLAIN)
    place, _, found = find_idx(tmp_path)[0]
    assert place == str(tmp_path) and len(found["x_train"]) == 1


def corruptions(content):
    """Cut off, or up to three bytes replaced, inserted or removed."""
    positions = st.integers(0, len(content) - 1)
    edits = st.tuples(positions, st.integers(0, 2), st.binary(min_size=1, max_size=4))
    return st.one_of(
        positions.map(lambda end: content[:end]),
        st.lists(edits, min_size=1, max_size=3).map(lambda some: edited(content, some)),
    )


def edited(content, edits):
    for position, removed, inserted in edits:
        content = content[:position] + inserted + content[position + removed :]
    return content


@given(content=corruptions(gzip.compress(PLAIN, mtime=0)))
@settings(max_examples=300, deadline=None)
def test_a_damaged_gzip_file_is_refused_or_right(tmp_path_factory, content):
    try:
        array = read(tmp_path_factory.getbasetemp(), content)
    except UserError:
        return
    np.testing.assert_array_equal(array, ARRAY)


@given(content=corruptions(PLAIN))
@settings(max_examples=300, deadline=None)
def test_a_damaged_plain_file_is_refused_or_is_what_it_says(tmp_path_factory, content):
    """Nothing in a plain file tells one pixel from another, so it may hold other pixels."""
    try:
        array = read(tmp_path_factory.getbasetemp(), content)
    except UserError:
        return
    assert idx_header(array.shape) + array.tobytes() == content
