"""One file from which a run goes on as if it had never stopped.

An .npz of plain arrays and one JSON text, no pickle. It is written whole beside the old one, then
takes its place, so that at every moment, also after a power cut, one good checkpoint exists.
"""

import csv
import io
import json
import math
import os
import secrets
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from tinyvae.data.reading import open_file
from tinyvae.errors import UserError

FORMAT = "tinyvae checkpoint 1"
UNFINISHED = ".tinyvae-tmp"  # how the name of a file ends that is not whole yet


def save_checkpoint(path, arrays, about):
    """Write arrays {name: array} and `about`, anything that JSON can hold, to `path`."""
    text = json.dumps({"format": FORMAT, "arrays": sorted(arrays), **about})
    write_atomically(path, lambda file: np.savez(file, about=np.array(text), **arrays))


def load_checkpoint(path):
    """(arrays, about) of save_checkpoint.

    Raises UserError if there is no such file, it cannot be read, it is damaged, or it is something
    else. Whether a run can go on from it, Trainer.restore says.
    """
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{path}: there is no checkpoint; name the folder of a run that has begun to train"
        ) from error
    except OSError:
        pass  # open_file says what is wrong
    with open_file(path) as file:
        try:
            return _parse(file.read())
        except OSError:
            raise  # open_file says what is wrong
        except MemoryError as error:
            raise UserError(
                f"{path}: the checkpoint does not fit into memory ({error}); end other programs, "
                "or resume the run on a machine with more memory"
            ) from error
        except Exception as error:  # zipfile, zlib, json and NumPy have a dozen kinds for damage
            raise UserError(
                f"{path}: not a whole tinyvae checkpoint ({error}); it was cut short, changed, or "
                "written by something else; use another one or train anew"
            ) from error


def _parse(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        size = sum(member.file_size for member in archive.infolist())
        if size > len(content):  # save_checkpoint does not compress
            raise ValueError(f"it holds {len(content)} bytes, but its arrays would take {size}")
        arrays = {
            name.removesuffix(".npy"): _parse_array(archive.read(name))
            for name in archive.namelist()
        }
    about = json.loads(str(arrays.pop("about")))
    if about.pop("format") != FORMAT:
        raise ValueError("unknown format")
    if about.pop("arrays") != sorted(arrays):
        raise ValueError("arrays are missing")
    return arrays, about


def _parse_array(content):
    """The array in an .npy file. Takes memory only for the numbers that are there."""
    file = io.BytesIO(content)
    major, minor = np.lib.format.read_magic(file)
    shape, _, dtype = getattr(np.lib.format, f"read_array_header_{major}_{minor}")(file)
    if math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise ValueError(f"an array of shape {shape} has {len(content) - file.tell()} bytes")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def write_atomically(path, write):
    """Call write(file) on a new binary file that then takes the place of `path` at once."""
    temporary = unfinished(path)
    try:
        with open(temporary, "xb") as file:  # "x" follows no link and opens no existing file
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:  # such as a full disk, which half a file would keep full
        with suppress(OSError):
            os.remove(temporary)
        if isinstance(error, OSError) and error.errno:  # it names the temporary file, or none
            error.filename, error.filename2 = path, None
        raise


def unfinished(path):
    """A new name beside `path`, for what is to take its place when it is whole."""
    path = Path(path)
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}{UNFINISHED}")


def write_json(path, value):
    """Write value as indented JSON, atomically."""
    text = json.dumps(value, indent=2) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def write_csv(path, rows):
    """Write a list of dicts as a table, atomically; its columns are all their keys."""
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))
