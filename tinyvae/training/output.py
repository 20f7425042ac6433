"""Lines for people on the terminal. No training ends because its output is closed, full or gone."""

import os
import sys
import threading
from contextlib import contextmanager, suppress

from tqdm import tqdm


class Bar(tqdm):
    """A progress bar with a lock of its own process.

    tqdm shares its lock with forked processes. One that is killed while it writes would keep it.
    """


Bar.set_lock(threading.RLock())


def say(text):
    """Print a line above the progress bar."""
    Bar.write(text, file=Lenient(sys.stdout))


def progress(**options):
    """A progress bar on stderr; tqdm has the options."""
    try:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()  # as tqdm does, which leaves half a bar if that fails
    except (OSError, ValueError):
        options["disable"] = True
    return Bar(file=Lenient(sys.stderr), **options)


class Lenient:
    """A text stream that is silent after `stream` has failed; None: it was closed all along.

    Characters that the encoding of `stream` lacks are written as escapes, such as \\xe9.
    """

    def __init__(self, stream):
        self._stream, self._failed = stream, stream is None

    def write(self, text):
        self._try(self._write, text)
        return len(text)

    def flush(self):
        self._try(lambda: self._stream.flush())

    def discard(self):
        """Throw away what a stream that failed still holds, or Python's exit would write it."""
        if self._failed:
            with suppress(OSError, ValueError, AttributeError):  # a stream without a descriptor
                descriptor = self._stream.fileno()
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, descriptor)
                os.close(null)

    def _try(self, write, *arguments):
        if not self._failed:
            try:
                write(*arguments)
            except (OSError, ValueError):  # ValueError: closed in Python
                self._failed = True

    def _write(self, text):
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def __eq__(self, other):  # tqdm asks whether a bar and a line share a terminal
        return other is self or other == self._stream

    __hash__ = object.__hash__


@contextmanager
def lenient_output():
    """While this lasts, sys.stdout and sys.stderr are Lenient: for a whole program."""
    for descriptor in range(3):  # a file of the run must not get the number of a closed stream
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = streams = Lenient(sys.stdout), Lenient(sys.stderr)
    try:
        yield
    finally:
        for stream in streams:
            stream.flush()
            stream.discard()
        sys.stdout, sys.stderr = before
