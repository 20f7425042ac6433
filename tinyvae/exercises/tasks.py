"""What an exercise is made of: tasks, the cases they are tried on, and the classic mistakes."""

import inspect
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from tinyvae.rng import generator


class Case(NamedTuple):
    """Arrays and numbers by name. A task takes those that are named like its arguments."""

    values: dict
    sizes: dict  # {letter: size}: the factors by which a result may be wrong have names
    extreme: str = ""  # what is extreme about an extreme case, such as "large logits"
    geometry: str = ""  # of images: their sizes, and the kernel, stride and padding


class Task(NamedTuple):
    """One function that the learner writes.

    `cases` has ordinary cases, at least two of them with different sizes, so that a factor N cannot
    be taken for another number. After them it may have extreme cases.
    """

    solution: Callable  # calls tinyvae; it has the name and the arguments of the learner's function
    results: str  # their names, with spaces between; "" for a dict, which has names of its own
    mistakes: tuple  # pairs (sentence, wrong solution); the sentence is said if the results agree
    cases: Callable  # () -> an iterable of Case

    @property
    def name(self):
        return self.solution.__name__

    @property
    def arguments(self):
        return _parameters(self.solution)

    def run(self, solution, case):
        """The results of a solution: {name: array}."""
        results = solution(*(case.values[name] for name in self.arguments))
        if not self.results:
            return results
        results = results if isinstance(results, tuple) else (results,)
        return dict(zip(self.results.split(), map(np.asarray, results), strict=True))


class Exercise(NamedTuple):
    """A file of the learner, in docs/exercises and in the learner's copy of it."""

    file: str  # its name; it begins with the exercise's number
    title: str
    chapter: str  # a file in docs/book
    tasks: tuple


def normal(purpose, *shapes):
    """A standard normal float64 array of each shape; always the same for the same purpose."""
    rng = generator(0, f"exercises {purpose}")
    return [rng.standard_normal(shape) for shape in shapes]


def changed(solution, name, change):
    """A wrong solution: the right one of arguments of which the one called `name` is changed."""
    names = _parameters(solution)

    def wrong(*arguments):
        values = dict(zip(names, arguments, strict=True))
        return solution(**values | {name: change(values[name])})

    return wrong


@cache
def _parameters(function):
    return list(inspect.signature(function).parameters)
