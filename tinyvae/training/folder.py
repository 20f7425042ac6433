"""The folder of a run: one run at a time writes to it, and it keeps the results of earlier runs."""

import os
import shutil
import threading
from contextlib import contextmanager, suppress

from tinyvae.errors import UserError
from tinyvae.training.checkpoint import UNFINISHED, unfinished

try:
    import fcntl
except ImportError:  # Windows, where two runs in one folder are not noticed
    fcntl = None

OUTPUTS = "checkpoint.npz config.json history.csv metrics.json live_page.html figures".split()
_holders = {}  # path of a locked folder: the thread that locked it


@contextmanager
def locked(folder):
    """While this lasts, no other run writes to `folder`. None or a missing folder is ignored.

    The operating system ends the lock when the process ends, however it ends. The thread that
    holds a lock may lock the folder again. Raises UserError if another run holds it.
    """
    path, thread = os.path.realpath(folder or ""), threading.get_ident()
    ignored = fcntl is None or folder is None or not os.path.isdir(path)
    if ignored or _holders.get(path) == thread:
        yield
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"{folder}: another run is writing to this folder; wait until that run ends, or "
                "name another folder"
            ) from error
        except OSError:  # a file system without locks
            pass
        _holders[path] = thread
        try:
            _remove_unfinished(path)
            yield
        finally:
            del _holders[path]
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may keep it open
    finally:
        os.close(descriptor)


def set_aside(folder):
    """Move the results of an earlier run to earlier-<number> in the folder, and return that path.

    None if there are no results. First every file gets a second name in the new place, then the
    first names are removed. So if the process is killed here, one place holds all the results.
    """
    old = [folder / name for name in OUTPUTS if os.path.lexists(folder / name)]
    if not old:
        return None
    number = 1
    while os.path.lexists(folder / f"earlier-{number}"):
        number += 1
    earlier = folder / f"earlier-{number}"
    new = unfinished(earlier)
    os.mkdir(new)
    for path in old:
        if _is_folder(path):
            shutil.copytree(path, new / path.name, symlinks=True, copy_function=_link)
        else:
            _link(path, new / path.name)
    new.rename(earlier)
    for path in old:
        if _is_folder(path):
            shutil.rmtree(path)
        else:
            path.unlink()
    return earlier


def known_of(path):
    """What tells this file from one that another run writes in its place; None: it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _is_folder(path):
    return path.is_dir() and not path.is_symlink()


def _link(source, target):
    """Give a file a second name, or copy it where the file system has no such links."""
    try:
        os.link(source, target, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(source, target, follow_symlinks=False)


def _remove_unfinished(folder):
    """Remove what a killed process has left half written in a folder that is locked."""
    for place in (folder, os.path.join(folder, "figures")):
        with suppress(OSError):
            for entry in os.scandir(place):
                if entry.name.endswith(UNFINISHED):
                    if entry.is_dir(follow_symlinks=False):
                        shutil.rmtree(entry.path)
                    else:
                        os.remove(entry.path)
