"""The one-layer model of Burda, Grosse and Salakhutdinov 2016: trained and measured.

784-200-200-50 with tanh, dynamic binarization, batches of 20. Their schedule has 3280 passes over
the training set, in which the learning rate falls from 1e-3 to 1e-4. Here the number of passes is
the caller's, and every pass lowers the rate by the same factor, between the same two rates.
"""

import json

import numpy as np

from tinyvae.data import binarize
from tinyvae.engine.activations import Tanh
from tinyvae.engine.likelihoods import Bernoulli
from tinyvae.errors import UserError
from tinyvae.laboratory.sampled_likelihood import negative_log_likelihood
from tinyvae.models.iwae import IWAE
from tinyvae.models.networks import MLPNetworks
from tinyvae.models.vae import VAE
from tinyvae.rng import generator
from tinyvae.training import on_host
from tinyvae.training.checkpoint import load_checkpoint, write_json
from tinyvae.training.config import Config
from tinyvae.training.evaluation import ACTIVE_VARIANCE
from tinyvae.training.trainer import Trainer

LATENT_DIM, HIDDEN = 50, (200, 200)
FIRST_LR, LAST_LR = 1e-3, 1e-4
SAMPLES = {"samples": 5000, "few": 20, "every": 50}  # of the NLL


def build(kind, k, data, seed):
    """(model, settings of Config): a "vae" with k samples of z, or an "iwae" with the bound of k.

    With the same seed both have the same initial weights.
    """
    networks = MLPNetworks(data.shape, HIDDEN, generator(seed, "init"), activation=Tanh)
    if kind == "iwae":
        return IWAE.build(networks, LATENT_DIM, Bernoulli(), k=k), {}
    return VAE.build(networks, LATENT_DIM, Bernoulli()), {"samples": k}


def train(kind, k, data, xp, folder, *, epochs, seed, threads=0):
    """The Trainer of a model after `epochs` epochs; a run that the folder holds is gone on with.

    Raises KeyboardInterrupt after Ctrl-C.
    """
    model, settings = build(kind, k, data, seed)
    settings |= {"epochs": epochs, "batch_size": 20, "binarize": "dynamic", "seed": seed}
    trainer = Trainer(model.to(xp), data, Config(**settings, threads=threads), folder)
    if (folder / "checkpoint.npz").exists():
        trainer.restore(*load_checkpoint(folder / "checkpoint.npz"))
    factor = (LAST_LR / FIRST_LR) ** (1 / max(1, epochs - 1))
    for epoch in range(len(trainer.history), epochs):
        trainer.optimizer.lr = FIRST_LR * factor**epoch
        trainer.fit(epoch + 1)
        if len(trainer.history) <= epoch:
            raise KeyboardInterrupt(f" in {folder}; the same command goes on from here")
    return trainer


def measured(kind, k, data, xp, folder, *, epochs, seed, threads=0):
    """The numbers of a model after its training, a dict; the folder keeps them for the next call.

    Raises UserError if the folder holds numbers from other data.
    """
    path = folder / "measured.json"
    if path.exists():
        try:
            numbers = json.loads(path.read_text())
            known = numbers["dataset_sha256"]
        except (ValueError, LookupError, TypeError) as error:
            raise UserError(
                f"{path} is damaged ({error}); remove it, or use another --out"
            ) from error
        if known != data.fingerprint:
            raise UserError(f"{folder} holds a model of other data; use another --out")
        return numbers
    trainer = train(kind, k, data, xp, folder, epochs=epochs, seed=seed, threads=threads)
    x = binarize(data.x_test, "dynamic", generator(0, "binarize test"))  # the same for every seed
    nll, error = negative_log_likelihood(trainer.model, x, **SAMPLES)
    variance = on_host.embed(trainer.model, x).var(axis=0, dtype=np.float64)
    numbers = {"model": kind, "k": k, "seed": seed, "nll": nll, "error": error}
    numbers["active_units"] = int((variance > ACTIVE_VARIANCE).sum())
    numbers["dataset_sha256"] = data.fingerprint
    numbers["seconds"] = sum(row["seconds"] for row in trainer.history)
    write_json(path, numbers)
    return numbers
