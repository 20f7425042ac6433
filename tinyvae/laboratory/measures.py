"""Measures of a latent space and of what is decoded from it, from NumPy arrays on the host.

Codes are (N, L), images (N, C, H, W) in [0, 1]. None of them knows what kind of model it measures.
"""

import numpy as np
from scipy.linalg import solve_triangular
from scipy.spatial import cKDTree
from scipy.special import ndtri
from scipy.stats import mannwhitneyu, norm

from tinyvae.rng import generator

CHUNK = 500  # images compared with all real ones at a time: bounds the memory


def knn_accuracy(codes, labels, test_codes, y_test, k=10):
    """The share of test codes whose label most of their k nearest codes have.

    Equally many votes go to the smaller label. Cover and Hart 1967.
    """
    _, nearest = cKDTree(codes).query(test_codes, k)  # (N, k)
    votes = labels[nearest.reshape(len(test_codes), k)][:, :, None] == np.arange(labels.max() + 1)
    return float((votes.sum(axis=1).argmax(axis=1) == y_test).mean())


def distance_to_prior(codes, directions=200, seed=0):
    """The sliced Wasserstein-2 distance of codes (N, L) to the prior N(0, I).

    Along a direction u the codes have a quantile function F, and the prior has the normal's, Q; the
    distance is the root of the mean, over random u, of the integral of (F(t) - Q(t))^2 over t from
    0 to 1. Rabin, Peyre, Delon and Bernot 2012; Bonneel, Rabin, Peyre and Pfister 2015. The prior's
    side is exact, without draws from it. 0 only for the prior; in the units of the codes.
    """
    n, latent_dim = codes.shape
    u = generator(seed, "directions").standard_normal((latent_dim, directions))
    along = np.sort(codes @ (u / np.linalg.norm(u, axis=0)), axis=0)  # (N, directions)
    # F is along[i] for t from i/N to (i + 1)/N, and the integral of Q to t is -density(Q(t))
    share = np.diff(-norm.pdf(ndtri(np.arange(n + 1) / n)))
    squared = (along**2).mean() - 2 * (share @ along).mean() + 1
    return float(np.sqrt(max(squared, 0)))


def standardize(codes):
    """Codes (N, L) moved, stretched and sheared to mean 0 and covariance I: only shape is left."""
    centred = codes - codes.mean(axis=0, dtype=np.float64)
    root = np.linalg.cholesky(centred.T @ centred / len(codes))
    return solve_triangular(root, centred.T, lower=True).T


def smoothness(paths):
    """From decoded paths (P, T, C, H, W), two means over the P paths: (length, worst step).

    A step is the Euclidean distance of two images that follow each other. length: the sum of the
    steps over the distance of the path's ends, 1 for a cross-fade and more for a detour; worst
    step: the largest over the mean one, 1 for even steps and T - 1 for one jump.
    """
    paths = paths.reshape(*paths.shape[:2], -1)
    steps = np.linalg.norm(np.diff(paths, axis=1), axis=2)  # (P, T - 1)
    ends = np.linalg.norm(paths[:, -1] - paths[:, 0], axis=1)
    length, worst = steps.sum(axis=1) / ends, steps.max(axis=1) / steps.mean(axis=1)
    return float(length.mean()), float(worst.mean())


def distance_to_nearest(images, real):
    """The mean squared difference per pixel of each image to the nearest of `real`, (N,)."""
    images, real = (x.reshape(len(x), -1).astype(np.float32) for x in (images, real))
    pixels, length = images.shape[1], (real * real).sum(axis=1)
    nearest = np.empty(len(images))
    for start in range(0, len(images), CHUNK):
        x = images[start : start + CHUNK]
        # |x - r|^2 = |x|^2 + |r|^2 - 2 x r
        squared = (x * x).sum(axis=1) + (length - 2 * (x @ real.T)).min(axis=1)
        nearest[start : start + CHUNK] = np.maximum(squared, 0) / pixels
    return nearest


def roc_auc(inside, outside):
    """The probability that a score of `outside` is above one of `inside`, ties counting half.

    This is the area under the ROC curve, and Mann and Whitney's U over the number of pairs: Hanley
    and McNeil 1982. 1: the scores tell them apart; 0.5: they do not; below: they mislead.
    """
    inside, outside = np.asarray(inside, np.float64), np.asarray(outside, np.float64)
    return float(mannwhitneyu(outside, inside).statistic / (len(inside) * len(outside)))
