"""The grader on right answers, on untouched files, and on answers with a known mistake."""

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tinyvae import make_model
from tinyvae.engine import gaussian
from tinyvae.exercises import codes, weights
from tinyvae.exercises.catalogue import EXERCISES
from tinyvae.exercises.grader import NOT_DONE, RIGHT, WRONG, grade, mistakes_in
from tinyvae.exercises.tasks import Case, Task
from tinyvae.models.layout import as_vectors

HERE = Path(__file__).parent
ANSWERS = HERE / "answers"
DOCS = HERE.parents[1] / "docs" / "exercises"
BY_FILE = {exercise.file: exercise for exercise in EXERCISES}
TASKS = [task for exercise in EXERCISES for task in exercise.tasks]
NO_MISTAKE = "No mistake that the grader knows gives this result"

every_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.file)
every_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


def mistakes():
    """(file, right words, wrong words, part of the diagnosis), from mistakes.txt."""
    file = None
    for number, line in enumerate((HERE / "mistakes.txt").read_text("utf-8").splitlines(), 1):
        if line in BY_FILE:
            file = line
        elif file and line:
            yield pytest.param(file, *line.split(" => "), id=f"{file}, line {number}")


@cache
def answer(file):
    return (ANSWERS / file).read_text("utf-8")


@pytest.fixture
def said(tmp_path):
    """What the grader says about an answer in which some words are replaced."""

    def say(file, right, wrong):
        assert right in answer(file), f"{file} no longer has {right!r}"
        path = tmp_path / file
        path.write_text(answer(file).replace(right, wrong), "utf-8")
        verdicts = [v for v in grade(BY_FILE[file], path) if v.kind != RIGHT]
        assert {v.kind for v in verdicts} <= {WRONG}
        return " ".join(verdicts[0].sentences) if verdicts else RIGHT

    return say


def test_the_ten_exercises():
    assert len(EXERCISES) == 10
    assert [int(file[:2]) for file in BY_FILE] == list(range(1, 11))
    assert {path.name for path in DOCS.glob("*.py")} == set(BY_FILE)
    assert {path.name for path in ANSWERS.glob("*.py")} == set(BY_FILE)


@every_exercise
def test_right_answers_are_right(exercise):
    verdicts = grade(exercise, ANSWERS / exercise.file)
    assert [(v.name, v.kind) for v in verdicts] == [(task.name, RIGHT) for task in exercise.tasks]


@every_exercise
def test_untouched_files_are_not_done(exercise):
    verdicts = grade(exercise, DOCS / exercise.file)
    assert [(v.name, v.kind) for v in verdicts] == [
        (task.name, NOT_DONE) for task in exercise.tasks
    ]


@every_exercise
def test_the_statement_names_its_chapter_and_command(exercise):
    statement = (DOCS / exercise.file).read_text("utf-8")
    assert f"docs/book/{exercise.chapter}" in statement
    assert f"python -m tinyvae.exercises docs/exercises/{exercise.file}\n" in statement
    assert not re.search(r"^(import|from) (?!numpy)", statement, re.M)


@pytest.mark.parametrize("file, right, wrong, expected", [*mistakes()])
def test_a_mistake_gets_its_diagnosis(said, file, right, wrong, expected):
    assert (NO_MISTAKE if expected == "none" else expected) in said(file, right, wrong)


@every_task
def test_every_mistake_of_the_catalogue_is_told_from_the_others(task):
    for sentence, solution in task.mistakes:

        def learner(*arguments, solution=solution):
            return solution(*arguments)

        with np.errstate(all="ignore"):
            assert sentence in mistakes_in(learner, task, Path())[1]


@every_task
@pytest.mark.parametrize("place", [0, -1])
def test_one_wrong_element_is_found_and_is_no_classic_mistake(task, place):
    name = None

    def learner(*arguments):
        nonlocal name
        case = Case(dict(zip(task.arguments, arguments, strict=True)), {})
        results = task.run(task.solution, case)
        name = list(results)[place]
        array = results[name] = np.array(results[name])
        # by more in a larger case, so that it is not the same number or factor in all cases
        array.flat[place] += (
            1e-8 * np.abs(array).max() * np.size(arguments[-1]) ** 2 * np.size(array)
        )
        if not task.results:
            return results
        return tuple(results.values()) if len(results) > 1 else results[name]

    with np.errstate(all="ignore"):
        where, diagnosis = mistakes_in(learner, task, Path())
    assert f"{task.name}: {name}" in where
    assert diagnosis.startswith(NO_MISTAKE)


def test_a_constant_factor_of_a_single_number_is_not_explained():
    """It is as large in every case, and it is not N, D or 2."""
    task = next(task for task in TASKS if task.name == "kl_loss")
    _, diagnosis = mistakes_in(lambda mu, logvar: 0.37 * codes.kl_loss(mu, logvar), task, Path())
    assert diagnosis == f"{NO_MISTAKE}; this element is 0.37 times the expected one"


def test_nan_is_no_evidence_of_a_mistake():
    """Many mistakes give NaN, so one that gives NaN too is not named."""

    def identity(x):
        return x

    cases = [Case({"x": np.arange(1.0, n)}, {"N": n}) for n in (5, 7)]
    task = Task(identity, "y", (("the mistake", lambda x: np.log(-x)),), lambda: cases)
    with np.errstate(invalid="ignore"):
        _, diagnosis = mistakes_in(lambda x: np.sqrt(-x), task, Path())
        assert diagnosis.startswith("A logarithm of 0 or less")
        _, diagnosis = mistakes_in(lambda x: np.sqrt(3 - x), task, Path())
        assert "the mistake" not in diagnosis


def test_log_weights_are_those_of_the_model():
    """The expected numbers of exercise 10 are put together of tinyvae's log-densities."""
    rng = np.random.default_rng(0)
    x, eps = rng.random((5, 7)), rng.standard_normal((3, 5, 2))
    model = make_model("vae", "mlp", 2, shape=7, hidden=4).to(np, np.float64)
    mu, logvar = (array.T for array in model.encode(x))
    z = gaussian.reparameterize(mu[:, None], logvar[:, None], eps.transpose(2, 0, 1))
    logits = model.decoder.forward(z.reshape(2, -1)).reshape(7, 3, 5)
    log_px = model.likelihood.log_prob(as_vectors(x.T, 1, 5), logits)
    log_w = weights.log_weights(log_px, z, mu, logvar)
    np.testing.assert_allclose(log_w, model.log_weights(x, eps), rtol=1e-12)
