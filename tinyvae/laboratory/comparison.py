"""Numbers that compare the latent space of an autoencoder with the latent space of a VAE.

Both models are measured in the same way, at the same kinds of codes. One thing differs: an
autoencoder gives each image one code, a VAE gives it a distribution q(z|x) to draw codes from.
"""

import numpy as np

from tinyvae.data.batches import to_float
from tinyvae.laboratory.measures import distance_to_prior, knn_accuracy, smoothness, standardize
from tinyvae.rng import generator
from tinyvae.training import on_host
from tinyvae.training.evaluation import evaluate
from tinyvae.training.latent import holes, interpolate

COUNT = 1000  # codes of each kind that are decoded
BEYOND = 2  # factor by which a code's distance from the mean of all codes is multiplied
PATHS, STEPS = 200, 50  # interpolations between random test images, and images on each


def measure(model, data, judge, seed=0):
    """The numbers of a model, {row: number}, on the test images of a Dataset.

    judge: a Judge made from this Dataset.
    """
    rng, test = generator(seed, "comparison"), data.x_test
    codes = on_host.embed(model, test)
    drawn = on_host.draws(model, test, rng) if model.noise_dim else codes
    numbers = {
        "squared error per pixel": evaluate(model, test, seed=seed)["mse"],
        "cross-entropy at the code": -on_host.log_prob(model, test, codes).mean(),
        "cross-entropy, z drawn": -on_host.log_prob(model, test, drawn).mean(),
    }
    for kind, z in codes_to_decode(codes, rng).items():
        verdict = judge(on_host.decode(model, z))
        numbers |= {f"{kind}: {what}": number for what, number in verdict.items()}
    paths = min(PATHS, len(codes) // 2)
    ends = codes[rng.permutation(len(codes))[: 2 * paths]].reshape(paths, 2, -1)
    paths = np.stack([interpolate(a, b, STEPS) for a, b in ends])
    length, worst = smoothness(on_host.decode(model, paths))
    train_codes = on_host.embed(model, data.x_train)
    numbers |= {
        "codes to N(0, I)": distance_to_prior(drawn),
        "codes to N(0, I), standardized": distance_to_prior(standardize(drawn)),
        "interpolation: length": length,
        "interpolation: worst step": worst,
        "k-NN accuracy": knn_accuracy(train_codes, data.y_train, codes, data.y_test),
    }
    return {row: float(number) for row, number in numbers.items()}


def codes_to_decode(codes, rng):
    """{kind: codes (COUNT, L)}: test codes and four other kinds, from the test codes (N, L)."""
    some, centre = codes[rng.integers(0, len(codes), COUNT)], codes.mean(axis=0)
    return {
        "test codes": some,
        "N(0, I)": rng.standard_normal(some.shape),
        "N fitted to codes": rng.multivariate_normal(centre, np.cov(codes.T), COUNT),
        "holes": holes(codes, COUNT, rng),
        "beyond": centre + BEYOND * (some - centre),
    }


def references(data, judge, latent_dim):
    """The same measures on real images, and on codes that are drawn from the prior."""
    test, labels = data.x_test, data.y_test
    prior = generator(0, "prior").standard_normal((len(test), latent_dim))
    numbers = {
        f"real test images: {what}": number
        for what, number in judge(to_float(test[:COUNT])).items()
    }
    return numbers | {
        "draws of N(0, I) to N(0, I)": distance_to_prior(prior),
        "classifier's accuracy": judge.accuracy(test, labels),
    }
