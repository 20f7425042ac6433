"""A conditional VAE in numbers: its bounds beside a VAE's, and whether it draws the class asked."""

import numpy as np
from scipy.special import logsumexp

from tinyvae.data import to_float
from tinyvae.laboratory.measures import knn_accuracy
from tinyvae.rng import generator
from tinyvae.training import on_host
from tinyvae.training.evaluation import evaluate, importance_weighted_bound

EXAMPLES = 1000  # test images whose log p is estimated, and whose class is changed
SAMPLES = 20  # draws of z for each of these estimates
PER_CLASS = 1000  # samples of each class that are judged
NEIGHBOURS_OF = 10_000  # training codes among which a test code has its neighbours


def bounds(model, x, labels, x_train, y_train, prior, judge):
    """{name: number} of a VAE or CVAE, on binary test images x (N, C, H, W) with labels (N,).

    In nats per image:
        bound, reconstruction, KL  the negative ELBO on log p(x), of a CVAE on log p(x|y)
        importance-weighted        the same with SAMPLES draws, on the first EXAMPLES images
        of x alone                 the same bound on log p(x), of a CVAE by `log_p_of_classes`
    class by Bayes: how often the class with the largest log p(x, y) is the label. class from z: how
    often draws z ~ q of the ten nearest training images tell the label from such a draw of the test
    image. confidence: of the judge in samples, the probability of the likeliest class.
    """
    test, some, its = evaluate(model, x, labels), x[:EXAMPLES], labels[:EXAMPLES]
    weighted = importance_weighted_bound(model, some, SAMPLES, its)
    numbers = {
        "bound": test["total"],
        "reconstruction": test["reconstruction"],
        "KL": test["kl"],
        "active units": test["active_units"],
        "importance-weighted": -weighted.mean(),
        "of x alone": -weighted.mean(),
    }
    if model.classes:
        log_p = log_p_of_classes(model, some, prior)  # (K, N)
        numbers["of x alone"] = -logsumexp(log_p, axis=0).mean()
        numbers["class by Bayes"] = (log_p.argmax(axis=0) == its).mean()
    rng, few = generator(0, "codes"), slice(NEIGHBOURS_OF)
    z, z_train = (
        on_host.draws(model, images, rng, *((y,) if model.classes else ()))
        for images, y in ((x, labels), (x_train[few], y_train[few]))
    )
    numbers["class from z"] = knn_accuracy(z_train, y_train[few], z, labels)
    samples = on_host.decode(
        model, model.draw_codes(len(its), rng), *((its,) if model.classes else ())
    )
    numbers["confidence"] = judge(samples)["confidence"]
    return {name: float(number) for name, number in numbers.items()}


def log_p_of_classes(model, x, prior):
    """Estimates of log p(x, y) for every class y, (K, N), where class y has probability prior[y].

    The logarithm of their sum is on average at most log p(x). By Bayes' rule they are, but for a
    constant, the log-probabilities of the classes given x.
    """
    classes = [np.full(len(x), k) for k in range(len(prior))]
    log_p = [importance_weighted_bound(model, x, SAMPLES, y) for y in classes]
    with np.errstate(divide="ignore"):  # a class without examples
        return np.array(log_p) + np.log(prior)[:, None]


def shares(model, x, labels, judge, seed=0):
    """How often the judge sees the class that was asked of a CVAE: {name: (K,)}, by class.

    samples: z from the prior; changed: z of test images x, in the classes that are not theirs.
    """
    classes, rng = range(model.classes), generator(seed, "conditional samples")
    asked = np.repeat(classes, PER_CLASS)
    samples = on_host.decode(model, model.draw_codes(len(asked), rng), asked)
    drawn = (judge.classes(samples) == asked).reshape(model.classes, PER_CLASS).mean(axis=1)
    labels = labels[:EXAMPLES]
    z, changed = on_host.embed(model, x[:EXAMPLES], labels), []
    for k in classes:
        others = z[labels != k]
        images = on_host.decode(model, others, np.full(len(others), k))
        changed.append((judge.classes(images) == k).mean())
    return {"samples": drawn, "changed": np.array(changed)}


def pictures(model, x, labels):
    """{title: images (K, columns, C, H, W)} of a CVAE: a row for each class, a test image of each.

    A class without a test image gets the first one, so that every row has its image.
    """
    rng, k = generator(0, "picture"), model.classes
    y = np.repeat(np.arange(k)[:, None], k, axis=1)  # (K, K), the row
    z = model.draw_codes(k * k, rng).reshape(k, k, -1)
    first = np.array([(labels == one).argmax() for one in range(k)])
    kept = np.repeat(on_host.embed(model, x[first], labels[first])[:, None], k, axis=1)
    kept = on_host.decode(model, kept, y.T)
    return {
        "Samples": on_host.decode(model, z, y),
        "The same z in each column": on_host.decode(model, np.broadcast_to(z[:1], z.shape), y),
        "A test image, and its z in all classes": np.concatenate(
            [to_float(x[first])[:, None], kept], axis=1
        ),
    }
