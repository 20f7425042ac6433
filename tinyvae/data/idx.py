"""IDX is the format of the MNIST files: a short header with the shape, then the bytes themselves.

Reading trusts nothing in a file: it never takes more memory than the file really fills.
"""

import gzip
import math
import os
import struct
import zlib

import numpy as np

from tinyvae.errors import UserError

_UINT8 = 0x08  # the format's code for unsigned bytes, the only type that is read here
_GZIP_MAGIC = b"\x1f\x8b"
_MOST_DEFLATE_GAINS = 1032  # no deflate stream grows by more when decompressed
_CHUNK = 1 << 20


def read_idx(path, ndim):
    """The uint8 array with ndim dimensions in one IDX file, gzip-compressed or plain.

    The content decides which of the two it is, not the name. The format is that of LeCun, Cortes
    and Burges: two zero bytes, type code, ndim, the ndim sizes as big-endian 32-bit integers, data.
    Raises UserError where the file is missing or damaged or holds anything but such an array.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            compressed = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            if compressed:
                with gzip.GzipFile(fileobj=file) as stream:
                    return _read_array(stream, ndim, size * _MOST_DEFLATE_GAINS, path)
            return _read_array(file, ndim, size, path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        _refuse(path, "an intact gzip stream", str(error))
    except OSError as error:
        _refuse(path, "a readable file", error.strerror)


def idx_header(shape):
    """The bytes that precede a uint8 array of this shape in an uncompressed IDX file."""
    return struct.pack(f">4B{len(shape)}I", 0, 0, _UINT8, len(shape), *shape)


def _read_array(stream, ndim, capacity, path):
    """capacity: the number of bytes that the stream can yield at most."""
    shape = _read_shape(stream, ndim, path)
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
    """Grows with what arrives: read(length) would allocate what the header merely promises."""
    data = bytearray()
    while len(data) < length and (chunk := stream.read(min(_CHUNK, length - len(data)))):
        data += chunk
    return data


def _refuse(path, expected, found):
    raise UserError(f"{path}: expected {expected}, found {found}; replace it by an intact copy")
