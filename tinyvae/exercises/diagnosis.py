"""Which classic mistake a wrong result looks like.

The results of the learner are compared with those of the exercise's mistakes, and with the expected
results after simple changes: another sign, a factor, a transpose. A mistake is named only if it
gives the learner's numbers in all cases.
"""

from itertools import permutations
from typing import NamedTuple

import numpy as np

from tinyvae.exercises.differences import agree, differing, scale, transformation
from tinyvae.exercises.tasks import Task


class Evidence(NamedTuple):
    """What is known about wrong results; `got` and `expected` have {name: array} for each case."""

    task: Task
    cases: list
    got: list
    expected: list
    case: int  # the number of the first case that is wrong
    name: str  # the name of the first result that is wrong

    def pairs(self, name):
        """(got, expected) of this result, for each case."""
        return [(g[name], e[name]) for g, e in zip(self.got, self.expected, strict=True)]

    @property
    def wrong(self):
        names = self.expected[0]
        return [name for name in names if not all(agree(*pair) for pair in self.pairs(name))]

    def same(self, others, name):
        """Whether `others`, {name: array} for each case, have this result too."""
        return all(agree(g[name], o[name]) for g, o in zip(self.got, others, strict=True))

    def also(self, words):
        """The other wrong results, in brackets."""
        others = [name for name in self.wrong if name != self.name]
        return f" ({words} {', '.join(others)})" if others else ""


def diagnosis(evidence):
    """The mistake that explains most of what is wrong, in a sentence; None if none is found."""
    for explain in (
        _overflow,
        _one_mistake,
        _another_order,
        _one_change,
        _mistake_in_one_result,
        _change_of_one_result,
        _two_mistakes,
    ):
        if sentence := explain(evidence):
            return sentence
    return None


def _overflow(evidence):
    extreme = evidence.cases[evidence.case].extreme
    if extreme and not np.isfinite(evidence.got[evidence.case][evidence.name]).all():
        return f"an overflow: right elsewhere, but with {extreme} exp is inf or 0"
    return None


def _one_mistake(evidence):
    for sentence, theirs in _mistakes(evidence):
        if all(evidence.same(theirs, name) for name in evidence.expected[0]):
            return sentence
    return None


def _another_order(evidence):
    if not evidence.task.results:  # a dict has no order
        return None
    for order in permutations(names := list(evidence.expected[0])):
        others = [dict(zip(names, map(e.get, order), strict=True)) for e in evidence.expected]
        if all(evidence.same(others, name) for name in names):
            return f"the results are in the order {', '.join(order)}, not {', '.join(names)}"
    return None


def _one_change(evidence):
    """The same change of all wrong results."""
    changes = {_change(evidence, name) for name in evidence.wrong}
    return None if len(changes) > 1 or None in changes else changes.pop() + evidence.also("also in")


def _mistake_in_one_result(evidence):
    for sentence, theirs in _mistakes(evidence):
        if evidence.same(theirs, evidence.name):
            return sentence + evidence.also("wrong too:")
    return None


def _change_of_one_result(evidence):
    change = _change(evidence, evidence.name)
    return change and change + evidence.also("wrong too:")


def _two_mistakes(evidence):
    """A classic mistake, and besides it another sign or factor."""
    name, sizes = evidence.name, [case.sizes for case in evidence.cases]
    if _one_number(evidence, name):
        return None
    for sentence, theirs in _mistakes(evidence):
        pairs = [(g[name], t[name]) for g, t in zip(evidence.got, theirs, strict=True)]
        if factor := scale(pairs, sizes):
            return f"two mistakes: {sentence}; and {factor}{evidence.also('wrong too:')}"
    return None


def _change(evidence, name):
    if _one_number(evidence, name):
        return None
    return transformation(evidence.pairs(name), [case.sizes for case in evidence.cases])


def _one_number(evidence, name):
    """A single number is a multiple of any other, which tells nothing."""
    return len(evidence.cases) == 1 and evidence.got[0][name].size == 1


def _mistakes(evidence):
    """(sentence, results for each case) of the classic mistakes."""
    if not any(_finite_where_wrong(*pair) for pair in evidence.pairs(evidence.name)):
        return  # NaN comes from many mistakes
    for sentence, solution in evidence.task.mistakes:
        yield sentence, [evidence.task.run(solution, case) for case in evidence.cases]


def _finite_where_wrong(got, expected):
    if got.shape != expected.shape:
        return bool(np.isfinite(got).all())
    return bool(np.isfinite(got[differing(got, expected)]).any())


def unknown(got, expected):
    """What is said if no mistake is found."""
    if not np.isfinite(got).all():
        return "A logarithm of 0 or less, a division by 0, or an overflow gives such a number"
    known = "No mistake that the grader knows gives this result"
    if got.shape != expected.shape:
        return known
    index = tuple(np.argwhere(differing(got, expected))[0])
    if expected[index] == 0:
        return known
    return f"{known}; this element is {got[index] / expected[index]:.4g} times the expected one"
