"""Data sets from files of one's own: what is read, and what is refused in one sentence."""

import gzip
import os
import pickle
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyvae.data import files, load_dataset
from tinyvae.data.idx import idx_header
from tinyvae.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 9, 7), dtype=np.uint8)
LABELS = RNG.integers(0, 26, 20).astype(np.uint8)
MNIST_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def refused(path, match):
    """The path is refused in one sentence that names the file and ends in a remedy."""
    with pytest.raises(UserError, match=match) as caught:
        load_dataset(str(path))
    message = str(caught.value)
    assert os.path.basename(path) in message and "\n" not in message
    assert ";" in message and "expected" in message


def written(path, content):
    """A file of this text, bytes, or array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_text(content)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    return path


def idx_folder(folder, names=MNIST_NAMES, pack=bytes, ending="", without=()):
    arrays = IMAGES, LABELS, IMAGES[:6], LABELS[:6]
    for name, array in zip(names, arrays, strict=True):
        if name not in without:
            written(folder / (name + ending), pack(idx_header(array.shape) + array.tobytes()))
    return folder


def csv(tmp_path, text):
    return written(tmp_path / "table.csv", text)


def test_npz_with_the_keys_of_keras(tmp_path, capsys):
    path = tmp_path / "mnist.npz"
    np.savez(path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:5], y_test=LABELS[:5])
    data = load_dataset(str(path))
    assert data.name == "mnist.npz" and data.source == str(path)
    np.testing.assert_array_equal(data.x_train[:, 0], IMAGES)
    np.testing.assert_array_equal(data.y_test, LABELS[:5])
    assert capsys.readouterr() == ("", "")


def test_arrays_without_a_test_set(tmp_path, capsys):
    """x_train alone, a single array of any name, and .npy: the same data, the same split."""
    np.savez(tmp_path / "keys.npz", x_train=IMAGES)
    np.savez_compressed(tmp_path / "single.npz", pictures=IMAGES)
    np.save(tmp_path / "plain.npy", IMAGES)
    names = ("keys.npz", "single.npz", "plain.npy")
    data = [load_dataset(tmp_path / name) for name in names]
    assert len({one.fingerprint for one in data}) == 1 and data[0].y_train is None
    assert len(data[0].x_train) == 16 and len(data[0].x_test) == 4
    said = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in said] == [f"{name} has no test set" for name in names]
    np.savez(tmp_path / "labels.npz", x_train=IMAGES, y_train=LABELS)
    labelled = load_dataset(tmp_path / "labels.npz")
    assert labelled.y_train.shape == (16,) and labelled.y_test.shape == (4,)


def test_refused_keys(tmp_path):
    x = np.zeros((3, 2))
    for arrays, found in (
        ({"x": x, "y": x}, "found x, y; rename"),
        ({"x_train": x, "weights": x}, "found x_train, weights;"),
        ({"x_test": x, "y_test": x}, "found x_test, y_test;"),
        ({}, "found none;"),
    ):
        np.savez(tmp_path / "mine.npz", **arrays)
        refused(tmp_path / "mine.npz", found)


def test_refused_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=IMAGES, y_train=LABELS[:19])
    refused(tmp_path / "a.npz", r"20 labels in y_train of a.npz, .*\(19,\)")
    np.savez(tmp_path / "b.npz", x_train=IMAGES, x_test=IMAGES[:, 1:])
    refused(tmp_path / "b.npz", r"same .* shape.*\(20, 1, 9, 7\).*\(20, 1, 8, 7\)")
    np.savez(tmp_path / "c.npz", x_train=np.where(IMAGES[:, 0] == IMAGES[3, 0, 1], np.nan, 1))
    refused(tmp_path / "c.npz", r"found nan at x_train\[")
    refused(written(tmp_path / "d.npy", np.zeros((5, 8, 8)) + 16), "found 16 to 16; divide")
    refused(written(tmp_path / "e.npy", np.array(["a"])), "to hold numbers, found <U1")


def test_pickles_are_not_opened(tmp_path):
    """Neither as members of arrays nor as whole files."""

    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "opened"),))

    objects = np.empty(2, object)
    objects[:] = [Bomb(), np.zeros(3)]
    refused(written(tmp_path / "objects.npy", objects), "Python objects.*np.save")
    np.savez(tmp_path / "objects.npz", x_train=objects)
    refused(tmp_path / "objects.npz", "Python objects.*np.save")
    refused(written(tmp_path / "pickle.npy", pickle.dumps(Bomb())), "Python objects")
    assert not (tmp_path / "opened").exists()


def test_empty_missing_and_unknown_files(tmp_path):
    for ending in ("npy", "npz", "csv"):
        refused(written(tmp_path / f"empty.{ending}", b""), "found an empty file; save it again")
        refused(tmp_path / f"absent.{ending}", "there is no such file; correct the path")
    refused(tmp_path / "absent", "there is no such file")
    refused(written(tmp_path / "file.txt", "1"), "found the ending '.txt'; convert")
    refused(written(tmp_path / "train-images-idx3-ubyte", b"1"), "name the folder that it is in")
    written(tmp_path / "table.csv" / "inside.txt", "1")
    refused(tmp_path / "table.csv", "found inside.txt; name the folder")


def test_a_fifo_is_refused_and_not_waited_for(tmp_path):
    for name in ("fifo.npz", "fifo.csv"):
        os.mkfifo(tmp_path / name)
        refused(tmp_path / name, "found a FIFO, a socket or a device; copy")


def test_permission_has_its_own_remedy(tmp_path, monkeypatch):
    """Also for the superuser, who may read all: so the refusal is simulated."""

    def denied(*_):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.csv").write_text("1\n2\n")
    (tmp_path / "folder").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", denied)
        refused(tmp_path / "a.csv", "found no permission; change its permissions")
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "access", lambda *_: False)
        refused(tmp_path / "folder", "found no permission; change its permissions")


@pytest.fixture(scope="module")
def npz(tmp_path_factory):
    path = tmp_path_factory.mktemp("npz") / "whole.npz"
    np.savez_compressed(path, x_train=IMAGES, y_train=LABELS)
    return path.read_bytes()


@given(position=st.integers(0, 1200), inserted=st.binary(max_size=3), removed=st.integers(0, 200))
@settings(max_examples=200)
def test_a_damaged_file_is_refused_in_a_sentence(
    tmp_path_factory, npz, position, inserted, removed
):
    plain = b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2), }"
    plain = plain.ljust(127) + b"\n" + bytes(4)
    for whole, ending in ((npz, "npz"), (plain, "npy"), (b"a,b\n1,2\n3,4\n5,6\n7,8", "csv")):
        at = position % len(whole)
        path = tmp_path_factory.getbasetemp() / f"damaged.{ending}"
        path.write_bytes(whole[:at] + inserted + whole[at + removed :])
        try:
            load_dataset(str(path))
        except UserError as error:
            assert "\n" not in str(error) and "damaged" in str(error)


def test_csv_with_a_header_and_labels(tmp_path):
    data = load_dataset(csv(tmp_path, '\ufeffage, height,label\r\n1,2.5,3\r\n\r\n"4",-5e1,0.0\r\n'))
    assert data.columns == ("age", "height") and data.name == "table.csv"
    rows = np.concatenate([data.x_train, data.x_test])
    labels = np.concatenate([data.y_train, data.y_test])
    assert {(*row, label) for row, label in zip(rows.tolist(), labels.tolist(), strict=True)} == {
        (1, 2.5, 3),
        (4, -50, 0),
    }


def test_csv_without_a_header(tmp_path):
    data = load_dataset(csv(tmp_path, "1,2\n3,4\n5,6"))
    assert data.columns is None and data.y_train is None
    assert len(data.x_train) + len(data.x_test) == 3


@given(
    rows=st.lists(
        st.lists(
            st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3
        ),
        min_size=1,
    ),
    header=st.booleans(),
)
def test_csv_keeps_every_number(tmp_path_factory, rows, header):
    lines = ["a,b,c 3"] * header + [",".join(map(repr, row)) for row in rows]
    path = csv(tmp_path_factory.getbasetemp(), "\n".join(lines) + "\n")
    x, labels, names = files.read_csv(path)
    np.testing.assert_array_equal(x, np.array(rows))
    assert labels is None and names == (["a", "b", "c 3"] if header else None)


@pytest.mark.parametrize(
    "text, match",
    [
        ("a,b\n1,2\n3,x\n4,y\n", "found 'x' in row 3 of column 'b'; leave out"),
        ("a,b\nu,2\n3,x\n", "found 'u' in row 2 of column 'a', 'x' in row 3 of column 'b';"),
        ("1,2\n3,\n", "found '' in row 2 of column 2;"),
        (",1,2\n0,3,4\n", "found '' in row 1 of column 1;"),
        (
            "1,2,#N/A\n3,4,5\n",
            "found '#N/A' in row 1 of column 3; .*; if the first row is a header,",
        ),
        ("a,b\n1_2,3\n4,5\n", "found '1_2' in row 2 of column 'a'; leave out"),
        ("0,1,2\n5,6,7\n", "found the numbers of the columns, 0 to 2, in row 1; remove the row"),
        ("1.5 kg,2\n3,4\n", "found '1.5 kg' in row 1 of column 1; leave out"),
        ("1,2\n3%,4\n", "found '3%' in row 2 of column 1; .* by numbers$"),
        ("label,Label\n1,2\n", "expected one column of labels, found 2 named 'label'; rename"),
        ("label,x\n1e20,2\n", r"expected integers in column 'label', found 1e\+20 in row 2;"),
        ("a,b\n1,2\n\n3,nan\n", "found 'nan' in row 4 of column 'b';"),
        ("a,b\n1,2\n-inf,3\n", "found '-inf' in row 3 of column 'a';"),
        ("a,b\n1,2\n1e300,3\n", r"found '1e\+300' in row 3 of column 'a';"),
        ("a,b\n1,2\n1\n", "expected 2 values in each row, as in row 1, found 1 in row 3;"),
        ("a,b\n1,2,3\n", "found 3 in row 2;"),
        ("a,b\n", "found only a header; add the data"),
        ("\n\n", "found an empty file"),
        ("a;b\n1;2\n", "commas between the columns, found ';' in row 1;"),
        ("a\tb\n1\t2\n", "commas between the columns, found '.t' in row 1;"),
        ("a,label\n1,0\n2,1.5\n", "integers in column 'label', found 1.5 in row 3;"),
        ("a,Label\n1,0\n2,1.5\n", "integers in column 'Label', found 1.5 in row 3;"),
        (",a,b\n0,1,2\n1,3,4\n", "a name for each column, found none for column 1; .*pandas"),
        ("a,b, \n0,1,2\n", "a name for each column, found none for column 3;"),
        ("a,label\n1,0\n2,cat\n", "found 'cat' in row 3 of column 'label';"),
        ("a,label\n1,0\n2,-1\n", "labels of 0 or more in y_train of table.csv, found -1"),
        ("label\n1\n2\n", "at least one value"),
        (",".join("abcdefgh") + "\n" + ",".join("u" * 8), "column 'e' and 3 columns more;"),
        ("a\n" + "1" * 200_000, "found something else .field larger"),
    ],
)
def test_refused_csv(tmp_path, text, match):
    refused(csv(tmp_path, text), match)


def test_csv_in_another_encoding_is_refused(tmp_path):
    refused(written(tmp_path / "table.csv", "größe\n1\n".encode("utf-16")), "CSV in UTF-8")


@pytest.mark.parametrize("pack, ending", [(bytes, ""), (gzip.compress, ".gz")])
@pytest.mark.parametrize("prefix", ["", "emnist-letters-"])
@pytest.mark.parametrize("below", ["", "raw"])
def test_a_folder_of_idx_files(tmp_path, pack, ending, prefix, below, capsys):
    names = [prefix + (n.replace("t10k", "test") if prefix else n) for n in MNIST_NAMES]
    idx_folder(tmp_path / "FashionMNIST" / below, names, pack, ending)
    data = load_dataset(f"{tmp_path}/FashionMNIST/")
    assert data.name == "FashionMNIST" and data.source == f"{tmp_path}/FashionMNIST/"
    np.testing.assert_array_equal(data.x_train[:, 0], IMAGES)
    np.testing.assert_array_equal(data.y_train, LABELS)
    np.testing.assert_array_equal(data.x_test[:, 0], IMAGES[:6])
    np.testing.assert_array_equal(data.y_test, LABELS[:6])
    assert capsys.readouterr() == ("", "")


def test_refused_folders(tmp_path):
    (tmp_path / "nothing").mkdir()
    refused(tmp_path / "nothing", "four IDX files.* found nothing;")
    many = tmp_path / "many"
    for i in range(11):
        written(many / f"{i:02}.png", b"")
    refused(many, "found 00.png, .*, 07.png and 3 more;")
    part = idx_folder(tmp_path / "part", without=MNIST_NAMES[1])
    refused(part, r"found t10k-images.* \(only x_test, x_train, y_test\);")


def test_a_folder_of_several_data_sets_is_refused(tmp_path):
    for name in ("letters", "digits"):
        names = [f"emnist-{name}-{one.replace('t10k', 'test')}" for one in MNIST_NAMES]
        idx_folder(tmp_path / "gzip", names)
    refused(tmp_path / "gzip", "found .*emnist-digits, .*emnist-letters; name a folder")
    for name in ("MNIST", "KMNIST"):
        idx_folder(tmp_path / "torch" / name / "raw")
    refused(tmp_path / "torch", "found .*/KMNIST/raw.*, .*/MNIST/raw.*; name a folder")
    assert load_dataset(tmp_path / "torch" / "KMNIST").name == "KMNIST"
    idx_folder(tmp_path / "torch")  # nearer than the two
    assert load_dataset(tmp_path / "torch").name == "torch"


def test_damage_in_a_folder_names_the_file(tmp_path):
    folder = idx_folder(tmp_path / "mine")
    written(folder / MNIST_NAMES[2], b"damaged")
    with pytest.raises(UserError, match="mine/t10k-images-idx3-ubyte: expected .* intact copy"):
        load_dataset(folder)


@pytest.mark.parametrize("mark", ["NA", "null", "?", "-", ""])
def test_a_first_row_with_a_missing_value_is_no_header(tmp_path, mark):
    path = written(tmp_path / "table.csv", f"1,{mark},3\n4,5,6\n".encode())
    refused(path, f"found {re.escape(repr(mark))} in row 1 of column 2")


def test_a_header_may_name_columns_by_numbers_beside_the_labels(tmp_path):
    """As pandas writes a table of pixels: 0, 1, ..., 63, label."""
    x, labels, names = files.read_csv(csv(tmp_path, "0,1,label\n5,6,1\n7,8,0\n"))
    assert names == ["0", "1"] and labels.tolist() == [1, 0] and x.tolist() == [[5, 6], [7, 8]]


def test_a_line_of_spaces_is_an_empty_line(tmp_path):
    x, _, _ = files.read_csv(csv(tmp_path, "a,b\n1,2\n  \n3,4\n \n"))
    assert x.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("mark", ["# ", "#"])
def test_a_header_as_numpy_writes_it(tmp_path, mark):
    x, labels, names = files.read_csv(csv(tmp_path, f"{mark}label,a\n1,5\n0,7\n"))
    assert names == ["a"] and labels.tolist() == [1, 0] and x.tolist() == [[5], [7]]
