"""Detection of out-of-distribution images by two scores of a VAE.

A low likelihood does not identify them. A simple image, such as an all black one, gets a high
likelihood although the training data has no such image. Nalisnick et al. 2019, "Do deep generative
models know what they don't know?"; Serra et al. 2020, "Input complexity and out-of-distribution
detection".
"""

import numpy as np

from tinyvae.data.batches import to_float
from tinyvae.data.digits import load_digits
from tinyvae.laboratory.measures import roc_auc
from tinyvae.training import on_host
from tinyvae.training.evaluation import importance_weighted_bound

COUNT = 1000  # images of each kind


def detection_auc(vae, data, rng):
    """How well the scores tell other images from test digits: {kind of images: {score: AUC}}.

    data: a Dataset. An AUC of 1 means that the score separates the other images from test digits;
    0.5 means that it does not.
    """
    test_scores, others = scores(vae, data.x_test[:COUNT]), data.x_test[-COUNT:]
    kinds = {"training digits": data.x_train[:COUNT], "other test digits": others}
    kinds["synthetic digits"], _, _ = load_digits(COUNT, seed=2)
    return {
        name: {score: roc_auc(test_scores[score], s) for score, s in scores(vae, images).items()}
        for name, images in (kinds | out_of_distribution(others, rng)).items()
    }


def out_of_distribution(images, rng):
    """Images that are no digits, made from uint8 digits (N, C, H, W): {name: images}."""
    shuffled = rng.permuted(images.reshape(len(images), -1), axis=1)
    halves = images.copy()
    halves[:, :, images.shape[2] // 2 :] = 0
    return {
        "pixels shuffled": shuffled.reshape(images.shape),
        "black and white exchanged": 255 - images,
        "mirrored": images[:, :, :, ::-1],
        "lower half erased": halves,
        "all black": np.zeros_like(images),
    }


def scores(vae, images, seed=0):
    """Two scores of uint8 images, {name: (N,)}; larger if the image is less likely to be a digit.

    negative ELBO: in nats, with one draw of z for each image; reconstruction error: the mean
    squared error per pixel of the reconstruction from the mean of q(z|x).
    """
    error = on_host.decode(vae, on_host.embed(vae, images)) - to_float(images)
    return {
        "negative ELBO": -importance_weighted_bound(vae, images, samples=1, seed=seed),
        "reconstruction error": (error**2).mean(axis=(1, 2, 3)),
    }
