"""Images that a VAE was not trained on, and two scores by which it might notice.

A likelihood is no measure of strangeness: an image that is easily described gets a high one, though
nobody ever saw its like. Nalisnick et al. 2019, "Do deep generative models know what they don't
know?"; Serra et al. 2020, "Input complexity and out-of-distribution detection".
"""

import numpy as np

from tinyvae.data.batches import to_float
from tinyvae.data.digits import load_digits
from tinyvae.laboratory.measures import roc_auc
from tinyvae.training import on_host
from tinyvae.training.evaluation import importance_weighted_bound

COUNT = 1000  # images of each kind


def noticed(vae, data, rng):
    """How well two scores tell test digits of a Dataset from others: {others: {score: AUC}}."""
    familiar, test = scores(vae, data.x_test[:COUNT]), data.x_test[-COUNT:]
    others = {"training digits": data.x_train[:COUNT], "other test digits": test}
    others["synthetic digits"], _, _ = load_digits(COUNT, seed=2)
    return {
        name: {score: roc_auc(familiar[score], s) for score, s in scores(vae, images).items()}
        for name, images in (others | strangers(test, rng)).items()
    }


def strangers(images, rng):
    """What can be made of uint8 digits (N, C, H, W) that is no digit any more: {name: images}."""
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
    """Two scores of uint8 images, {name: (N,)}, larger for stranger ones.

    negative ELBO: in nats, one draw of z each; reconstruction error: squared, per pixel, of the
    mean image of the mean code.
    """
    error = on_host.decode(vae, on_host.embed(vae, images)) - to_float(images)
    return {
        "negative ELBO": -importance_weighted_bound(vae, images, samples=1, seed=seed),
        "reconstruction error": (error**2).mean(axis=(1, 2, 3)),
    }
