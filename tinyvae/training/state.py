"""The state of a run: what its checkpoint holds, and whether a run can go on from what one holds.

A run goes on for hours without a word about a wrong number that it began with. So a checkpoint that
somebody has edited, or that another version has written, is refused where its parts do not fit
each other. All of it is checked before anything is used: the functions named require_... raise
UserError.
"""

import math
import platform
import reprlib
from dataclasses import asdict
from pathlib import Path

import numpy as np

import tinyvae
from tinyvae.data import load_dataset
from tinyvae.engine.backend import array_module, to_host
from tinyvae.errors import UserError
from tinyvae.models.registry import make_model, settings_of
from tinyvae.training.checkpoint import load_checkpoint


def settings(trainer):
    """What determines the run: settings, model, data and versions."""
    xp, data = array_module(trainer.model.theta), trainer.data
    about = {
        "config": asdict(trainer.config),
        "own_schedule": trainer.own_schedule,
        "optimizer": settings_of_optimizer(trainer.optimizer),
        "model": settings_of(trainer.model),
        "dataset": data.name,
        "dataset_source": data.source,
        "dataset_sha256": data.fingerprint,
        "train_examples": len(data.x_train),
        "test_examples": len(data.x_test),
    }
    if data.mean is not None:
        about["columns"] = {"mean": data.mean.tolist(), "std": data.std.tolist()}
    versions = {"tinyvae": tinyvae.__version__, "numpy": np.__version__}
    versions |= {xp.__name__: xp.__version__, "python": platform.python_version()}
    return about | {"versions": versions}


def settings_of_optimizer(optimizer):
    """Its class and its numbers, such as lr, as JSON holds them."""
    numbers = {k: v for k, v in vars(optimizer).items() if isinstance(v, int | float | tuple)}
    numbers = {k: list(v) if isinstance(v, tuple) else v for k, v in numbers.items()}
    return {"class": type(optimizer).__name__} | numbers


def restore_optimizer(optimizer, about):
    """Give the optimizer the numbers that it had in the run, such as a changed lr."""
    own = settings_of_optimizer(optimizer)
    held = about.get("optimizer", own)  # earlier versions did not say it
    same = isinstance(held, dict) and held.keys() == own.keys() and held["class"] == own["class"]
    _require(
        same and all(map(_same_kind, held.values(), own.values())),
        f"its optimizer is {reprlib.repr(held)}, but this run's is {reprlib.repr(own)}",
    )
    for name in own.keys() - {"class"}:
        setattr(optimizer, name, tuple(held[name]) if isinstance(own[name], list) else held[name])


def _same_kind(held, own):
    """Whether both are names, both finite numbers, or both equally long lists of these."""
    if isinstance(own, list) and isinstance(held, list):
        return len(held) == len(own) and all(map(_is_number, held))
    return _is_number(held) if _is_number(own) else type(held) is type(own)


def progress(trainer):
    """How far the run has come; the other numbers that change are in `arrays`."""
    return {
        "step": trainer.step,
        "epoch": trainer.step // trainer.steps_per_epoch,
        "seconds": trainer.seconds,
        "sums": trainer.sums,
        "history": trainer.history,
    }


def arrays(model, optimizer):
    """All arrays that change from step to step, on the host: {"model/..." and "optimizer/...": }"""
    parameters = {f"model/{name}": value for name, value in model.state_dict().items()}
    return parameters | {f"optimizer/{k}": to_host(v) for k, v in optimizer.state.items()}


def load_model(folder, xp=np):
    """The trained model of a run's folder, on the host or, with xp=cupy, on the GPU.

    Raises UserError if there is no checkpoint, or if make_model does not build its model.
    """
    held, about = load_checkpoint(Path(folder) / "checkpoint.npz")
    model, parameters = build_model(about, held), arrays_under("model/", held)
    require_arrays(parameters, model.state_dict())
    model.load_state_dict(parameters)
    return model.to(xp)


def build_model(about, arrays):
    """The model of a checkpoint before its training, as make_model builds it, of its dtype."""
    if about.get("model", "") is None:
        raise UserError(
            "the run's model was not built by make_model, or was changed afterwards; build it in "
            "Python, and go on with Trainer.restore"
        )
    require_types(about, {"model": dict})
    _require_size(about["model"], arrays)
    dtypes = {array.dtype for array in arrays_under("model/", arrays).values()}
    dtype = dtypes.pop() if len(dtypes) == 1 else np.dtype("f4")
    try:
        return make_model(**about["model"]).to(dtype=dtype if dtype.kind == "f" else None)
    except (UserError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise unfit(error) from error


def arrays_under(prefix, arrays):
    """The arrays whose names begin with `prefix`, under the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def require_types(about, kinds):
    """That `about` holds these names and types; float stands for every finite number."""
    for name, kind in kinds.items():
        _require(name in about, f"it has no {name}")
        value = about[name]
        right = _is_number(value) if kind is float else type(value) is kind
        _require(right, f"{name} must be a {kind.__name__}, got {reprlib.repr(value)}")


def _require_size(settings, arrays):
    """That the arguments of make_model ask for no layer wider than all of the arrays."""
    most = sum(array.size for array in arrays.values())
    for name in settings.keys() - {"seed"}:
        widths = settings[name] if isinstance(settings[name], list) else [settings[name]]
        too_wide = [width for width in widths if isinstance(width, int) and width > most]
        _require(not too_wide, f"{name} is {too_wide}, but its arrays have only {most} numbers")


def load_data_of(about, dataset=None, data_dir=None):
    """The Dataset that the run was trained on. dataset, data_dir: where it is now, if elsewhere.

    Raises UserError if it is not there, or if other data are.
    """
    if dataset is not None:
        about = about | {"dataset_source": dataset}
    if about.get("dataset_source", "") is None:
        raise UserError(
            "the run was trained on arrays; name a file that holds them with --dataset, or go on "
            "with the run in Python, with Trainer.restore"
        )
    require_types(about, {"dataset": str, "dataset_source": str, "train_examples": int})
    data, size = load_dataset(about["dataset_source"], data_dir), about["train_examples"]
    if len(data.x_train) < size:
        raise UserError(
            f"the run was trained on {size} examples of {about['dataset']}, but this {data.name} "
            f"has only {len(data.x_train)}; give the same data"
        )
    data = data.head(size)
    if "columns" in about:
        data = data.standardized()
    require_data(about, data)
    return data


def require_data(about, data):
    """That the run was trained on the Dataset `data`."""
    require_types(about, {"dataset": str, "dataset_sha256": str})
    trained, given = about["dataset_sha256"], data.fingerprint
    if trained != given:
        raise UserError(
            f"the run was trained on {about['dataset']} with SHA-256 {trained[:12]}..., but this "
            f"{data.name} has {given[:12]}...; give the same data"
        )


def require_same_run(about, own):
    """That the checkpoint's run has the settings `own`, those of Trainer.about.

    The number of epochs and of threads may differ. Checkpoints of earlier versions do not say all.
    """
    for name in ("model", "train_examples", "test_examples", "own_schedule", "config"):
        held, given = about.get(name, own[name]), own[name]
        if name == "config":
            held, given = ({**values, "epochs": 0, "threads": 0} for values in (held, given))
        if held != given:
            raise UserError(
                f"the checkpoint is of another run: its {name} is {reprlib.repr(held)}, but this "
                f"run's is {reprlib.repr(given)}; give both the same"
            )


def require_progress(about, term_names, steps_per_epoch):
    """That step, seconds, sums and history agree with each other and with the run."""
    require_types(about, {"step": int, "seconds": float, "sums": dict, "history": list})
    step, history, sums = about["step"], about["history"], about["sums"]
    epochs, steps = divmod(step, steps_per_epoch)
    _require(step >= 0, f"step must not be negative, got {step}")
    _require(about["seconds"] >= 0, f"seconds must not be negative, got {about['seconds']}")
    _require(
        sums.keys() == set(term_names) and all(map(_is_number, sums.values())),
        f"sums must hold numbers called {', '.join(term_names)}, got {reprlib.repr(sums)}",
    )
    _require(steps > 0 or not any(sums.values()), "sums must be 0 at the end of an epoch")
    _require(
        len(history) == epochs,
        f"{step} steps of {steps_per_epoch} an epoch make {epochs} epochs, but history has "
        f"{len(history)} rows",
    )
    numbers = {f"{of}_{name}" for of in ("train", "test") for name in ("total", *term_names)}
    numbers.add("seconds")
    for epoch, row in enumerate(history, start=1):
        what = f"row {epoch} of history"
        _require(isinstance(row, dict) and row.get("epoch") == epoch, f"{what} is of another epoch")
        _require(row.keys() == history[0].keys(), f"{what} has other columns than row 1")
        _require(row.keys() >= numbers, f"{what} lacks columns")
        wrong = [name for name in row if not _is_number(row[name]) and name in numbers]
        _require(not wrong, f"{what} must hold finite numbers, but not in {', '.join(wrong)}")


def require_arrays(arrays, expected):
    """That names, shapes and dtypes are those of the arrays `expected`, and all numbers finite."""
    _require(
        arrays.keys() == expected.keys(),
        f"it must hold the arrays of the run's model and optimizer, but these are missing or too "
        f"many: {reprlib.repr(sorted(arrays.keys() ^ expected.keys()))}",
    )
    for name, array in arrays.items():
        right, got = ((a.dtype.name, a.shape) for a in (expected[name], array))
        _require(right == got, f"{name} must have dtype and shape {right}, got {got}")
        _require(bool(np.isfinite(array).all()), f"{name} must hold finite numbers")


def require_steps(arrays, step):
    """That an optimizer that counts its steps has made as many as the run."""
    counted = arrays.get("optimizer/step", step)
    _require(counted == step, f"the optimizer has made {counted} steps, but the run {step}")


def _is_number(value):
    if type(value) is int:
        return abs(value) < 2**63
    return type(value) is float and math.isfinite(value)


def _require(right, reason):
    if not right:
        raise unfit(reason)


def unfit(reason):
    """The UserError for a checkpoint that no run can go on from, for this reason."""
    return UserError(
        f"the checkpoint does not fit this version of tinyvae ({reason}); resume it with the "
        "version in its config.json, or train anew"
    )
