"""A VAE on arrays of your own: on a table of numbers, and on colour images.

python examples/own_data.py  # writes runs/own-data/table.png and images.png

The table holds the monthly returns of five companies and two stock indices, 1990 to 2022. The
images are patches of a photograph. matplotlib ships both files, so nothing is downloaded.
"""

from pathlib import Path

import numpy as np
from matplotlib.cbook import get_sample_data
from matplotlib.image import imread

from tinyvae import make_model
from tinyvae.data import Dataset
from tinyvae.training import plots
from tinyvae.training.evaluation import evaluate
from tinyvae.training.trainer import train

FOLDER = Path("runs/own-data")
NAMES = ("IBM", "Apple", "Microsoft", "Xerox", "Adobe", "S&P 500", "Nasdaq")


def table(epochs=40):
    path = get_sample_data("Stocks.csv", asfileobj=False)
    prices = np.genfromtxt(path, delimiter=",", skip_header=2, usecols=(1, 2, 3, 4, 8, 9, 10))
    prices = prices[~np.isnan(prices).any(axis=1)][:-1]  # a row a month; the last row is a copy
    x = 100 * np.diff(np.log(prices), axis=0)  # (389, 7): the returns in percent
    data = Dataset.from_arrays(x, columns=NAMES, name="returns").standardized()
    model = make_model("vae", "mlp", 3, "gaussian", hidden=(50,), shape=data.shape)
    train(model, data, epochs=epochs, batch_size=16, lr=5e-3)

    loss = evaluate(model, data.x_test)["total"]
    independent = 0.5 * (np.log(2 * np.pi) + data.x_test**2).sum(axis=1).mean()
    print(f"table: negative ELBO {loss:.2f} nats; of independent normal columns {independent:.2f}")
    samples = data.original(model.sample(1000, np.random.default_rng(0)))  # in percent again
    plots.histograms(x, samples, NAMES, FOLDER / "table.png", "Monthly returns in percent")


def images(epochs=20):
    photo = imread(get_sample_data("grace_hopper.jpg", asfileobj=False)) / 255  # (600, 512, 3)
    x = photo.reshape(75, 8, 64, 8, 3).transpose(0, 2, 4, 1, 3).reshape(-1, 3, 8, 8)  # patches
    data = Dataset.from_arrays(x, name="patches")
    model = make_model("vae", "conv", 20, "gaussian", shape=data.shape)
    train(model, data, epochs=epochs, batch_size=32, lr=2e-3)

    error, variance = evaluate(model, data.x_test)["mse"], x.var(axis=(0, 2, 3)).mean()
    print(f"images: squared error per pixel {error:.4f}; of the mean colour {variance:.4f}")
    with plots.page(FOLDER / "images.png", 6.5, 4) as figure:
        for axes, patches in zip(figure.subplots(1, 2), (x, model.reconstruct(x)), strict=True):
            plots.show(axes, plots.mosaic(patches.reshape(75, 64, 3, 8, 8), gap=0))
        figure.suptitle("A photograph, and its patches of 192 values decoded from 20 numbers each")


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    table()
    images()
