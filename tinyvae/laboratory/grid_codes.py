"""What grids of codes cost: a VQ-VAE's codes as data, and their length in bits by several priors.

A prior p over grids and the decoder send an image exactly: first the grid of its codes, in
-log2 p(grid) bits, then the image given the grid, in -log2 p(x|e) bits.
"""

import math

import numpy as np

from tinyvae.data import Dataset, to_float
from tinyvae.engine.backend import to_host
from tinyvae.rng import generator
from tinyvae.training import on_host
from tinyvae.training.evaluation import evaluate

BITS = 1 / math.log(2)  # in a nat


def grids(model, examples):
    """The codes of examples (N, ...), as a Dataset holds them: integers (N, h, w) on the host."""
    return on_host.in_batches(model, lambda x: model.encode(to_float(x)), examples)


def as_dataset(model, data):
    """The Dataset of the codes of all examples of a Dataset, one grid a row, for a CodePrior."""
    train, test = (grids(model, x) for x in (data.x_train, data.x_test))
    rows = (x.reshape(len(x), -1).astype(np.float32) for x in (train, test))
    return Dataset.from_arrays(next(rows), x_test=next(rows), name=f"codes of {data.name}")


def bits_of_frequencies(train, test, codes):
    """Bits per code of test (N, M) if each column has the frequencies of its column of train.

    One is added to each count, so that no code is impossible. A single column is a unigram model.
    """
    bits = 0.0
    for seen, sent in zip(train.T.astype(int), test.T.astype(int), strict=True):
        count = np.bincount(seen, minlength=codes) + 1
        bits -= np.log2(count / count.sum())[sent].mean()
    return float(bits / test.shape[1])


def code_lengths(model, prior, data, codes):
    """Numbers of a VQ-VAE and a CodePrior on the test set; codes: the Dataset of `as_dataset`.

    bits per code by four priors: uniform; the frequencies of the codes in the training set; the
    same for each position; the CodePrior. total: bits per image with each of them.
    """
    test, size = evaluate(model, data.x_test), codes.shape[0]
    train, sent = codes.x_train, codes.x_test
    bits = {
        "uniform": math.log2(prior.codes),
        "unigram": bits_of_frequencies(train.reshape(-1, 1), sent.reshape(-1, 1), prior.codes),
        "position": bits_of_frequencies(train, sent, prior.codes),
        "prior": evaluate(prior, codes.x_test)["bits_per_code"],
    }
    reconstruction = BITS * test["reconstruction"]
    return {
        "mse": test["mse"],
        "perplexity": test["perplexity"],
        "codes_in_use": test["codes_in_use"],
        "entropy_bits": math.log2(test["perplexity"]),
        "reconstruction_bits": reconstruction,
        "bits_per_code": bits,
        "total_bits": {name: reconstruction + size * value for name, value in bits.items()},
    }


def pictures(model, prior, examples, n, seed=0):
    """{row: images (n, ...)}: examples, their codes' maps (n, h, w) from 0 to 1, and samples.

    A code is shown by its rank along the first principal component of the codes that are used.
    """
    index, vectors = grids(model, examples), model.state_dict()["codebook.vectors"]
    centred = vectors - vectors[index.ravel()].mean(axis=0)
    _, _, axes = np.linalg.svd(centred[index.ravel()], full_matrices=False)
    rank = np.argsort(np.argsort(centred @ axes[0])) / max(1, len(vectors) - 1)
    rng = generator(seed, "grids of codes")
    drawn = {
        "prior": on_host.in_batches(model, model.decode, to_host(prior.sample(n, rng))),
        "uniform": on_host.in_batches(
            model, model.decode, rng.integers(0, len(vectors), (n, *model.grid))
        ),
    }
    return {
        "image": to_float(examples),
        "codes": rank[index],
        "decoded": on_host.in_batches(model, model.decode, index),
        **drawn,
    }
