"""Running the learner's code. Whatever it does wrong becomes a sentence for the learner."""

import copy
import inspect
import os
import sys
import traceback
from contextlib import contextmanager
from types import ModuleType

import numpy as np


class NotDone(Exception):
    """The learner has not written this function yet."""


class Wrong(Exception):
    """A mistake that is not in the numbers, told in one sentence."""


def load(path):
    """The names that the file defines: {name: value}. Raises Wrong if it cannot be run."""
    module = sys.modules["exercise"] = ModuleType("exercise")  # where dataclasses look for it
    module.__file__ = str(path)
    try:
        with _guarded():
            exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), vars(module))
    except (KeyboardInterrupt, Wrong):
        raise
    except SyntaxError as error:
        where = f" in line {error.lineno}" if error.lineno else ""
        raise Wrong(f"{type(error).__name__}{where}: {error.msg}") from None
    except OSError as error:
        if not _line(error, path):
            raise Wrong(f"the file cannot be read: {error.strerror}") from None
        raise Wrong(_told(error, path)) from None
    except BaseException as error:
        raise Wrong(_told(error, path)) from None
    return vars(module)


@contextmanager
def _guarded():
    """While this lasts, NumPy, the current folder and the output stay as they are.

    A file that replaces np.abs would change what the grader, and the files after it, compute.
    Raises Wrong if the file replaces something in NumPy.
    """
    folder, output = os.getcwd(), (sys.stdout, sys.stderr)
    before = {module: dict(vars(module)) for module in (np, np.linalg, np.random)}
    try:
        yield
    finally:
        os.chdir(folder)
        sys.stdout, sys.stderr = output
        changed = []
        for module, names in before.items():
            found = (name for name in names if vars(module).get(name) is not names[name])
            changed += (f"{module.__name__}.{name}" for name in found)
            vars(module).update(names)
    if changed:
        raise Wrong(f"the file replaces {changed[0]}; leave NumPy as it is")


def function_of(names, task):
    """The learner's function. Raises Wrong if it is missing or takes other arguments."""
    function = names.get(task.name)
    if not callable(function):
        raise Wrong(f"{task.name}: the file has no function of this name")
    try:
        signature = inspect.signature(function)
    except Exception:  # a function written in C does not tell
        return function
    parameters = signature.parameters.values()
    required = [p.name for p in parameters if p.default is p.empty and p.kind < p.VAR_POSITIONAL]
    positional = [p.name for p in parameters if p.kind < p.VAR_POSITIONAL]
    free = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    expected = task.arguments
    count_fits = len(required) <= len(expected) and (free or len(expected) <= len(positional))
    other_order = sorted(positional) == sorted(expected) and positional != expected
    if not count_fits or other_order:
        raise Wrong(f"{task.name} takes {signature}; it must take ({', '.join(expected)})")
    return function


def call(function, task, case, names, path):
    """(the results {name: array}, the names of arguments that the function has changed).

    names: those of the results. Raises NotDone, or Wrong if the function raises an exception or
    returns something of another kind.
    """
    given = [case.values[name] for name in task.arguments]
    passed = copy.deepcopy(given)
    try:
        with _guarded():
            results = function(*passed)
    except NotImplementedError:
        raise NotDone from None
    except (KeyboardInterrupt, Wrong):
        raise
    except BaseException as error:
        raise Wrong(f"{task.name}: {_told(error, path)}") from None
    pairs = zip(task.arguments, given, passed, strict=True)
    return _named(results, task, names), [name for name, a, b in pairs if not _equal(a, b)]


def _named(results, task, names):
    if results is None:
        raise Wrong(f"{task.name} returns None: is the return forgotten?")
    if not task.results:
        if not isinstance(results, dict):
            raise Wrong(
                f"{task.name} returns a {type(results).__name__}, expected a dict of arrays"
            )
        if missing := [name for name in names if name not in results]:
            raise Wrong(f"{task.name}: the dict has no gradient of {', '.join(missing)}")
        return {n: _array(results[n], f"{task.name}: the gradient of {n}") for n in names}
    several = isinstance(results, tuple | list)
    if several != (len(names) > 1) or several and len(results) != len(names):
        got = f"a {type(results).__name__}" + (f" of {len(results)}" if several else "")
        raise Wrong(f"{task.name} returns {got}, expected {_expected(names)}")
    results = results if several else [results]
    return {n: _array(r, f"{task.name}: {n}") for n, r in zip(names, results, strict=True)}


def _expected(names):
    return f"{len(names)} results: {', '.join(names)}" if len(names) > 1 else f"{names[0]} alone"


def _array(value, name):
    if not isinstance(value, np.ndarray | np.generic | int | float):
        raise Wrong(f"{name} is a {type(value).__name__}, expected a NumPy array or a number")
    value = np.asarray(value)
    if value.dtype.kind not in "fiub":
        raise Wrong(f"{name} has the dtype {value.dtype}, expected real numbers")
    return value


def _equal(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    return np.array_equal(a, b)


def _told(error, path):
    """The exception, its line in the learner's file, and the first line of what it says."""
    try:
        said = (str(error).splitlines() or [""])[0]
    except Exception:
        said = ""
    line = _line(error, path)
    where = f" in line {line}" if line else ""
    return f"{type(error).__name__}{where}" + (f": {said}" if said else "")


def _line(error, path):
    frames = traceback.extract_tb(error.__traceback__)
    return next((f.lineno for f in reversed(frames) if f.filename == str(path)), None)
