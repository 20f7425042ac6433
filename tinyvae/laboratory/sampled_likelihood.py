"""The negative log-likelihood of a test set by importance sampling, for the price of a part of it.

With 5000 samples the importance-weighted bound of Burda, Grosse and Salakhutdinov 2016 stands for
log p(x). For 10,000 images that is 50 million codes to decode. But the difference between the
bound of many samples and the bound of few varies little from one image to another. So few samples
are drawn for every image, and many for some images; the mean difference on these is added.
"""

import numpy as np

from tinyvae.training.evaluation import importance_weighted_bound


def negative_log_likelihood(model, x, *, samples=5000, few=50, every=20, seed=0):
    """(-log p(x), standard error) in nats: the mean over x (N, ...) of the bound of `samples`.

    few: how many samples each example gets; every: of so many examples one gets all `samples`. The
    standard error says how well the mean difference is known. It says nothing about how far the
    mean over x is from the mean over other examples.
    """
    bounds = importance_weighted_bound(model, x, few, seed=seed)
    some = importance_weighted_bound(model, x[::every], samples, seed=seed + 1)
    gain = some - bounds[::every]
    error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else float("inf")
    return -float(bounds.mean() + gain.mean()), float(error)
