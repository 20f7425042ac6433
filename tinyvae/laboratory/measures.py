"""Measures of latent spaces and of decoded images, for any model, from NumPy arrays.

Codes are (N, L), images (N, C, H, W) in [0, 1].
"""

import numpy as np
from scipy.linalg import solve_triangular
from scipy.spatial import cKDTree
from scipy.special import ndtri
from scipy.stats import mannwhitneyu, norm

from tinyvae.rng import generator

CHUNK = 500  # images compared with all real images at a time, to limit the memory


def knn_accuracy(codes, labels, test_codes, y_test, k=10):
    """The accuracy of a k-nearest-neighbour classifier on the test codes. Cover and Hart 1967.

    The k nearest codes vote with their labels; of labels with equally many votes the smallest wins.
    """
    _, nearest = cKDTree(codes).query(test_codes, k)  # (N, k)
    votes = labels[nearest.reshape(len(test_codes), k)][:, :, None] == np.arange(labels.max() + 1)
    return float((votes.sum(axis=1).argmax(axis=1) == y_test).mean())


def distance_to_prior(codes, directions=200, seed=0):
    """The sliced Wasserstein-2 distance of codes (N, L) to the prior N(0, I).

    Along a direction u the codes have a quantile function F, and the prior has the quantile
    function Q of N(0, 1). The distance is the root of the mean over random u of the integral of
    (F(t) - Q(t))^2 over t from 0 to 1. Rabin, Peyre, Delon and Bernot 2012; Bonneel, Rabin, Peyre
    and Pfister 2015. Q is exact, not estimated from samples. The distance has the unit of the
    codes; it is 0 only if the codes are distributed like the prior.
    """
    n, latent_dim = codes.shape
    u = generator(seed, "directions").standard_normal((latent_dim, directions))
    along = np.sort(codes @ (u / np.linalg.norm(u, axis=0)), axis=0)  # (N, directions)
    # F is along[i] for t from i/N to (i + 1)/N, and the integral of Q to t is -density(Q(t))
    share = np.diff(-norm.pdf(ndtri(np.arange(n + 1) / n)))
    squared = (along**2).mean() - 2 * (share @ along).mean() + 1
    return float(np.sqrt(max(squared, 0)))


def standardize(codes):
    """Codes (N, L), shifted and multiplied by a matrix: their mean is 0, their covariance I."""
    centred = codes - codes.mean(axis=0, dtype=np.float64)
    root = np.linalg.cholesky(centred.T @ centred / len(codes))
    return solve_triangular(root, centred.T, lower=True).T


def smoothness(paths):
    """From decoded paths (P, T, C, H, W), two means over the P paths: (length, worst step).

    A step is the Euclidean distance between two successive images. length: the sum of the steps
    divided by the distance between the ends of the path. It is 1 for a cross-fade and larger for a
    detour. worst step: the largest step divided by the mean step. It is 1 if all steps are equal
    and T - 1 for a single jump.
    """
    paths = paths.reshape(*paths.shape[:2], -1)
    steps = np.linalg.norm(np.diff(paths, axis=1), axis=2)  # (P, T - 1)
    ends = np.linalg.norm(paths[:, -1] - paths[:, 0], axis=1)
    length, worst = steps.sum(axis=1) / ends, steps.max(axis=1) / steps.mean(axis=1)
    return float(length.mean()), float(worst.mean())


def distance_to_nearest(images, real):
    """The mean squared difference per pixel between each image and the nearest real image, (N,)."""
    images, real = (x.reshape(len(x), -1).astype(np.float32) for x in (images, real))
    pixels, length = images.shape[1], (real * real).sum(axis=1)
    nearest = np.empty(len(images))
    for start in range(0, len(images), CHUNK):
        x = images[start : start + CHUNK]
        # |x - r|^2 = |x|^2 + |r|^2 - 2 x r
        squared = (x * x).sum(axis=1) + (length - 2 * (x @ real.T)).min(axis=1)
        nearest[start : start + CHUNK] = np.maximum(squared, 0) / pixels
    return nearest


def roc_auc(negatives, positives):
    """The area under the ROC curve, from the scores of negatives (N,) and of positives (P,).

    It is the probability that a random positive has a higher score than a random negative, where
    a tie counts one half. 1: the scores separate the two sets; 0.5: they do not; less than 0.5:
    positives tend to have the lower scores. It is Mann and Whitney's U divided by the number of
    pairs: Hanley and McNeil 1982.
    """
    negatives, positives = np.asarray(negatives, np.float64), np.asarray(positives, np.float64)
    return float(mannwhitneyu(positives, negatives).statistic / (len(negatives) * len(positives)))
