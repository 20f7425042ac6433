"""The arguments of examples/train_mnist.py and examples/train.py: the settings and their help."""

import argparse
from dataclasses import fields

from tinyvae.errors import flag
from tinyvae.models.networks import SMALLEST
from tinyvae.models.registry import LIKELIHOODS, MODELS, NETWORKS, all_options
from tinyvae.training.command_line import Parser, given_path, whole_numbers
from tinyvae.training.config import CHOICES, Config

MODEL_SETTINGS = {  # of make_model: type, choices, help
    "model": (str, MODELS, "what to train (default: vae)"),
    "network": (
        str,
        NETWORKS,
        "convolutional, or fully connected (default: conv for images of at least "
        f"{SMALLEST}x{SMALLEST} pixels, else mlp)",
    ),
    "hidden": (
        whole_numbers,
        None,
        "widths of the hidden layers of the mlp, such as 200,200 (default: 400)",
    ),
    "latent_dim": (int, None, "numbers in a code (default: 20)"),
    "likelihood": (
        str,
        LIKELIHOODS,
        "what the decoder's output means; gaussian learns one sigma for all pixels, or one for "
        "each column of a table (default: bernoulli for images, gaussian for tables)",
    ),
}
HELP = {  # of Config
    "epochs": "in all, also after --resume",
    "batch_size": "examples a step",
    "lr": "learning rate",
    "optimizer": "Adam, or plain gradient descent",
    "beta": "weight of the KL",
    "kl_anneal": "raise beta linearly from 0 over this many epochs",
    "free_bits": "KL of each dimension that costs nothing",
    "samples": "samples of z for each example and step",
    "binarize": "keep the grey levels; or make pixels 0 or 1, at 128 or at random in every epoch",
    "threads": "threads that compute with numpy; 0: one for each core; the numbers are the same",
    "seed": "of weights, order and noise",
}
METAVAR = {"kl_anneal": "EPOCHS", "free_bits": "NATS", "hidden": "WIDTHS"}
WITH_RESUME = {"resume", "epochs", "backend", "dataset", "data_dir", "profile", "distributed"}


def distributed(argv):
    """What --distributed says. The ranks must be there before all arguments are parsed."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--distributed", nargs="?")
    return early.parse_known_args(argv)[0].distributed


def parse_arguments(doc, dataset, argv):
    """The arguments that were given, and --dataset; other defaults are in Config and make_model."""
    parser = Parser(doc, argument_default=argparse.SUPPRESS)
    parser.add_backend()
    for name, (kind, choices, text) in MODEL_SETTINGS.items():
        parser.add_argument(
            flag(name), type=kind, choices=choices, metavar=METAVAR.get(name), help=text
        )
    for name, (option, models) in all_options().items():
        default = option.default
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
        parser.add_argument(
            flag(name),
            type=whole_numbers if isinstance(default, tuple) else type(default),
            choices=option.choices or None,
            metavar=None if option.choices else "N",
            help=f"of --model {' and '.join(models)}: {option.help} (default: {shown})",
        )
    for field in fields(Config):
        parser.add_argument(
            flag(field.name),
            type=field.type,
            choices=CHOICES.get(field.name),
            metavar=METAVAR.get(field.name),
            help=f"{HELP[field.name]} (default: {field.default})",
        )
    parser.add_data(dataset)
    parser.add_argument(
        "--out",
        type=given_path,
        metavar="DIR",
        help="folder to write; other settings than the default become part of its name (default: "
        "runs/<model>-<network>-z<latent>)",
    )
    parser.add_argument(
        "--distributed",
        choices=("mpi",),
        help="share out every batch over the processes that mpiexec has started, see "
        "docs/distributed.md",
    )
    parser.add_argument(
        "--resume", type=given_path, metavar="RUN", help="folder of a run to go on with"
    )
    parser.add_argument(
        "--profile", action="store_true", help="print at the end where the time of training went"
    )
    given = vars(parser.parse_args(argv))
    if "resume" not in given and dataset is None and "dataset" not in given:
        parser.error("--dataset is required: a file .npz, .npy or .csv, or a folder of IDX files")
    return given
