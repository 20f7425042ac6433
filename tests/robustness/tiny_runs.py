"""Runs that take a hundredth of a second: what to train on, and with which settings."""

import numpy as np

TINY = {"hidden": (6,), "latent_dim": 2}  # for short_runs.trainer
RUN = "--dataset table.npy --hidden 6 --latent-dim 2 --batch-size 16"  # for examples/train.py


def write_table(path):
    """40 rows of these 50 are trained on, in 3 steps an epoch."""
    np.save(path, np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32))
