"""What is left when training is done: the final numbers and the pictures of a model."""

import numpy as np

from tinyvae.data.batches import to_float
from tinyvae.engine.backend import to_host
from tinyvae.models.vae import VAE
from tinyvae.rng import generator
from tinyvae.training import on_host, plots
from tinyvae.training.checkpoint import write_json
from tinyvae.training.evaluation import ACTIVE_VARIANCE, evaluate, importance_weighted_bound
from tinyvae.training.latent import interpolate, quantile_grid

LIKELIHOOD_IMAGES = 1000  # importance sampling costs this many images times
LIKELIHOOD_SAMPLES = 100  # so many samples: a decoding each


def write_metrics(trainer):
    """Write metrics.json, the final numbers on the test images, and return what it holds."""
    model, images, seed = trainer.model, trainer.x_test, trainer.config.seed
    metrics = trainer.about() | {
        "epochs_done": trainer.step // trainer.steps_per_epoch,
        "test": evaluate(model, images, seed),
    }
    if isinstance(model, VAE):
        some = images[:LIKELIHOOD_IMAGES]
        metrics["importance_weighted"] = {
            "images": len(some),
            "samples": LIKELIHOOD_SAMPLES,
            "bound": float(importance_weighted_bound(model, some, LIKELIHOOD_SAMPLES, seed).mean()),
            "elbo": -evaluate(model, some, seed)["total"],  # of the same images
        }
    write_json(trainer.folder / "metrics.json", metrics)
    return metrics


def draw_figures(trainer, metrics):
    """Write figures/*.png from the final metrics and the model, and return their folder."""
    folder = trainer.folder / "figures"
    folder.mkdir(exist_ok=True)
    model, data, config = trainer.model, trainer.data, trainer.config
    named = f"{config.model.upper()}, {config.network}, z = {config.latent_dim}, {data.name}"
    rng = generator(config.seed, "figures")
    images = to_host(trainer.x_test[:5000])
    test, codes = to_float(images), on_host.embed(model, images)

    if trainer.history:
        plots.loss_curves(trainer.history, folder / "loss.png", f"Learning: {named}")
    plots.reconstructions(
        test[:20],
        on_host.decode(model, codes[:20]),
        folder / "reconstructions.png",
        f"Test: {named}",
    )
    samples = to_host(model.sample(100, rng))
    plots.image_grid(samples, folder / "samples.png", f"Decoded from z ~ N(0, I): {named}")

    ends = codes[rng.permutation(len(codes))[:16]].reshape(8, 2, -1)
    walks = np.stack([on_host.decode(model, interpolate(a, b, steps=11)) for a, b in ends])
    plots.interpolation(walks, folder / "interpolation.png", f"Between test images: {named}")

    if config.latent_dim >= 2:
        i, j = plane = np.sort(np.argsort(-codes.var(axis=0))[:2])  # the two most active
        axes = (f"z[{i}]", f"z[{j}]")
        labels = data.y_test[: len(codes)]
        plots.latent_scatter(
            codes[:, plane], labels, folder / "latent_scatter.png", f"Codes: {named}", axes
        )
    if isinstance(model, VAE):
        active = np.array(metrics["test"]["variance_per_dimension"]) > ACTIVE_VARIANCE
        kl = metrics["test"]["kl_per_dimension"]
        plots.kl_bars(kl, active, folder / "kl.png", f"KL per dimension: {named}")
        if config.latent_dim >= 2:
            values, points = quantile_grid(20)
            z = np.zeros((len(points), config.latent_dim))
            z[:, plane] = points
            images = on_host.decode(model, z).reshape(20, 20, *samples.shape[1:])
            title = f"Decoded from a grid of normal quantiles: {named}"
            plots.traversal(images, values, folder / "traversal.png", title, axes)
    return folder
