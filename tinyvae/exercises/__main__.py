"""Grade the exercises: python -m tinyvae.exercises [FOLDER or FILE]

FOLDER holds the ten files of docs/exercises, or a copy of them in which you write your solutions.
FILE is one of the ten. Without an argument the files in docs/exercises are graded. The exit code is
0 if everything is right, and 1 otherwise. docs/exercises/README.md says more.
"""

import os
import sys
import textwrap
from pathlib import Path

import tinyvae
from tinyvae.errors import UserError
from tinyvae.exercises.catalogue import EXERCISES
from tinyvae.exercises.grader import NOT_DONE, RIGHT, WRONG, grade
from tinyvae.training.command_line import Parser, exit_code, given_path

PROGRAM = "python -m tinyvae.exercises"
WIDTH = 100


def main(arguments=None):
    parser = Parser(__doc__, prog=PROGRAM, usage=f"{PROGRAM} [FOLDER or FILE]")
    parser.add_argument(
        "path", nargs="?", type=given_path, help="a folder of exercises, or one exercise"
    )
    path = parser.parse_args(arguments).path
    return exit_code(PROGRAM, lambda: run(path))


def run(path=None):
    """Grade and print; 0 if all is right, else 1. Raises UserError for a path that is none."""
    folder, exercises = _chosen(_docs() if path is None else path)
    print(f"Exercises in {folder}:\n")
    left = []
    for exercise in exercises:
        verdicts = grade(exercise, folder / exercise.file)
        kind = _kind(verdicts)
        number = int(exercise.file[:2])
        print(f"{number:2}  {exercise.title:28}{kind}{_count(verdicts, kind)}", flush=True)
        for line in _all_lines(verdicts) if len(exercises) == 1 else _first_lines(verdicts):
            print(line)
        left += [exercise] if kind != RIGHT else []
    print(f"\n{len(exercises) - len(left)} of {len(exercises)} right.")
    if left:
        print(f"Next: {folder / left[0].file}, chapter docs/book/{left[0].chapter}")
    return int(bool(left))


def _docs():
    folder = Path(tinyvae.__file__).parents[1] / "docs" / "exercises"
    if not folder.is_dir():
        raise UserError(
            "docs/exercises is not beside the package; name the folder of the exercises"
        )
    here = os.path.relpath(folder)
    return folder if here.startswith("..") else Path(here)


def _chosen(path):
    """(the folder, the exercises to grade)"""
    files = {exercise.file: exercise for exercise in EXERCISES}
    if path.is_dir():
        if not any((path / name).exists() for name in files):
            raise UserError(f"{path} has none of the files {', '.join(files)}; copy docs/exercises")
        return path, EXERCISES
    if not path.exists():
        raise UserError(f"there is no file or folder {path}")
    if path.name not in files:
        raise UserError(
            f"{path}: the file of an exercise keeps its name, one of {', '.join(files)}"
        )
    return path.parent, [files[path.name]]


def _kind(verdicts):
    kinds = {verdict.kind for verdict in verdicts}
    return WRONG if WRONG in kinds else NOT_DONE if NOT_DONE in kinds else RIGHT


def _count(verdicts, kind):
    right = sum(verdict.kind == RIGHT for verdict in verdicts)
    return f"  ({right} of {len(verdicts)} functions right)" if right and kind != RIGHT else ""


def _first_lines(verdicts):
    return next((_lines(v.sentences, 6) for v in verdicts if v.sentences), [])


def _all_lines(verdicts):
    for verdict in verdicts:
        if verdict.name:
            yield f"    {verdict.name:28}{verdict.kind}"
        yield from _lines(verdict.sentences, 6)


def _lines(sentences, indent):
    spaces = " " * indent
    for sentence in sentences:
        yield textwrap.fill(
            sentence.rstrip(".") + ".",
            WIDTH,
            initial_indent=spaces,
            subsequent_indent=spaces + "  ",
        )


if __name__ == "__main__":
    sys.exit(main())
