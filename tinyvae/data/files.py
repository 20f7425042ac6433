"""Reads a data set from a file or folder of the user: .npz, .npy, .csv, or four IDX files.

Whatever cannot be read is refused in one sentence that names the file, what was found, and what
to do.
"""

import csv
import io
import os
from array import array
from itertools import chain

import numpy as np

from tinyvae.data.dataset import Dataset
from tinyvae.data.idx import find_idx, read_idx
from tinyvae.data.reading import contents, open_file, permission_denied
from tinyvae.errors import UserError

KEYS = ("x_train", "y_train", "x_test", "y_test")
MISSING = {"", "na", "n/a", "null", "none", "?", "-", "."}  # how people mark a missing value
_SHOWN = 5  # as many faulty columns stand in one message


def load_file(path):
    """The Dataset in a file or a folder, called by the name of the file or folder.

    .npz: the arrays x_train, y_train, x_test, y_test, of which only x_train is needed, or a single
    array of any name; .npy: one array; .csv: see `read_csv`; a folder: four IDX files with the
    names that find_idx recognizes (EMNIST's images are transposed in its files, and stay so).
    Arrays may be what Dataset.from_arrays takes. Raises UserError.
    """
    name = os.path.basename(os.path.abspath(path))
    name = os.fsencode(name).decode("utf-8", "backslashreplace")  # a name may be any bytes
    if os.path.isdir(path):
        return _read_folder(path, name)
    ending = os.path.splitext(path)[1].lower()
    if ending in (".npz", ".npy"):
        return Dataset.from_arrays(**_read_numpy(path), name=name)
    if ending == ".csv":
        x, labels, columns = read_csv(path)
        return Dataset.from_arrays(x, labels, name=name, columns=columns)
    raise UserError(
        f"{path}: expected a file .npz, .npy or .csv, or a folder with IDX files, found the ending "
        f"{ending!r}; convert the file, or name the folder that it is in"
    )


def _read_folder(folder, name):
    if not os.access(folder, os.R_OK | os.X_OK):
        raise UserError(permission_denied(folder))
    found = find_idx(folder)
    whole = [group for group in found if len(group[2]) == len(KEYS)]
    nearest = [group for group in whole if group[0].count(os.sep) == whole[0][0].count(os.sep)]
    if not nearest:
        parts = sorted({part for _, _, parts in found for part in parts})
        raise UserError(
            f"{folder}: expected a folder with four IDX files, such as train-images-idx3-ubyte, "
            f"train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte, found "
            f"{contents(folder)}{' (only ' + ', '.join(parts) + ')' if parts else ''}; name the "
            f"folder that has all four"
        )
    if len(nearest) > 1:
        raise UserError(
            f"{folder}: expected the IDX files of one data set, found "
            f"{', '.join(os.path.join(place, prefix) for place, prefix, _ in nearest)}; name a "
            f"folder that has only the four files of one"
        )
    paths = {part: paths[0] for part, paths in nearest[0][2].items()}
    arrays = {part: read_idx(paths[part], 3 if part.startswith("x") else 1) for part in KEYS}
    x_train, y_train, x_test, y_test = arrays.values()
    return Dataset.from_arrays(x_train, y_train, x_test, y_test, name=name)


def _read_numpy(path):
    """The arrays in a .npz or .npy file, by the arguments of Dataset.from_arrays."""
    with open_file(path) as file:
        if not file.read(1):
            raise UserError(f"{path}: expected an array, found an empty file; save it again")
        file.seek(0)
        try:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"x": loaded}
            keys = list(loaded)
            if len(keys) == 1:
                return {"x": loaded[keys[0]]}
            if "x_train" in keys and set(keys) <= set(KEYS):
                return {key.removesuffix("_train"): loaded[key] for key in keys}
        except (OSError, MemoryError):
            raise
        except Exception as error:  # NumPy, zipfile and zlib have a dozen kinds for damage
            if "allow_pickle" in str(error):
                raise UserError(
                    f"{path}: expected arrays of numbers, found Python objects or another format; "
                    f"save examples of one size with np.save(path, x.astype(np.float32))"
                ) from error
            raise UserError(
                f"{path}: expected an intact file of NumPy, found damage ({error}); save it again"
            ) from error
    raise UserError(
        f"{path}: expected the arrays x_train and, if there are any, y_train, x_test, y_test, or a "
        f"single array, found {', '.join(keys) or 'none'}; rename them, and leave out the others"
    )


def read_csv(path):
    """A table of numbers, comma-separated: values (N, D) float64, labels (N,) or None, names.

    The first row is a header if it holds no number, or if it names a column "label"; without a
    header, names is None. The column named "label" or "Label", if any, holds integers; it becomes
    the labels. Raises UserError for rows of different lengths, for a column without a name, and for
    values that are no finite numbers, with the row as spreadsheets count it: the first row of the
    file is row 1.
    """
    try:
        with open_file(path) as file:
            text = io.TextIOWrapper(file, "utf-8-sig", newline="")
            rows = ((i, row) for i, row in enumerate(csv.reader(text), start=1) if not _blank(row))
            return _read_rows(path, rows)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path}: expected comma-separated text in UTF-8, found something else ({error}); save "
            f"it as CSV in UTF-8"
        ) from error


def _read_rows(path, rows):
    first = next(rows, (1, None))
    names = first[1]
    if names and names[0].startswith("#"):  # as np.savetxt marks a header
        names = [names[0].lstrip("#"), *names[1:]]
        first = (first[0], names)
    if names is None:
        raise UserError(f"{path}: expected rows of numbers, found an empty file; save it again")
    if len(names) == 1 and (other := [mark for mark in ";\t" if mark in names[0]]):
        raise UserError(
            f"{path}: expected commas between the columns, found {other[0]!r} in row {first[0]}; "
            f"save it with commas"
        )
    words = [value.strip().lower() for value in names if not _is_number(value)]
    named = len(words) == len(names) and not MISSING.issuperset(words)
    header = named or "label" in words
    if header:
        names = [name.strip() for name in names]
        if "" in names:
            raise UserError(
                f"{path}: expected a name for each column, found none for column "
                f"{names.index('') + 1}; name it, or leave it out (pandas writes row numbers so, "
                "without index=False)"
            )
    columns = len(names)
    if not words and columns > 2 and [*map(float, names)] == [*range(columns)]:
        raise UserError(
            f"{path}: expected a row of data or of names, found the numbers of the columns, "
            f"{names[0]} to {names[-1]}, in row {first[0]}; remove the row (pandas writes it "
            "without header=False), or name the columns by words"
        )
    values, numbers, refused = array("d"), [], {}
    for number, row in rows if header else chain([first], rows):
        if len(row) != columns:
            raise UserError(
                f"{path}: expected {columns} values in each row, as in row {first[0]}, found "
                f"{len(row)} in row {number}; complete the row or remove it"
            )
        try:
            if "_" in "".join(row):  # which Python takes for a mark between digits
                raise ValueError
            values.extend(map(float, row))
            numbers.append(number)
        except ValueError:
            for column, value in enumerate(row):
                if not _is_number(value):
                    refused.setdefault(column, (value, number))
    if refused:
        in_first = any(number == first[0] for _, number in refused.values())
        hint = "; if the first row is a header, name no column by a number" if in_first else ""
        _refuse_columns(path, names if header else None, refused, hint)
    table = np.frombuffer(values).reshape(-1, columns)
    if not len(table):
        raise UserError(f"{path}: expected rows of numbers, found only a header; add the data")
    return _split_labels(path, table, names if header else None, numbers)


def _split_labels(path, table, names, numbers):
    """Check the values of a table that has been read, and take out the column of labels."""
    with np.errstate(over="ignore"):
        x = table.astype(np.float32)
    faulty = {}
    for row, column in np.argwhere(~np.isfinite(x)):
        faulty.setdefault(column, (f"{table[row, column]:g}", numbers[row]))
    if faulty:
        _refuse_columns(path, names, faulty)
    lower = [name.lower() for name in names or ()]
    if "label" not in lower:
        return table, None, names
    if lower.count("label") > 1:
        raise UserError(
            f"{path}: expected one column of labels, found {lower.count('label')} named 'label'; "
            f"rename the others, or leave them out"
        )
    column = lower.index("label")
    labels = table[:, column]
    if (wrong := (labels != np.floor(labels)) | (np.abs(labels) >= 2**53)).any():
        row = wrong.argmax()
        raise UserError(
            f"{path}: expected integers in column {names[column]!r}, found {labels[row]:g} in row "
            f"{numbers[row]}; number the classes, or rename the column if it holds measurements"
        )
    names = names[:column] + names[column + 1 :]
    return np.delete(table, column, axis=1), labels.astype(np.int64), names


def _refuse_columns(path, names, refused, hint=""):
    """refused: {column: (value, row)}, the first faulty value in each faulty column."""
    found = [
        f"{value!r} in row {row} of column {repr(names[column]) if names else column + 1}"
        for column, (value, row) in sorted(refused.items())
    ]
    more = f" and {len(found) - _SHOWN} columns more" if len(found) > _SHOWN else ""
    raise UserError(
        f"{path}: expected finite numbers in all columns, found {', '.join(found[:_SHOWN])}{more}; "
        f"leave out these columns or rows, or replace the values by numbers{hint}"
    )


def _blank(row):
    """Whether a row is an empty line, or a line of spaces."""
    return len(row) < 2 and not "".join(row).strip()


def _is_number(value):
    try:
        float(value)
    except ValueError:
        return False
    return "_" not in value
