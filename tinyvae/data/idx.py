"""IDX is the format of MNIST's files: a short header with the shape, then the bytes of the array.

A file may be damaged or hostile. Reading it takes no more memory than the header promises, and no
more than the file really holds.
"""

import gzip
import math
import os
import re
import struct
import zlib

import numpy as np

from tinyvae.data.reading import open_file
from tinyvae.errors import UserError

_UINT8 = 0x08  # the format's code for unsigned bytes, the only type that is read here
_GZIP_MAGIC = b"\x1f\x8b"
_DEFLATE_RATIO = 1032  # no deflate stream grows by more when it is decompressed
_CHUNK = 1 << 20
_NAME = re.compile(r"(?:(.+)-)?(train|t10k|test)-(images|labels)-idx[13]-ubyte(?:-gz)?")


_PARTS = {
    ("train", "images"): "x_train",
    ("train", "labels"): "y_train",
    ("t10k", "images"): "x_test",
    ("t10k", "labels"): "y_test",
    ("test", "images"): "x_test",
    ("test", "labels"): "y_test",
}


class DamagedFile(UserError):
    """The file can be read, but it does not hold the array that it should hold."""


def read_idx(path, ndim, shape=None):
    """The uint8 array with ndim dimensions in one IDX file, gzip-compressed or plain.

    The content decides which of the two it is, not the name. The format is that of LeCun, Cortes
    and Burges: two zero bytes, type code, ndim, the ndim sizes as big-endian 32-bit integers, data.
    Where a shape is given, the header must name this shape: then a file cannot take more memory.
    Raises DamagedFile where the file is damaged or holds anything but such an array, and UserError
    where it cannot be read.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        compressed = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        if not compressed:
            return _read_array(file, ndim, shape, size, path)
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                return _read_array(stream, ndim, shape, size * _DEFLATE_RATIO, path)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            _refuse(path, "an intact gzip stream", str(error))


def find_idx(folder):
    """The data sets of IDX files in a folder and up to two folders below it, nearest first.

    Each is (folder, prefix, {"x_train": paths, ...}), where paths lists the plain file before the
    compressed one. Recognized are the names of MNIST (train-images-idx3-ubyte, t10k-...) and of
    EMNIST (prefix emnist-letters, test-...), with dots for dashes, with .gz or without, each file
    also in a folder of the same name. Returns [] where the folder cannot be read.
    """
    found = {}
    top = os.path.abspath(folder)
    for path, folders, names in os.walk(folder, followlinks=True):
        depth = os.path.abspath(path).removeprefix(top).count(os.sep)
        folders[:] = sorted(folders) if depth < 2 else []
        for name in sorted(names, key=lambda name: (name.endswith(".gz"), name)):
            if match := _NAME.fullmatch(_plain(name)):
                own = _plain(os.path.basename(path)) == _plain(name).removesuffix("-gz")
                place = (os.path.dirname(path) if own else path, match[1] or "")
                paths = found.setdefault(place, {}).setdefault(_PARTS[match[2], match[3]], [])
                paths.append(os.path.join(path, name))
    nearest = sorted(found, key=lambda place: place[0].count(os.sep))
    return [(*place, found[place]) for place in nearest]


def _plain(name):
    """A file's name with dashes for the other separators that unpacking puts there."""
    return re.sub("[ ._-]+", "-", name.lower())


def idx_header(shape):
    """The bytes that precede a uint8 array of this shape in an uncompressed IDX file."""
    return struct.pack(f">4B{len(shape)}I", 0, 0, _UINT8, len(shape), *shape)


def _read_array(stream, ndim, expected, capacity, path):
    """capacity: the number of bytes that the stream can yield at most."""
    shape = _read_shape(stream, ndim, path)
    if expected is not None and shape != expected:
        _refuse(path, f"an array of shape {expected}", f"{shape}")
    length = math.prod(shape)
    if length > capacity:
        _refuse(path, f"{length} bytes as its header says", f"a file that can hold {capacity}")
    data = _read_at_most(stream, length + 1)
    if len(data) > length:
        _refuse(path, f"{length} bytes as its header says", "more after them")
    if len(data) < length:
        _refuse(path, f"{length} bytes as its header says", f"{len(data)}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _read_shape(stream, ndim, path):
    magic = _read_at_most(stream, 4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        _refuse(path, "an IDX file, which starts with two zero bytes", magic.hex(" ") or "nothing")
    if magic[2] != _UINT8:
        _refuse(path, f"type code 0x{_UINT8:02x} (uint8)", f"0x{magic[2]:02x}")
    if magic[3] != ndim:
        _refuse(path, f"{ndim} dimensions", f"{magic[3]}")
    sizes = _read_at_most(stream, 4 * ndim)
    if len(sizes) < 4 * ndim:
        _refuse(path, f"a header of {4 + 4 * ndim} bytes", f"{4 + len(sizes)}")
    return struct.unpack(f">{ndim}I", sizes)


def _read_at_most(stream, length):
    """Read chunk by chunk: read(length) would allocate all that the header promises at once."""
    data = bytearray()
    while len(data) < length and (chunk := stream.read(min(_CHUNK, length - len(data)))):
        data += chunk
    return data


def _refuse(path, expected, found):
    raise DamagedFile(f"{path}: expected {expected}, found {found}; replace it by an intact copy")
