"""The figure of examples/vqvae.py: images, their codes, samples, and the bits of an image."""

import numpy as np
from matplotlib import colormaps
from matplotlib.patches import Patch

from tinyvae.training import plots

PRIORS = {
    "uniform": "all codes alike",
    "unigram": "frequencies of codes",
    "position": "frequencies by position",
    "prior": "learned causal prior",
}
CODES = {"color": plots.VERMILION, "hatch": "///", "ec": "w", "label": "code"}
DECODER = {"color": plots.BLUE, "ec": "w", "label": "image, given the code"}
ABREAST = 8  # samples in a row


def draw(images, one, vae, path, title):
    """images: of `grid_codes.pictures`; one: of `code_lengths`; vae: bits by the term's name."""
    with plots.page(path, plots.WIDTH, 6.6) as figure:
        figure.suptitle(title)
        upper, middle, lower = figure.subfigures(3, 1, height_ratios=(2.2, 2.4, 1.9))
        size = images["image"].shape[-1] // images["codes"].shape[-1]
        maps = colormaps["viridis"](np.kron(images["codes"], np.ones((size, size))))[..., :3]
        rows = _coloured(images["image"]), np.moveaxis(maps, -1, 1), _coloured(images["decoded"])
        plots.show_rows(upper.subplots(), np.stack(rows), ["image", "codes", "decoded"])
        for axes, name in zip(middle.subplots(1, 2), ("prior", "uniform"), strict=True):
            sheet = images[name].reshape(-1, ABREAST, *images[name].shape[1:])
            plots.show(axes, plots.mosaic(sheet, gap=2))
            axes.set_title(f"decoded samples: {PRIORS[name]}", size=9)
        axes = lower.subplots()
        bars = {PRIORS[k]: (one["reconstruction_bits"], v) for k, v in one["total_bits"].items()}
        bars["VAE, bound"] = vae["reconstruction"], vae["total"]
        for y, (decoder, total) in enumerate(bars.values()):
            axes.barh(y, decoder, **DECODER)
            axes.barh(y, total - decoder, left=decoder, **CODES)
            axes.annotate(
                f"{total:.0f}", (total, y), (3, 0), textcoords="offset points", va="center"
            )
        axes.set_yticks(range(len(bars)), bars)
        axes.set(ylim=(len(bars) - 0.4, -0.6), xlabel="bits per image of the test set")
        lower.legend(
            handles=[Patch(**DECODER), Patch(**CODES)], loc="outside upper center", ncols=2
        )


def _coloured(grey):
    """Grey images (n, 1, H, W), 1 is ink, in three channels."""
    return np.repeat(1 - grey, 3, axis=1)
