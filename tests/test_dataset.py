"""What a Dataset holds, what it refuses, and what from_arrays converts."""

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from toys import small

from tinyvae import make_model
from tinyvae.data import Dataset
from tinyvae.data.files import load_file
from tinyvae.errors import UserError


def table(n=40, columns=("alcohol", "ash", "hue")):
    x = np.random.default_rng(1).normal([13, 2, 1], [0.8, 0.3, 0.2], (n, 3))
    return Dataset.from_arrays(x, x_test=x[:5] + 0.1, name="wine", columns=columns)


def refused(match, *args, **kwargs):
    with pytest.raises(UserError, match=match) as caught:
        Dataset.from_arrays(*args, **kwargs)
    assert "\n" not in str(caught.value) and ";" in str(caught.value)  # one sentence with a remedy


def grey(n=10, side=4):
    return np.random.default_rng(0).random((n, side, side))


def test_fingerprint_depends_on_every_array():
    dataset = small()
    assert dataset.fingerprint == small().fingerprint
    assert len(dataset.fingerprint) == 64 and int(dataset.fingerprint, 16)
    for field in ("x_train", "y_train", "x_test", "y_test"):
        changed = getattr(dataset, field).copy()
        changed.flat[-1] ^= 1
        assert dataclasses.replace(dataset, **{field: changed}).fingerprint != dataset.fingerprint
    assert dataset.head(5).fingerprint != dataset.fingerprint


def test_fingerprint_of_arrays_that_are_views():
    dataset = small()
    upside_down = dataclasses.replace(dataset, x_train=dataset.x_train[:, :, ::-1])
    copied = dataclasses.replace(dataset, x_train=upside_down.x_train.copy())
    assert upside_down.fingerprint == copied.fingerprint != dataset.fingerprint


def test_head_keeps_the_first_training_images():
    dataset = small()
    head = dataset.head(4)
    np.testing.assert_array_equal(head.x_train, dataset.x_train[:4])
    np.testing.assert_array_equal(head.y_train, dataset.y_train[:4])
    np.testing.assert_array_equal(head.x_test, dataset.x_test)
    np.testing.assert_array_equal(head.y_test, dataset.y_test)
    assert head.name == "MNIST" and len(dataset.x_train) == 6
    assert len(dataset.head(6).x_train) == 6


@pytest.mark.parametrize("train_size", [-1, 0, 7])
def test_head_refuses_what_is_not_there(train_size):
    with pytest.raises(UserError, match=f"from 1 to 6.*MNIST, got {train_size}$"):
        small().head(train_size)


def test_labels_may_be_missing():
    labelled = small()
    data = dataclasses.replace(labelled, y_train=None, y_test=None)
    assert data.head(3).y_train is None and len(data.head(3).x_train) == 3
    assert data.fingerprint != labelled.fingerprint


def test_fingerprint_tells_shapes_and_units_apart():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 2, 8), dtype=np.uint8)
    shapes = [(6, 2, 8), (6, 8, 2), (6, 16), (6, 4, 4)]
    some = [Dataset.from_arrays(pixels.reshape(s), x_test=pixels.reshape(s)) for s in shapes]
    assert len({data.fingerprint for data in some}) == len(shapes)
    wine = table()
    scaled = Dataset.from_arrays(wine.x_train * 2, x_test=wine.x_test * 2)
    assert scaled.standardized().fingerprint != wine.standardized().fingerprint
    assert wine.standardized().fingerprint == table().standardized().fingerprint


@pytest.mark.parametrize(
    "shape, example",
    [
        ((9, 5, 4), (1, 5, 4)),
        ((9, 1, 5, 4), (1, 5, 4)),
        ((9, 5, 4, 1), (1, 5, 4)),
        ((9, 5, 4, 3), (3, 5, 4)),
        ((9, 3, 5, 4), (3, 5, 4)),
        ((9, 7), (7,)),
    ],
)
def test_layouts(shape, example):
    x = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    data = Dataset.from_arrays(x, x_test=x[:2])
    assert data.shape == example and data.is_table == (len(example) == 1)
    assert data.x_train.dtype == np.uint8 and data.x_train.shape == (9, *example)
    last = shape[-1] in (1, 3) and len(shape) == 4
    np.testing.assert_array_equal(np.moveaxis(data.x_train, 1, -1) if last else data.x_train,
                                  x.reshape(9, *example) if not last else x)  # fmt: skip


@given(
    x=st.tuples(
        st.sampled_from(["f2", "f4", "f8", ">f8", "g", "i1", "i4", ">i8", "u2", "?"]),
        arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6),
    ).flatmap(
        lambda both: arrays.arrays(
            both[0], both[1], elements=arrays.from_dtype(
                np.dtype(both[0]), allow_nan=False, allow_infinity=False,
                **({"min_value": -1e4, "max_value": 1e4} if np.dtype(both[0]).kind == "f" else {}),
            ),
        )
    ),
    layout=st.sampled_from(["C", "F", "strided", "read-only", "list"]),
)  # fmt: skip
def test_any_numbers_in_any_layout_become_float32(x, layout):
    given_x = {
        "C": lambda: x,
        "F": lambda: np.asfortranarray(x),
        "strided": lambda: np.repeat(x, 2, axis=1)[:, ::2],
        "read-only": lambda: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
        "list": x.tolist,
    }[layout]()
    data = Dataset.from_arrays(given_x, x_test=x[:1])
    for array, expected in ((data.x_train, x), (data.x_test, x[:1])):
        assert array.dtype == np.float32 and array.flags.c_contiguous
        np.testing.assert_array_equal(array, expected.astype(np.float32))


def test_uint8_stays_and_zeros_and_ones_are_no_grey_levels():
    grey_levels = np.array([[0, 1, 2]] * 3, np.uint8)
    assert Dataset.from_arrays(grey_levels, x_test=grey_levels).x_train.dtype == np.uint8
    mask = np.array([[[0, 1], [1, 0]]] * 3, np.uint8)
    for x in (mask, mask.astype(bool), mask.astype(int)):
        data = Dataset.from_arrays(x, x_test=x[:1])
        assert data.x_train.dtype == data.x_test.dtype == np.float32
        np.testing.assert_array_equal(data.x_train[:, 0], mask)
    in_both = Dataset.from_arrays(mask, x_test=mask * 255)  # the test set shows 255
    assert in_both.x_train.dtype == np.uint8


def test_torch_tensors():
    torch = pytest.importorskip("torch")
    data = Dataset.from_arrays(torch.rand(10, 3, 4, 4), torch.arange(10)[:, None], x_test=None)
    assert data.shape == (3, 4, 4) and data.y_train.dtype == np.int64 and data.y_test.ndim == 1
    refused("NumPy cannot read .*requires grad", torch.rand(4, 3, requires_grad=True))
    refused("NumPy cannot read .*BFloat16", torch.rand(4, 3).bfloat16())


@pytest.mark.parametrize("labels", [[3, 0, 1], [[3], [0], [1]], np.array([3, 0, 1], "u1")])
def test_labels_stay_the_integers_that_they_are(labels):
    x = np.zeros((3, 2))
    data = Dataset.from_arrays(x, labels, x, labels)
    assert data.y_train.tolist() == data.y_test.tolist() == [3, 0, 1]
    assert data.y_train.dtype == data.y_test.dtype == np.int64


def test_a_split_is_stated_and_seeded(capsys):
    x, y = np.arange(44).reshape(11, 4), np.arange(11)
    data = Dataset.from_arrays(x, y, name="mine.npy")
    assert capsys.readouterr() == (
        "",
        "mine.npy has no test set: 2 of its 11 examples, drawn with seed 0, are the test set\n",
    )
    assert sorted([*data.y_train, *data.y_test]) == list(range(11)) and len(data.y_test) == 2
    for part, labels in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        np.testing.assert_array_equal(part, x[labels])
    assert Dataset.from_arrays(x, y).fingerprint == data.fingerprint
    assert list(data.y_test) != [9, 10] and list(data.y_test) != [0, 1]  # drawn, not cut off
    assert len(Dataset.from_arrays(x[:2]).x_test) == 1
    refused("at least 2 examples in arrays to split.*found 1;", x[:1])


def test_nothing_is_said_of_a_test_set_that_is_given(capsys):
    table()
    assert capsys.readouterr() == ("", "")


def test_refused_shapes():
    refused(r"which axis .* channels, found the shape \(5, 3, 32, 3\)", np.zeros((5, 3, 32, 3)))
    refused(r"1 or 3 channels.*\(5, 8, 8, 4\); select.*RGBA", np.zeros((5, 8, 8, 4)))
    refused(r"vectors \(N, D\), found the shape \(5,\); .*x\[:, None\]", np.zeros(5))
    refused(r"found the shape \(2, 2, 2, 2, 2\)", np.zeros((2, 2, 2, 2, 2)))
    refused("found the shape \\(\\)", 3.0)
    for shape in ((0, 3), (3, 0), (0, 4, 4)):
        refused("at least one example with at least one value", np.zeros(shape))
    refused("same dtype and shape.*uint8 .*float32", np.full((3, 2), 9, "u1"), x_test=[[0.5, 1]])
    refused(r"same dtype and shape.*\(3, 2\).*\(1, 3\)", np.zeros((3, 2)), x_test=[[1, 2, 3]])


def test_examples_of_different_sizes_are_refused_in_one_sentence():
    images = [np.zeros((4, 4)), np.zeros((5, 4))]
    refused("different sizes", images)
    mixed = np.empty(2, object)
    mixed[:] = images
    refused(r"one shape, found \(4, 4\) and \(5, 4\); crop", mixed)


@pytest.mark.parametrize("x", [[["a"]], [[1j]], [[None]], [["2020-01-01"]], [[{}]]])
def test_what_is_no_number_is_refused(x):
    refused("x_train of arrays to hold numbers, found", np.array(x))


def test_missing_values_are_refused_where_they_stand():
    x = np.zeros((6, 3), np.float32)
    x[4, 1] = np.nan
    refused(r"finite.* x_test of arrays, found nan at x_test\[4, 1\];", np.zeros((2, 3)), x_test=x)
    refused(r"found nan at x_train\[4, 1\], column 'b'", x, columns="abc")
    x[4, 1] = -np.inf
    refused(r"found -inf at x_train\[4, 1\]", x)
    x[4, 1] = np.inf
    refused(r"found inf at x_train\[4, 1\]", x)
    refused("found inf at", np.full((3, 2), 1e300))  # beyond float32
    refused("without missing values", np.ma.masked_equal(np.arange(6).reshape(3, 2), 3))
    images = grey()
    images[2, 1, 3] = np.nan
    refused(r"found nan at x_train\[2, 0, 1, 3\]", images)


def test_images_beyond_grey_levels_are_refused_with_the_range():
    refused(r"found 0 to 16; divide by the maximum, x / 16, or give uint8", images_to(16))
    refused(r"found 0 to 255;.*uint8", images_to(255).astype(int))
    refused(r"found 0 to 65535;", images_to(65535).astype(np.uint16))
    refused(r"found -1 to 1; .*\(x \+ 1\) / 2", images_to(2) - 1)


def images_to(high):
    x = np.floor(grey() * high)
    x[0, 0, :2] = 0, high
    return x


def test_refused_labels():
    x = np.zeros((5, 2))
    both = {"x_test": x}
    refused("y_train of arrays as integers, found float64; .*astype", x, np.zeros(5), **both)
    refused("y_train of arrays to hold numbers, found <U1; .*np.unique", x, list("abcde"))
    refused(
        r"one integer an example, found the shape \(5, 3\); .*argmax", x, np.eye(5, 3, dtype=int)
    )
    refused(r"5 labels in y_train of arrays, .*\(4,\)", x, range(4))
    refused("labels of 0 or more in y_train of arrays, found -1", x, [0, 1, -1, 2, 3])
    refused("both or neither.*found only y_train", x, range(5), **both)
    refused("both or neither.*found only y_test", x, y_test=range(5), **both)
    refused("x_test with y_test of arrays, found y_test alone", x, range(5), y_test=range(5))


def test_refused_columns():
    refused("one name for each column of arrays, found 2 names", np.zeros((3, 3)), columns="ab")
    refused("one name for each column of arrays, found 2 names", grey(), columns="ab")


def test_the_constructor_converts_nothing_and_says_who_does():
    x, y = small().x_train, small().y_train
    for wrong in (x.astype(float), x.tolist(), x[:, 0]):
        with pytest.raises(UserError, match="x_train of mine.*found.*Dataset.from_arrays"):
            Dataset("mine", wrong, y, x, y)
    for wrong in (y.astype(float), y.tolist()):
        with pytest.raises(UserError, match="y_test of mine.*Dataset.from_arrays"):
            Dataset("mine", x, y, x, wrong)


def test_standardized_columns():
    data = table()
    standard = data.standardized()
    assert standard.x_train.dtype == standard.x_test.dtype == np.float32
    np.testing.assert_allclose(standard.x_train.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(standard.x_train.std(axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(standard.mean, data.x_train.mean(axis=0), rtol=1e-6)
    for part in ("x_train", "x_test"):
        original = standard.original(getattr(standard, part))
        np.testing.assert_allclose(original, getattr(data, part), rtol=1e-6)
    assert standard.x_test.mean() > 0.1  # by the training set's statistics
    assert standard.columns == data.columns and standard.name == data.name
    assert standard.standardized() is standard
    assert data.original(data.x_test) is data.x_test


def test_standardized_bytes():
    x = np.random.default_rng(0).integers(0, 256, (30, 4), dtype=np.uint8)
    standard = Dataset.from_arrays(x, x_test=x[:3]).standardized()
    np.testing.assert_allclose(standard.x_train.std(axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(standard.original(standard.x_test), x[:3], atol=1e-4)


def test_constant_columns_are_named():
    x = np.random.default_rng(0).random((9, 4))
    x[:, 1], x[:, 3] = 0.1, 7
    for names, found in ((None, "column 1, column 3"), (list("abcd"), "column 'b', column 'd'")):
        data = Dataset.from_arrays(
            x, x_test=grey()[:, 0], columns=names
        )  # they vary in the test set
        with pytest.raises(UserError, match=f"found constant: {found}; leave out"):
            data.standardized()
    with pytest.raises(UserError, match="column 4 and 3 more;"):
        Dataset.from_arrays(np.zeros((5, 8), np.uint8)).standardized()
    with pytest.raises(UserError, match="expected a table.*found images"):
        small().standardized()


def test_require_range():
    table().require_range(-np.inf, np.inf)
    small().require_range(0, 1)  # bytes count as value / 255
    Dataset.from_arrays(grey()).require_range(0, 1)
    with pytest.raises(UserError, match="from 0 to 1 in x_train of wine, found .* gaussian"):
        table().require_range(0, 1)
    with pytest.raises(UserError, match="in x_test of arrays, found -3 to 0;"):
        Dataset.from_arrays([[0.5]], x_test=[[0], [-3]]).require_range(0, 1)
    with pytest.raises(UserError, match="found 0 to 1"):
        Dataset.from_arrays(np.array([[0, 255]] * 4, "u1")).require_range(0, 0.5)


def test_scikit_learns_digits_and_wine():
    sklearn = pytest.importorskip("sklearn.datasets")
    digits = sklearn.load_digits()
    refused("found 0 to 16; .*x / 16", digits.images, digits.target)
    data = Dataset.from_arrays(digits.images / 16, digits.target, name="8x8 digits")
    assert data.shape == (1, 8, 8) and len(data.x_test) == 359 and data.x_train.max() == 1
    wine = sklearn.load_wine()
    data = Dataset.from_arrays(wine.data, wine.target, columns=wine.feature_names).standardized()
    assert data.columns[0] == "alcohol" and data.shape == (13,)
    np.testing.assert_allclose(data.x_train.std(axis=0), 1, rtol=1e-5)


SECONDS = 1.7e9 + np.arange(0.0, 60_000, 600)  # timestamps of 17 hours
LARGE = {
    "seconds": (SECONDS, "up to 1.70006e+09, have a standard deviation of 1.73e+04, while float32"),
    "noise": (1e8 + 1e-3 * np.sin(SECONDS), "rounds them to multiples of 8; subtract the column"),
    "int64": (np.arange(100) + 2**40, "subtract the column's mean from it first"),
    "int32": (np.arange(100, dtype=np.int32) + 2**30, "subtract the column's mean from it first"),
}


@pytest.mark.parametrize("column, said", LARGE.values(), ids=LARGE)
def test_a_column_that_float32_would_round_away_is_refused(column, said):
    """In silence few values would be left of it, or it would be called constant."""
    table = np.stack([np.arange(100, dtype=column.dtype), column], axis=1)
    for columns, name in ((None, "column 1"), (("a", "t"), "column 't'")):
        with pytest.raises(
            UserError, match=f"float32 can hold, found {name}, whose .*{re.escape(said)}"
        ):
            Dataset.from_arrays(table, x_test=table[:9], columns=columns)
    kept = Dataset.from_arrays(table - table.mean(axis=0), x_test=table[:9] * 0).standardized()
    right = (column - column.mean()) / column.std()
    np.testing.assert_allclose(kept.x_train[:, 1], right, rtol=1e-4, atol=1e-4)


def test_the_same_column_in_a_csv_file(tmp_path):
    path = tmp_path / "log.csv"
    np.savetxt(
        path, np.stack([SECONDS, SECONDS % 7], axis=1), "%.17g", ",", header="t,b", comments=""
    )
    with pytest.raises(UserError, match="found column 't', whose values, up to 1.70006e"):
        load_file(path)


def test_ordinary_large_numbers_are_taken(tmp_path):
    years = np.repeat(np.arange(1990.0, 2021), 3)
    table = np.stack([years, 1e9 * years, years * 0 + 0.1], axis=1)
    assert Dataset.from_arrays(table, x_test=table[:9]).x_train.dtype == np.float32


def test_masked_values_are_refused_everywhere():
    """NumPy hands on what lies below a mask."""
    table = np.ma.masked_greater(np.ones((4, 3), np.float32) * np.arange(3, dtype=np.float32), 1)
    with pytest.raises(UserError, match="without missing values, found a masked array"):
        Dataset("masked", table, None, table, None)
    with pytest.raises(ValueError, match="none of them missing, got a masked array"):
        make_model("vae", "mlp", 2, "gaussian", shape=(3,)).embed(table)


def test_dark_images_of_uint8_are_not_taken_for_grey_levels():
    """scikit-learn's digits go to 16: as uint8 they would be nearly black, and all alike."""
    x = np.arange(17, dtype=np.uint8).repeat(10).reshape(-1, 2, 5)
    refused("from 0 to 255 in arrays, found none above 16; .* as floats, x / 16", x, x_test=x[:3])
    kept = Dataset.from_arrays(x / np.float32(16), x_test=x[:3] / np.float32(16))
    assert kept.x_train.max() == 1 and kept.x_train.dtype == np.float32
    assert Dataset.from_arrays(x * 4, x_test=x[:3]).x_train.max() == 64


def test_one_colour_image_is_no_stack_of_grey_ones():
    x = np.random.default_rng(0).random((48, 64, 3), np.float32)
    refused(
        "one colour image or many grey images of three columns, found the shape .48, 64, 3.;", x
    )
    assert Dataset.from_arrays(x[None], x_test=x[None]).shape == (3, 48, 64)
    assert Dataset.from_arrays(x[..., None], x_test=x[:1, ..., None]).shape == (1, 64, 3)
