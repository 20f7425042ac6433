"""One file from which a run goes on as if it had never stopped.

An .npz of plain arrays and one JSON text, no pickle. It is written whole beside the old one, then
takes its place, so that at every moment, also after a power cut, one good checkpoint exists.
"""

import csv
import io
import json
import os
from contextlib import suppress

import numpy as np

from tinyvae.errors import UserError

FORMAT = "tinyvae checkpoint 1"


def save_checkpoint(path, arrays, about):
    """Write arrays {name: array} and `about`, anything that JSON can hold, to `path`."""
    text = json.dumps({"format": FORMAT, "arrays": sorted(arrays), **about})
    write_atomically(path, lambda file: np.savez(file, about=np.array(text), **arrays))


def load_checkpoint(path):
    """(arrays, about) of save_checkpoint.

    Raises UserError if there is no such file, it is damaged, or it is something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(str(arrays.pop("about")))
        if about.pop("format") != FORMAT:
            raise ValueError("unknown format")
        if about.pop("arrays") != sorted(arrays):
            raise ValueError("arrays are missing")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{path}: there is no checkpoint; name the folder of a run that has begun to train"
        ) from error
    except Exception as error:  # zipfile, zlib, json and NumPy have a dozen kinds for damage
        raise UserError(
            f"{path}: not a whole tinyvae checkpoint ({error}); it was cut short, changed, or "
            "written by something else; use another one or train anew"
        ) from error
    return arrays, about


def arrays_under(prefix, arrays):
    """The arrays whose names begin with `prefix`, under the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def write_atomically(path, write):
    """Call write(file) on a new binary file that then takes the place of `path` at once."""
    temporary = f"{path}.tmp"
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:  # such as a full disk, which half a file would keep full
        with suppress(OSError):
            os.remove(temporary)
        raise


def write_json(path, value):
    """Write value as indented JSON, atomically."""
    text = json.dumps(value, indent=2) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def write_csv(path, rows):
    """Write rows, dicts with the same keys, as CSV with a header, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))
