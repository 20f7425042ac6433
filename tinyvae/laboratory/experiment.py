"""What the experiments in examples/ share: models are trained, a picture and numbers come out.

    def main(argv=None):
        return run_experiment(__file__, parser(), experiment, argv)

where experiment(arguments, data, xp) does the work, in the folder arguments.out.
"""

from pathlib import Path

import numpy as np

from tinyvae.data import minibatches, to_float
from tinyvae.engine.backend import get_backend
from tinyvae.engine.optim import Adam
from tinyvae.rng import generator
from tinyvae.training.command_line import Parser, exit_code, load_data
from tinyvae.training.trainer import Trainer


def experiment_parser(doc, name):
    """Arguments that say where to compute, on which images, where to write (runs/<name>)."""
    parser = Parser(doc)
    parser.add_backend()
    parser.add_data()
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"(default: runs/{name})")
    parser.set_defaults(backend="numpy", dataset="auto", out=Path("runs") / name)
    return parser


def run_experiment(file, parser, experiment, argv=None):
    """The exit code of experiment(arguments, data, xp), called with its folder made."""

    def run():
        arguments = parser.parse_args(argv)
        xp = get_backend(arguments.backend)
        data = load_data(arguments.dataset, arguments.data_dir, arguments.train_size)
        arguments.out.mkdir(parents=True, exist_ok=True)
        return experiment(arguments, data, xp)

    return exit_code(Path(file).name, run)


def train(config, data, folder, xp=np):
    """A Trainer that has done all epochs of config in this folder, which is made.

    Raises KeyboardInterrupt if it was stopped before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config, data, folder, xp)
    trainer.fit()
    if not trainer.finished:
        raise KeyboardInterrupt(f" while training in {folder}")
    return trainer


def train_vae(model, images, epochs, beta_at, free_bits=0.0, batch_size=128, seed=0):
    """Train a VAE that no Config describes, by any schedule beta_at(step); yield after each epoch.

    Its steps are a Trainer's, with Adam at 1e-3; it saves nothing. images: uint8 (N, C, H, W).
    """
    optimizer, step = Adam(model, lr=1e-3), 0
    for epoch in range(epochs):
        shape = (1, len(images), model.latent_dim)
        eps = generator(seed, "noise", epoch).standard_normal(shape, np.float32)
        for index in minibatches(len(images), batch_size, seed, epoch):
            model.loss(to_float(images[index]), eps[:, index], beta_at(step), free_bits)
            model.backward()
            optimizer.step()
            step += 1
        yield epoch + 1
