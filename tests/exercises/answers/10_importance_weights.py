"""Densities by their formula, and sums with the largest logarithm taken out."""

import numpy as np


def log_normal(z, mu, logvar):
    terms = np.log(2 * np.pi) + logvar + (z - mu) ** 2 / np.exp(logvar)
    return -0.5 * terms.sum(axis=0)


def log_weights(log_px, z, mu, logvar):
    log_pz = log_normal(z, 0.0, np.zeros_like(z))
    log_qz = log_normal(z, mu[:, None, :], logvar[:, None, :])
    return log_px + log_pz - log_qz


def normalised_weights(log_w):
    largest = log_w.max(axis=0)
    w = np.exp(log_w - largest)
    return w / w.sum(axis=0)


def importance_weighted_bound(log_w):
    largest = log_w.max(axis=0)
    mean = np.exp(log_w - largest).mean(axis=0)
    return largest + np.log(mean)
