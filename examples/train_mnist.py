"""Train the tutorial's autoencoder or VAE on MNIST: numbers, pictures and a checkpoint in a folder.

python examples/train_mnist.py                        # the convolutional VAE, z = 20
python examples/train_mnist.py --latent-dim 2         # with a latent space to look at
python examples/train_mnist.py --model ae             # without the V
python examples/train_mnist.py --backend cupy         # on a GPU
python examples/train_mnist.py --resume runs/vae-conv-z20 --epochs 40
"""

import argparse
import sys
from dataclasses import fields, replace
from pathlib import Path

from tinyvae.data import entropy_floor, load
from tinyvae.engine.backend import device_name, get_backend
from tinyvae.errors import UserError
from tinyvae.training.checkpoint import load_checkpoint
from tinyvae.training.command_line import INTERRUPTED, Parser, exit_code, load_data
from tinyvae.training.config import CHOICES, Config, flag
from tinyvae.training.profile import Profile
from tinyvae.training.report import draw_figures, write_metrics
from tinyvae.training.trainer import THREADS, Trainer

HELP = {
    "model": "variational autoencoder, or autoencoder",
    "network": "convolutional, or fully connected (784-400-L)",
    "latent_dim": "numbers in a code",
    "likelihood": "what the decoder's output means; gaussian learns one sigma",
    "beta": "weight of the KL",
    "kl_anneal": "raise beta linearly from 0 in so many epochs",
    "free_bits": "KL of each dimension that costs nothing",
    "epochs": "in all, also after --resume",
    "batch_size": "images a step",
    "lr": "learning rate",
    "optimizer": "Adam, or plain gradient descent",
    "samples": "draws of z an image and step",
    "binarize": "keep the grey levels; or make pixels 0 or 1, at 128 or by chance in every epoch",
    "threads": "parts of a batch computed at once with numpy; 0: "
    + ", ".join(f"{count} for {network}" for network, count in THREADS.items()),
    "seed": "of weights, order and noise",
}
METAVAR = {"kl_anneal": "EPOCHS", "free_bits": "NATS"}
WITH_RESUME = {"resume", "epochs", "backend", "data_dir", "profile"}  # all else is fixed by the run


def parse_arguments(argv):
    """The arguments that were given, and no others: the defaults are in Config."""
    parser = Parser(__doc__, argument_default=argparse.SUPPRESS)
    parser.add_backend()
    for field in fields(Config):
        parser.add_argument(
            flag(field.name),
            type=field.type,
            choices=CHOICES.get(field.name),
            metavar=METAVAR.get(field.name),
            help=f"{HELP[field.name]} (default: {field.default})",
        )
    parser.add_data()
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder to write (default: runs/<model>-<network>-z<latent>)",
    )
    parser.add_argument("--resume", type=Path, metavar="RUN", help="folder of a run to go on with")
    parser.add_argument(
        "--profile", action="store_true", help="say at the end where the time of training went"
    )
    return vars(parser.parse_args(argv))


def start(given, xp):
    """A new run in a folder of its own."""
    config = Config(**{f.name: given[f.name] for f in fields(Config) if f.name in given})
    asked = {name: given[name] for name in ("dataset", "data_dir", "train_size") if name in given}
    data = load_data(**asked)
    default = Path("runs") / f"{config.model}-{config.network}-z{config.latent_dim}"
    folder = given.get("out", default)
    make_folder(folder)
    return Trainer(config, data, folder, xp)


def resume(given, xp):
    """A run that was interrupted, or is to go on for more epochs."""
    if given.keys() - WITH_RESUME:
        names = ", ".join(sorted(flag(name) for name in given.keys() - WITH_RESUME))
        raise UserError(f"--resume takes the settings of the run; leave out {names}")
    arrays, about = load_checkpoint(given["resume"] / "checkpoint.npz")
    try:
        config = Config(**about["config"])
        if "epochs" in given:
            config = replace(config, epochs=given["epochs"])
        name = "mnist" if about["dataset"] == "MNIST" else "digits"
        data = load.load_dataset(name, given.get("data_dir")).head(about["train_examples"])
        trainer = Trainer(config, data, given["resume"], xp)
        trainer.restore(arrays, about)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{given['resume']}: the checkpoint does not fit this version of tinyvae ({error}); "
            "resume it with the version in its config.json, or train anew"
        ) from error
    if trainer.step > config.epochs * trainer.steps_per_epoch:
        raise UserError(f"the run has done more than {config.epochs} epochs; raise --epochs")
    return trainer


def make_folder(folder):
    """Make the folder of a run; what an earlier run left there moves to a folder below it."""
    outputs = ("config.json", "history.csv", "checkpoint.npz", "metrics.json", "figures")
    folder.mkdir(parents=True, exist_ok=True)
    old = [folder / name for name in outputs if (folder / name).exists()]
    if old:
        number = 1
        while (folder / f"earlier-{number}").exists():
            number += 1
        earlier = folder / f"earlier-{number}"
        earlier.mkdir()
        for path in old:
            path.rename(earlier / path.name)
        print(f"the results of an earlier run are now in {earlier}")


def run(given):
    xp = get_backend(given.get("backend", "numpy"))
    trainer = resume(given, xp) if "resume" in given else start(given, xp)
    data, config = trainer.data, trainer.config
    print(f"computing with {xp.__name__} {xp.__version__} on {device_name(xp)}")
    print(f"data set: {data.name}, {len(data.x_train)} training and {len(data.x_test)} test images")
    if config.likelihood == "bernoulli" and config.binarize == "none":
        floor = entropy_floor(data.x_test)
        print(
            "grey levels: the reconstruction loss is a cross-entropy, not a likelihood, and cannot "
            f"fall below {floor:.2f} nats per image"
        )
    if "profile" in given:
        print(Profile(trainer).fit())
    else:
        trainer.fit()
    print("measuring and drawing ...")
    metrics = write_metrics(trainer)
    figures = draw_figures(trainer, metrics)
    print_summary(trainer, metrics, figures, given.get("data_dir"))
    return 0 if trainer.finished else INTERRUPTED


def print_summary(trainer, metrics, figures, data_dir):
    test, config = metrics["test"], trainer.config
    print(f"\n{config.model.upper()} after {metrics['epochs_done']} epochs, on the test images of")
    print(f"{trainer.data.name}, in nats per image:")
    if config.model == "vae":
        print(f"  negative ELBO                    {test['total']:8.2f}")
    print(f"  reconstruction                   {test['reconstruction']:8.2f}")
    if config.model == "vae":
        print(f"  KL                               {test['kl']:8.2f}")
        bound = metrics["importance_weighted"]
        print(
            f"  importance-weighted bound        {-bound['bound']:8.2f}  ("
            f"{bound['samples']} samples; the first {bound['images']} images, whose negative ELBO "
            f"is {-bound['elbo']:.2f})"
        )
    print(f"  squared error per pixel          {test['mse']:8.4f}")
    print(f"  active units                     {test['active_units']:5d} of {config.latent_dim}")
    print(f"pictures: {figures}/*.png")
    if not trainer.finished:
        again = f" --data-dir {data_dir}" if data_dir else ""
        print(f"not finished; to go on: --resume {trainer.folder}{again}")
    elif config.model == "ae":
        print("try next: --model vae, and compare the samples")
    elif config.latent_dim != 2:
        print("try next: --latent-dim 2, and look at the scatter and the traversal")
    else:
        print("try next: --model ae, and compare the scatter and the samples")


def main(argv=None):
    def command():
        try:
            return run(parse_arguments(argv))
        except MemoryError as error:
            raise UserError(
                f"out of memory ({error}); lower --latent-dim or --train-size"
            ) from error
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt("; if anything was saved, --resume goes on from it") from stop

    return exit_code("train_mnist.py", command)


if __name__ == "__main__":
    sys.exit(main())
