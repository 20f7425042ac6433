"""The program of examples/train_mnist.py and examples/train.py: from arguments to a run folder."""

import errno
import shlex
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path

from tinyvae.data import entropy_floor
from tinyvae.engine.backend import device_name, get_backend, memory_errors
from tinyvae.errors import UserError, flag
from tinyvae.models.networks import SMALLEST
from tinyvae.models.registry import FOR_MLP, MODELS, all_options, make_model
from tinyvae.training.arguments import (
    MODEL_SETTINGS,
    WITH_RESUME,
    distributed,
    parse_arguments,
)
from tinyvae.training.checkpoint import load_checkpoint
from tinyvae.training.command_line import INTERRUPTED, exit_code, load_data
from tinyvae.training.config import Config
from tinyvae.training.folder import locked
from tinyvae.training.profile import Profile
from tinyvae.training.ranks import ranks_of
from tinyvae.training.report import draw_figures, loss_lines, write_metrics
from tinyvae.training.state import build_model, load_data_of, require_types, unfit
from tinyvae.training.trainer import Trainer

ON_A_PAGE = {  # the settings of the models that the page of live_page/ shows
    "model": ("ae", "vae", "cvae", "iwae"),
    "network": ("conv", "mlp"),
    "likelihood": ("bernoulli", "gaussian"),
}


def main(file, doc, dataset, argv=None):
    """The exit code of the script `file` with docstring `doc`; dataset: its default --dataset.

    A script without a default data set requires the option.
    """

    def command():
        try:
            with memory_errors(), ranks.quiet():
                return run(parse_arguments(doc, dataset, argv), dataset, ranks)
        except MemoryError as error:
            raise UserError(
                f"out of memory ({error}); lower --latent-dim, --train-size or --threads"
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise UserError(
                f"{error.filename}: the disk is full; make room, and go on from the last "
                "checkpoint with --resume"
            ) from error
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt("; if anything was saved, --resume goes on from it") from stop

    found = []
    code = exit_code(Path(file).name, lambda: found.append(ranks_of(distributed(argv))))
    if code:
        return code
    (ranks,) = found
    return exit_code(Path(file).name, command, ranks)


def start(given, dataset, xp, ranks):
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
    if probe.networks == ("conv",) and not large:
        raise UserError(
            f"--model {settings['model']} takes images of at least {SMALLEST}x{SMALLEST} pixels, "
            f"but {data.name} has examples of shape {data.shape}; choose another --model"
        )
    settings.setdefault("network", "conv" if large else "mlp")
    settings.setdefault("likelihood", "gaussian" if data.is_table else "bernoulli")
    if "classes" in probe.options and data.y_train is not None:
        settings.setdefault("classes", int(max(data.y_train.max(), data.y_test.max())) + 1)
    if "hidden" in given and settings["network"] != "mlp":  # also where it is the default
        raise UserError(FOR_MLP)
    if data.is_table and settings["likelihood"] != "bernoulli":
        data = data.standardized()
    model = make_model(**settings, shape=data.shape, seed=config.seed).to(xp)
    folder = given.get("out") or default_folder(model, data, config, given)
    return Trainer(model, data, config, folder, ranks)


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
            words.append(value if field.type is str else f"{name}{value:.15g}")
    return Path("runs") / "-".join(words)


def resume(given, xp, ranks):
    """A run that was interrupted, or is to go on for more epochs."""
    folder = given["resume"]
    arrays, about = ranks.from_first(lambda: load_checkpoint(folder / "checkpoint.npz"))
    model = build_model(about, arrays).to(xp)
    require_types(about, {"config": dict})
    try:
        config = Config(**about["config"])
    except (UserError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise unfit(error) from error
    if "epochs" in given:
        config = replace(config, epochs=given["epochs"])
    data = load_data_of(about, given.get("dataset"), given.get("data_dir"))
    trainer = Trainer(model, data, config, folder, ranks)
    trainer.restore(arrays, about)
    if trainer.step > config.epochs * trainer.steps_per_epoch:
        raise UserError(f"the run has done more than {config.epochs} epochs; raise --epochs")
    return trainer


def run(given, dataset, ranks):
    """The exit code of a run that is new or goes on. Its folder is locked until all is written."""
    xp = get_backend(given.get("backend", "numpy"))
    ranks.take_device(xp)
    with ExitStack() as stack:

        def lock(folder, make=False):
            if make:
                folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder))

        if "resume" in given:
            if given.keys() - WITH_RESUME:
                names = ", ".join(sorted(flag(name) for name in given.keys() - WITH_RESUME))
                raise UserError(f"--resume takes the settings of the run; leave out {names}")
            ranks.from_first(lambda: lock(given["resume"]))
            trainer = resume(given, xp, ranks)
        else:
            trainer = start(given, dataset, xp, ranks)
            ranks.from_first(lambda: lock(trainer.folder, make=True))
        return work(trainer, given, xp)


def work(trainer, given, xp):
    """Say what is computed, train, and finish; the exit code."""
    data, settings = trainer.data, trainer.model.settings
    ranks = trainer.ranks
    on_ranks = f", {ranks.size} ranks" if ranks.size > 1 else ""
    print(f"computing with {xp.__name__} {xp.__version__} on {device_name(xp)}{on_ranks}")
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
    if ranks.rank == 0:
        finish(trainer, given)
    return 0 if trainer.finished else INTERRUPTED


def finish(trainer, given):
    """Measure, draw, and say what to do next."""
    print("measuring and drawing ...")
    metrics = write_metrics(trainer)
    print_summary(trainer, metrics)
    print(f"pictures: {shlex.quote(str(draw_figures(trainer, metrics)))}/*.png")
    print_live_page(trainer, given)
    print_next_step(trainer, given)


def print_summary(trainer, metrics):
    name, data = trainer.model.settings["model"].upper(), trainer.data
    print(f"\n{name} after {metrics['epochs_done']} epochs, on the test set of {data.name},")
    print("in nats per example:")
    for label, value, note in loss_lines(trainer, metrics):
        print(f"  {label:32} {value:>8}{f'  ({note})' if note else ''}")


def not_on_a_page(settings):
    """Why the page of live_page/ does not show a model with these settings; None if it does."""
    for name, shown in ON_A_PAGE.items():
        if settings[name] not in shown:
            return f"the live page shows {name} {' or '.join(shown)}, got {settings[name]}"
    shape = tuple(settings["shape"])
    if len(shape) != 3 or shape[0] not in (1, 3):
        return f"the live page shows images of 1 or 3 channels, got examples of shape {shape}"
    return None


def print_live_page(trainer, given):
    """The command for the page to play with, if there is a page for this model."""
    if trainer.finished and not not_on_a_page(trainer.model.settings):
        command = ["python", "examples/live_page.py", str(trainer.folder)]
        command += ["--data-dir", str(given["data_dir"])] if "data_dir" in given else []
        print(f"to play with the model in a browser: {shlex.join(command)}")


def print_next_step(trainer, given):
    """What to do with the run, or which one to try next."""
    settings = trainer.model.settings
    if not trainer.finished:
        again = ["--resume", str(trainer.folder)]
        for name in ("backend", "dataset", "data_dir"):
            again += [flag(name), str(given[name])] if name in given else []
        print(f"not finished; to go on: {shlex.join(again)}")
    elif settings["model"] != "vae":
        print("try next: --model vae, and compare the samples")
    elif settings["latent_dim"] != 2:
        print("try next: --latent-dim 2, and look at the scatter and the traversal")
    else:
        print("try next: --model ae, and compare the scatter and the samples")
