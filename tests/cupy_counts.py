"""Counts of what happens on the double of a device: calls, waits, copies.

with counted() as counts:
    step()
counts.calls, counts.names, counts.syncs, counts.uploads, counts.downloads
"""

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Counts:
    """What happened while a `with counted()` lasted."""

    names: Counter = field(default_factory=Counter)  # of the calls: each launches a kernel or more
    syncs: int = 0  # the host waited for the device
    uploads: int = 0
    downloads: int = 0

    @property
    def calls(self):
        return self.names.total()


_counting = []  # the Counts that are being added to


@contextmanager
def counted():
    """Count from zero while this lasts."""
    _counting.append(Counts())
    try:
        yield _counting[-1]
    finally:
        _counting.pop()


def note_call(name):
    for counts in _counting:
        counts.names[name] += 1


def note(*kinds):
    """Count one more of each: "syncs", "uploads", "downloads"."""
    for counts in _counting:
        for kind in kinds:
            setattr(counts, kind, getattr(counts, kind) + 1)
