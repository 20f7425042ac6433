"""How the cost of training grows: with the images, with the batch, and with the epochs.

    python benchmarks/growth.py        # on Linux; a minute; draws docs/images/growth.png

Time should grow in proportion to the number of images, the time for one image should not grow with
the batch, and memory should not grow with the epochs. The convolutional VAE, z = 20, on synthetic
digits (memory: on random images); each time is the median of several.
"""

import resource
import tempfile
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator
from variants import LATENT_DIM, inputs

from tinyvae import Adam, get_backend, make_model
from tinyvae.data import Dataset, load
from tinyvae.training.config import Config
from tinyvae.training.parallel import DataParallel, parts_of
from tinyvae.training.threads import cores
from tinyvae.training.trainer import Trainer

FIGURE = Path(__file__).parent.parent / "docs" / "images" / "growth.png"
IMAGES = (1500, 3000, 6000, 12000)
BATCHES = (8, 16, 32, 64, 128, 256, 512, 1024)
EPOCHS, EPOCH_IMAGES = 15, 2000
BLUE = "#0072B2"


def train(data, epochs):
    """The seconds of each epoch, and the memory of the process after it, in MB."""
    megabytes = []

    class Watched(Trainer):
        def save(self):
            super().save()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            megabytes.append(pages * resource.getpagesize() / 2**20)

    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
        get_backend("numpy")
        trainer = Watched(make_model(), data, Config(epochs=epochs), folder)
        trainer.fit()
    return [row["seconds"] for row in trainer.history], megabytes[1:]


def step_ms(batch_size, steps=20):
    x, eps = inputs(batch_size)
    model, times = make_model(latent_dim=LATENT_DIM), []
    parallel, optimizer = DataParallel(model, parts_of(model, batch_size), cores()), Adam(model)
    with parallel.threads as threads:
        for _ in range(steps):
            start = time.perf_counter()
            parallel.gradient(x, eps)
            optimizer.step(threads.map)
            times.append(time.perf_counter() - start)
    return 1e3 * np.median(times[steps // 4 :])


def main():
    rng = np.random.default_rng(0)  # random images, as drawing digits would leave memory behind
    images = rng.integers(0, 256, (EPOCH_IMAGES, 1, 28, 28), dtype=np.uint8)
    labels = np.zeros(EPOCH_IMAGES, dtype=np.int64)
    noise = Dataset("random images", images, labels, images[:200], labels[:200])
    _, megabytes = train(noise, EPOCHS)
    data = load.load_dataset("digits", None)
    seconds = [np.median(train(data.head(n), 4)[0][1:]) for n in IMAGES]
    ms = np.array([step_ms(n) for n in BATCHES])
    draw(np.array(seconds), ms, np.array(megabytes))
    for n, s in zip(IMAGES, seconds, strict=True):
        print(f"{n:6} images: {s:6.2f} s an epoch, {1e3 * s / n:.3f} ms an image")
    for n, t in zip(BATCHES, ms, strict=True):
        print(f"batch {n:5}: {t:7.2f} ms a step, {t / n:.3f} ms an image")
    print(f"memory after epoch 1: {megabytes[0]:.0f} MB, after {EPOCHS}: {megabytes[-1]:.0f}")


def draw(seconds, ms, megabytes):
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    style = {"color": BLUE, "marker": "o", "markersize": 4}

    slope = seconds[-1] / IMAGES[-1]
    axes[0].axline((0, 0), slope=slope, color="0.6", linestyle="--", label="in proportion")
    axes[0].plot(IMAGES, seconds, **style, label="measured")
    axes[0].legend(frameon=False, loc="lower right")
    axes[0].set(title="Time of an epoch", xlabel="training images", ylabel="seconds")

    axes[1].plot(BATCHES, ms / BATCHES, **style)
    axes[1].set_xscale("log", base=2)
    axes[1].set_xticks(BATCHES, BATCHES)
    axes[1].set(title="Time of a step, for each image", xlabel="batch size", ylabel="milliseconds")

    axes[2].plot(range(1, len(megabytes) + 1), megabytes, **style)
    axes[2].set(title="Memory of the process", xlabel="epoch", ylabel="MB")
    axes[2].xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis, values in zip(axes, (seconds, ms / BATCHES, megabytes), strict=True):
        axis.set_ylim(0, 1.15 * max(values))
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set(xlim=(0, 13000), xticks=(0, *IMAGES[1:]))
    figure.savefig(FIGURE, dpi=150)


if __name__ == "__main__":
    main()
