"""Every random number comes from here: a generator for each (seed, purpose, epoch).

Nothing keeps a random state, so nothing has to be saved: a run draws the same numbers on CPU and
GPU, and a resumed run those that the uninterrupted one would have drawn.
"""

import zlib

import numpy as np


def generator(seed, purpose, epoch=0):
    """A NumPy generator that depends on these three alone.

    seed: non-negative integer; purpose: any word ("init", "shuffle", "noise", ...), so that two
    uses never share their numbers; epoch: counts the renewals of one use.
    """
    return np.random.Generator(
        np.random.Philox(np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), epoch]))
    )
