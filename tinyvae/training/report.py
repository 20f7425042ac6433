"""What is left when training is done: the final numbers and the figures of a model."""

import numpy as np

from tinyvae.data.batches import to_float
from tinyvae.engine.backend import to_host
from tinyvae.errors import UserError
from tinyvae.rng import generator
from tinyvae.training import on_host, plots
from tinyvae.training.checkpoint import write_json
from tinyvae.training.diagnosis import not_finite
from tinyvae.training.evaluation import ACTIVE_VARIANCE, evaluate, importance_weighted_bound
from tinyvae.training.latent import interpolate, quantile_grid

BOUND_EXAMPLES = 1000  # the importance-weighted bound decodes this many examples
BOUND_SAMPLES = 100  # this many times
LABELS = {"kl": "KL"}  # of loss terms; other terms are shown by their names
SHOWN = 5000  # test examples in the scatter and the histograms
CLASSES, COLUMNS = 20, 10  # of the samples: rows, if a model has more classes, and images in a row


def write_metrics(trainer):
    """Write metrics.json, the final numbers on the test set, and return what it holds.

    Raises UserError, and writes nothing, if one of them is not finite.
    """
    model, x, labels = trainer.model, trainer.x_test, trainer.data.y_test
    seed = trainer.config.seed
    metrics = trainer.about() | {
        "epochs_done": trainer.step // trainer.steps_per_epoch,
        "test": evaluate(model, x, labels, seed=seed),
    }
    if model.log_weights:
        some, some_labels = x[:BOUND_EXAMPLES], None if labels is None else labels[:BOUND_EXAMPLES]
        bound = importance_weighted_bound(model, some, BOUND_SAMPLES, some_labels, seed=seed)
        metrics["importance_weighted"] = {
            "examples": len(some),
            "samples": BOUND_SAMPLES,
            "bound": float(bound.mean()),
            "elbo": _elbo(model, some, some_labels, seed),  # of the same examples
        }
    wrong = not_finite(metrics["test"] | metrics.get("importance_weighted", {}))
    if wrong:
        raise UserError(
            f"not finite on the test set: {', '.join(wrong)}; {model.theta.dtype} cannot hold what "
            "the model computes; its checkpoint stays as it is; train anew with a smaller --lr"
        )
    if trainer.folder:
        write_json(trainer.folder / "metrics.json", metrics)
    return metrics


def _elbo(model, x, labels, seed):
    if model.weights_per_draw > 1:  # its loss is the bound of several weights
        return float(importance_weighted_bound(model, x, 1, labels, seed=seed).mean())
    return -evaluate(model, x, labels, seed=seed)["total"]


def loss_lines(trainer, metrics):
    """The final numbers for people to read: rows (label, value, note or "")."""
    test, model, data = metrics["test"], trainer.model, trainer.data
    note = ""
    if data.std is not None:
        shift = np.log(data.std).sum()
        note = f"of standardized columns; {test['total'] + shift:.2f} in the units of the data"
    yield model.objective, f"{test['total']:.2f}", note
    if len(model.term_names) > 1:
        for name in model.term_names:
            yield LABELS.get(name, name), f"{test[name]:.2f}", _of_layers(model, test, name, ".2f")
    if "importance_weighted" in metrics:
        bound = metrics["importance_weighted"]
        yield (
            "importance-weighted bound",
            f"{-bound['bound']:.2f}",
            f"{bound['samples']} samples; the first {bound['examples']} examples, whose "
            f"{'negative ELBO' if model.weights_per_draw > 1 else model.objective} is "
            f"{-bound['elbo']:.2f}",
        )
    if "mse" in test:
        where = "column" if data.is_table else "pixel"
        yield f"squared error per {where}", f"{test['mse']:.4f}", ""
    if "r2_per_column" in test:
        r2 = [value for value in test["r2_per_column"] if value is not None]
        yield "R^2, mean over the columns", f"{np.mean(r2):.3f}" if r2 else "-", ""
    if "active_units" in test:
        active = f"{test['active_units']} of {model.latent_dim}"
        yield "active units", active, _of_layers(model, test, "active_units")
    if "usage" in test:
        yield "codes in use", f"{test['codes_in_use']} of {len(test['usage'])}", ""
        yield "perplexity of the codes", f"{test['perplexity']:.1f}", ""


def _of_layers(model, test, name, form=""):
    """A note with the numbers of each latent layer, if the model has several."""
    numbers = [test.get(f"{name}_{i}") for i, _ in enumerate(model.latent_layers, 1)]
    known = numbers and numbers[0] is not None
    return f"layers, bottom first: {', '.join(format(n, form) for n in numbers)}" if known else ""


def draw_figures(trainer, metrics):
    """Write figures/*.png into the folder of a trainer, and return their folder."""
    folder = trainer.folder / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    model, data, settings = trainer.model, trainer.data, trainer.model.settings
    kind = type(model).__name__
    if settings:
        kind = f"{settings['model'].upper()}, {settings['network']}"
    size = f", z = {model.latent_dim}" if model.latent_dim else ""
    named = f"{kind}{size}, {plots.plain(data.name)}"
    if trainer.history:
        title, names = f"Learning: {named}", model.term_names
        plots.loss_curves(trainer.history, folder / "loss.png", title, model.objective, names)
    rng = generator(trainer.config.seed, "figures")
    x = to_host(trainer.x_test[:SHOWN])
    labels = (data.y_test[:SHOWN],) if model.classes else ()
    if data.is_table:
        _table_figures(model, data, x, labels, metrics, rng, folder, named)
    else:
        _image_figures(model, x, labels, rng, folder, named)
    if "usage" in metrics["test"]:
        path, title = folder / "code_usage.png", f"Codes of the test set: {named}"
        plots.code_usage(metrics["test"]["usage"], path, title)
    if model.latent_dim:
        codes = on_host.embed(model, x, *labels)
        _figures_of_vectors(model, data, codes, labels, metrics, rng, folder, named)
    return folder


def _figures_of_vectors(model, data, codes, labels, metrics, rng, folder, named):
    if not data.is_table:
        _walks(model, codes, labels, rng, folder, named)
    if model.latent_dim >= 2:
        plane, axes = most_active(codes)
        colours = None if data.y_test is None else data.y_test[: len(codes)]
        plots.latent_scatter(
            codes[:, plane], colours, folder / "latent_scatter.png", f"Codes: {named}", axes
        )
    kl = metrics["test"].get("kl_per_dimension", ())
    if len(kl) == model.latent_dim:
        active = np.array(metrics["test"]["variance_per_dimension"]) > ACTIVE_VARIANCE
        plots.kl_bars(kl, active, folder / "kl.png", f"KL per dimension: {named}")


def most_active(codes):
    """The two dimensions of codes (N, L) with the largest variance: indices, and axis names."""
    plane = np.sort(np.argsort(-codes.var(axis=0))[:2])
    return plane, tuple(f"z[{i}]" for i in plane)


def _image_figures(model, x, labels, rng, folder, named):
    if model.reconstruct:
        some, some_labels = x[:20], [y[:20] for y in labels]
        decoded = on_host.reconstruct(model, some, *some_labels)
        path = folder / "reconstructions.png"
        plots.reconstructions(to_float(some), decoded, path, f"Test: {named}")
    if model.sample_means:
        _samples(model, rng, folder / "samples.png", named)


def _walks(model, codes, labels, rng, folder, named):
    pairs = rng.permutation(len(codes))[:16]
    pairs = pairs[: len(pairs) // 2 * 2].reshape(-1, 2)
    if len(pairs):
        walks = [
            on_host.decode(model, interpolate(*codes[[a, b]], 11), *(y[[a] * 11] for y in labels))
            for a, b in pairs
        ]
        title = f"Between test images{', in the class of the first' * len(labels)}: {named}"
        plots.interpolation(np.stack(walks), folder / "interpolation.png", title)
    if model.standard_codes and model.latent_dim >= 2:
        plane, axes = most_active(codes)
        values, points = quantile_grid(20)
        z = np.zeros((len(points), model.latent_dim))
        z[:, plane] = points
        one = [np.repeat(y[:1], len(z)) for y in labels]
        images = on_host.decode(model, z, *one)
        images = images.reshape(20, 20, *images.shape[1:])
        where = "".join(f", class {y[0]}" for y in labels)
        title = f"Decoded from a grid of normal quantiles{where}: {named}"
        plots.traversal(images, values, folder / "traversal.png", title, axes)


def _samples(model, rng, path, named):
    """Means for codes from the prior; of a conditional model a row for each class, the same z."""
    codes_from = "z ~ N(0, I)" if model.standard_codes else "z from the prior"
    if not model.classes:
        samples = to_host(model.sample_means(100, rng))
        plots.image_grid(samples, path, f"Means of p(x|z) for {codes_from}: {named}")
        return
    classes = range(min(model.classes, CLASSES))
    z = np.tile(model.draw_codes(COLUMNS, rng), (len(classes), 1))
    samples = on_host.decode(model, z, np.repeat(classes, COLUMNS))
    title = f"Means of p(x|z, y): a row for each class y, a column for each {codes_from}\n{named}"
    plots.image_grid(samples, path, title, [f"y = {y}" for y in classes])


def _table_figures(model, data, x, labels, metrics, rng, folder, named):
    columns = data.columns or tuple(f"column {i}" for i in range(data.shape[0]))
    if "r2_per_column" in metrics["test"]:
        title = f"Reconstructed columns, test set: {named}"
        r2 = metrics["test"]["r2_per_column"]
        plots.column_r2(r2, columns, folder / "column_r2.png", title)
    if not model.sample_means:
        return
    samples = to_host(model.sample(len(x), rng, *labels))
    plots.histograms(
        data.original(to_float(x)),
        data.original(samples),
        columns,
        folder / "histograms.png",
        f"Samples and test set: {named}",
    )
