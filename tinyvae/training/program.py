"""The program of examples/train_mnist.py and examples/train.py: from arguments to a run folder."""

import argparse
import shlex
from dataclasses import fields, replace
from pathlib import Path

from tinyvae.data import entropy_floor, load_dataset
from tinyvae.engine.backend import device_name, get_backend, memory_errors
from tinyvae.errors import UserError, flag
from tinyvae.models.networks import SMALLEST
from tinyvae.models.registry import LIKELIHOODS, MODELS, NETWORKS, all_options, make_model
from tinyvae.training.checkpoint import load_checkpoint
from tinyvae.training.command_line import INTERRUPTED, Parser, exit_code, load_data
from tinyvae.training.config import CHOICES, Config
from tinyvae.training.folder import locked
from tinyvae.training.profile import Profile
from tinyvae.training.report import draw_figures, loss_lines, write_metrics
from tinyvae.training.state import build_model, require_types, unfit
from tinyvae.training.trainer import Trainer

MODEL_SETTINGS = {  # of make_model: type, choices, help
    "model": (str, MODELS, "what to train (default: vae)"),
    "network": (
        str,
        NETWORKS,
        "convolutional, or fully connected (default: conv for images of at least "
        f"{SMALLEST}x{SMALLEST} pixels, else mlp)",
    ),
    "hidden": (
        lambda text: tuple(int(width) for width in text.split(",")),
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
WITH_RESUME = {"resume", "epochs", "backend", "dataset", "data_dir", "profile"}


def main(file, doc, dataset, argv=None):
    """The exit code of the script `file` with docstring `doc`; dataset: its default --dataset.

    A script without a default data set requires the option.
    """

    def command():
        try:
            with memory_errors():
                return run(parse_arguments(doc, dataset, argv), dataset)
        except MemoryError as error:
            raise UserError(
                f"out of memory ({error}); lower --latent-dim, --train-size or --threads"
            ) from error
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt("; if anything was saved, --resume goes on from it") from stop

    return exit_code(Path(file).name, command)


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
            type=option.parse,
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
        type=Path,
        metavar="DIR",
        help="folder to write; other settings than the default become part of its name (default: "
        "runs/<model>-<network>-z<latent>)",
    )
    parser.add_argument("--resume", type=Path, metavar="RUN", help="folder of a run to go on with")
    parser.add_argument(
        "--profile", action="store_true", help="print at the end where the time of training went"
    )
    given = vars(parser.parse_args(argv))
    if "resume" not in given and dataset is None and "dataset" not in given:
        parser.error("--dataset is required: a file .npz, .npy or .csv, or a folder of IDX files")
    return given


def start(given, dataset, xp):
    """A new run. It writes nothing yet, so that a mistake leaves an earlier run as it is."""
    config = Config(**{f.name: given[f.name] for f in fields(Config) if f.name in given})
    options = all_options()
    settings = {name: given[name] for name in (*MODEL_SETTINGS, *options) if name in given}
    # A model of a few pixels finds mistakes in the settings before the data are loaded.
    network = MODELS[settings.get("model", "vae")].networks[-1]
    probe = make_model(**settings | {"network": network}, shape=(1, SMALLEST, SMALLEST))
    config.require_fits(probe)
    asked = {name: given[name] for name in ("dataset", "data_dir", "train_size") if name in given}
    data = load_data(**({"dataset": dataset} | asked))
    large = not data.is_table and min(data.shape[1:]) >= SMALLEST
    settings.setdefault("network", "conv" if large else "mlp")
    settings.setdefault("likelihood", "gaussian" if data.is_table else "bernoulli")
    if "classes" in probe.options and data.y_train is not None:
        settings.setdefault("classes", int(max(data.y_train.max(), data.y_test.max())) + 1)
    if "hidden" in given and settings["network"] != "mlp":
        raise UserError("--hidden is for --network mlp; leave it out, or use --network mlp")
    if data.is_table and settings["likelihood"] == "gaussian":
        data = data.standardized()
    model = make_model(**settings, shape=data.shape, seed=config.seed).to(xp)
    folder = given.get("out") or default_folder(model, data, config, given)
    return Trainer(model, data, config, folder)


def default_folder(model, data, config, given):
    """Its name says all settings that are not the default: the runs of a sweep do not collide."""
    settings, words = model.settings, [] if data.source in ("mnist", "digits") else [data.name]
    words += [settings["model"], settings["network"], f"z{settings['latent_dim']}"]
    words += [given["likelihood"]] if "likelihood" in given else []
    words += ["x".join(map(str, given["hidden"]))] if "hidden" in given else []
    for name, option in model.options.items():
        value = given.get(name, option.default)
        if value != option.default:
            text = "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words.append(text if option.choices else f"{name.replace('_', '-')}{text}")
    words += [f"n{given['train_size']}"] if "train_size" in given else []
    for field in fields(Config):
        value = getattr(config, field.name)
        if value != field.default and field.name not in ("epochs", "threads"):
            name = field.name.replace("_", "-")
            words.append(value if field.type is str else f"{name}{value:g}")
    return Path("runs") / "-".join(words)


def resume(given, xp):
    """A run that was interrupted, or is to go on for more epochs."""
    folder = given["resume"]
    arrays, about = load_checkpoint(folder / "checkpoint.npz")
    if "dataset" in given:
        about["dataset_source"] = given["dataset"]
    if about.get("dataset_source", "") is None:
        raise UserError(
            f"{folder}: the run was trained on arrays; name a file that holds them with --dataset, "
            "or go on with it in Python, with Trainer.restore"
        )
    model = build_model(about, arrays).to(xp)
    require_types(about, {"config": dict, "train_examples": int, "dataset_source": str})
    try:
        config = Config(**about["config"])
    except (UserError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise unfit(error) from error
    if "epochs" in given:
        config = replace(config, epochs=given["epochs"])
    data = load_dataset(about["dataset_source"], given.get("data_dir"))
    data = data.head(about["train_examples"])
    if "columns" in about:
        data = data.standardized()
    trainer = Trainer(model, data, config, folder)
    trainer.restore(arrays, about)
    if trainer.step > config.epochs * trainer.steps_per_epoch:
        raise UserError(f"the run has done more than {config.epochs} epochs; raise --epochs")
    return trainer


def run(given, dataset):
    """The exit code of a run that is new or goes on. Its folder is locked until all is written."""
    xp = get_backend(given.get("backend", "numpy"))
    if "resume" in given:
        if given.keys() - WITH_RESUME:
            names = ", ".join(sorted(flag(name) for name in given.keys() - WITH_RESUME))
            raise UserError(f"--resume takes the settings of the run; leave out {names}")
        with locked(given["resume"]):
            return work(resume(given, xp), given, xp)
    trainer = start(given, dataset, xp)
    trainer.folder.mkdir(parents=True, exist_ok=True)
    with locked(trainer.folder):
        return work(trainer, given, xp)


def work(trainer, given, xp):
    """Train, measure, draw, and print the final numbers; the exit code."""
    data, settings = trainer.data, trainer.model.settings
    print(f"computing with {xp.__name__} {xp.__version__} on {device_name(xp)}")
    shape = " x ".join(map(str, data.shape))
    print(
        f"data set: {data.name}, {len(data.x_train)} training and {len(data.x_test)} test examples,"
        f" each {f'{shape} columns' if data.is_table else shape}; --network {settings['network']}, "
        f"--likelihood {settings['likelihood']}"
    )
    if data.mean is not None:
        print("the columns are standardized: mean 0 and standard deviation 1 over the training set")
    if settings["likelihood"] == "bernoulli" and trainer.config.binarize == "none":
        floor = entropy_floor(data.x_test)
        if floor > 0:
            print(
                "grey levels: the reconstruction loss is a cross-entropy, not a likelihood, and "
                f"cannot fall below {floor:.2f} nats per example"
            )
    if "profile" in given:
        print(Profile(trainer).fit())
    else:
        trainer.fit()
    print("measuring and drawing ...")
    metrics = write_metrics(trainer)
    print_summary(trainer, metrics)
    print(f"pictures: {shlex.quote(str(draw_figures(trainer, metrics)))}/*.png")
    print_next_step(trainer, given)
    return 0 if trainer.finished else INTERRUPTED


def print_summary(trainer, metrics):
    name, data = trainer.model.settings["model"].upper(), trainer.data
    print(f"\n{name} after {metrics['epochs_done']} epochs, on the test set of {data.name},")
    print("in nats per example:")
    for label, value, note in loss_lines(trainer, metrics):
        print(f"  {label:32} {value:>8}{f'  ({note})' if note else ''}")


def print_next_step(trainer, given):
    """What to do with the run, or which one to try next."""
    settings = trainer.model.settings
    if not trainer.finished:
        again = ["--resume", str(trainer.folder)]
        for name in ("backend", "dataset", "data_dir"):
            again += [flag(name), given[name]] if name in given else []
        print(f"not finished; to go on: {shlex.join(again)}")
    elif settings["model"] != "vae":
        print("try next: --model vae, and compare the samples")
    elif settings["latent_dim"] != 2:
        print("try next: --latent-dim 2, and look at the scatter and the traversal")
    else:
        print("try next: --model ae, and compare the scatter and the samples")
