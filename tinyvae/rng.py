"""Every random number comes from here: a generator for each (seed, purpose, epoch).

Nothing keeps a random state, so nothing has to be saved: a run draws the same numbers on CPU and
GPU, and a resumed run those that the uninterrupted one would have drawn.
"""

import zlib
from numbers import Integral

import numpy as np

from tinyvae.errors import UserError, shown


def require_generator(rng):
    """Raise ValueError unless rng is a NumPy generator."""
    if not isinstance(rng, np.random.Generator):
        raise ValueError(
            f"expected rng, a NumPy generator such as np.random.default_rng(0), got {shown(rng)}"
        )


def generator(seed, purpose, epoch=0):
    """A NumPy generator that depends on these three alone.

    seed: a whole number, not negative; purpose: any word ("init", "shuffle", "noise", ...), so that
    two uses never share their numbers; epoch: counts the renewals of one use. Raises UserError for
    another seed.
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
        raise UserError(f"--seed must be a whole number, not negative, got {shown(seed)}")
    return np.random.Generator(
        np.random.Philox(np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), epoch]))
    )
