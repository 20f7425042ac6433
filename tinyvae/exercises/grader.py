"""Grading: each function of an exercise is right, not done or wrong."""

from functools import cache
from typing import NamedTuple

import numpy as np

from tinyvae.exercises.diagnosis import Evidence, diagnosis, unknown
from tinyvae.exercises.differences import agree, first_difference
from tinyvae.exercises.learner import NotDone, Wrong, call, function_of, load

RIGHT, WRONG, NOT_DONE = "right", "wrong", "not done"


class Verdict(NamedTuple):
    """What is said about one function of the learner, or about the whole file (name "")."""

    name: str
    kind: str  # RIGHT, WRONG or NOT_DONE
    sentences: tuple = ()


def grade(exercise, path):
    """The verdicts on the learner's file: one for each task, or one on the whole file."""
    if not path.exists():
        return [Verdict("", NOT_DONE, (f"There is no file {path.name}",))]
    running, verdicts = "", []
    try:
        with np.errstate(all="ignore"):  # what overflows is told by the grader
            names = load(path)
            for task in exercise.tasks:
                running = f", {task.name}"
                wrong = [verdict.name for verdict in verdicts if verdict.kind == WRONG]
                verdicts.append(_verdict(task, names, path, wrong))
    except Wrong as wrong:
        return [Verdict("", WRONG, (str(wrong),))]
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f" in {path}{running}") from None
    return verdicts


def _verdict(task, names, path, wrong):
    """wrong: the names of the functions before that are wrong; this one may call them."""
    try:
        function = function_of(names, task)
        sentences = mistakes_in(function, task, path)
        called = set(wrong).intersection(getattr(function, "__code__", _verdict.__code__).co_names)
        if sentences and called:
            first = next(name for name in wrong if name in called)
            sentences = (f"{task.name}: it calls {first}, which is wrong", f"Correct {first} first")
    except NotDone:
        return Verdict(task.name, NOT_DONE)
    except Wrong as wrong:
        return Verdict(task.name, WRONG, (str(wrong),))
    return Verdict(task.name, WRONG if sentences else RIGHT, sentences)


def mistakes_in(function, task, path):
    """What is wrong with the learner's function, in sentences; () if nothing is."""
    for cases, expected in _groups(task):
        got, changed = _call(function, task, cases, list(expected[0]), path)
        if first := _first_wrong(got, expected):
            again, _ = _call(function, task, cases, list(expected[0]), path)
            return _explained(Evidence(task, cases, got, expected, *first), again, changed)
        if changed:
            return (
                f"{task.name}: the results are right, but it writes into its argument {changed[0]}",
                "Other code may still need that array: compute in a new one",
            )
    return ()


@cache
def _groups(task):
    """Pairs (cases, expected results): the ordinary cases together, then each extreme one alone."""
    cases = list(task.cases())
    groups = [[case for case in cases if not case.extreme], *([c] for c in cases if c.extreme)]
    return [(group, [task.run(task.solution, case) for case in group]) for group in groups]


def _call(function, task, cases, names, path):
    """The results for each case, and the names of the arguments that are written into."""
    calls = [call(function, task, case, names, path) for case in cases]
    return [results for results, _ in calls], [name for _, names in calls for name in names]


def _first_wrong(got, expected):
    """(number of the case, name of the result) of the first result that is wrong, or None."""
    for i, (mine, right) in enumerate(zip(got, expected, strict=True)):
        for name in right:
            if mine[name].dtype != right[name].dtype or not agree(mine[name], right[name]):
                return i, name
    return None


def _explained(evidence, again, changed):
    """The sentences about wrong results: where they differ, and which mistake it looks like."""
    name, case = evidence.name, evidence.cases[evidence.case]
    mine, right = evidence.got[evidence.case][name], evidence.expected[evidence.case][name]
    if agree(mine, right):
        where = f"{name} has the dtype {mine.dtype}, expected {right.dtype}"
        looks = "Looks like: a change of the dtype; compute in the dtype of the arguments"
    else:
        where = first_difference(name, mine, right)
        if not all(evidence.same(again, n) for n in evidence.expected[0]):
            looks = "Another call gives other results: random numbers, or a value that is kept"
        elif mistake := diagnosis(evidence):
            looks = f"Looks like: {mistake}"
        else:
            looks = unknown(mine, right)
    sizes = ", ".join(f"{letter} = {size}" for letter, size in case.sizes.items())
    here = ", ".join(filter(None, (sizes, case.geometry)))
    where = [f"{evidence.task.name}: {where}", case.extreme, here and f"here {here}"]
    besides = f"; besides, it writes into its argument {changed[0]}" if changed else ""
    return "; ".join(filter(None, where)), looks + besides
