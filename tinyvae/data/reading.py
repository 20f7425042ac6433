"""Opens a file of the user, or says in one sentence why it cannot be read and what to do."""

import os
import stat
from contextlib import contextmanager

from tinyvae.errors import UserError


@contextmanager
def open_file(path):
    """The ordinary file at this path, open to read bytes.

    Raises UserError where there is no such file, where it is a folder, a FIFO or a device, and
    where it cannot be read; each with a remedy of its own. That includes what goes wrong while
    the caller reads.
    """
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise UserError(f"{path}: expected a file, found a folder; name a file")
        if not stat.S_ISREG(mode):  # to open a FIFO would wait for its writer
            raise UserError(
                f"{path}: expected an ordinary file, found a FIFO, a socket or a device; copy the "
                f"data to a file first"
            )
        with open(path, "rb") as file:
            yield file
    except PermissionError as error:
        raise UserError(permission_denied(path)) from error
    except OSError as error:
        raise UserError(
            f"{path}: expected a readable file, found: {error.strerror or error}; check the path "
            f"and the disk"
        ) from error
    except MemoryError as error:
        raise UserError(
            f"{path}: expected data that fit into memory, found more; take fewer examples, or a "
            f"machine with more memory"
        ) from error


def permission_denied(path):
    """The sentence for a file or folder that the user may not read."""
    return (
        f"{path}: expected a file or folder that you may read, found no permission; change its "
        f"permissions (chmod) or ask its owner"
    )


def contents(folder, most=8):
    """The names of the files in a folder, for a message."""
    names = sorted(os.listdir(folder))
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more or "nothing"
