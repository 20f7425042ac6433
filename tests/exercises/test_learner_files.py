"""Whatever is wrong with the learner's file becomes a sentence; and what the command prints."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinyvae
from tinyvae.exercises.__main__ import main
from tinyvae.exercises.catalogue import EXERCISES
from tinyvae.exercises.grader import NOT_DONE, RIGHT, WRONG, grade

ROOT = Path(tinyvae.__file__).parents[1]
ANSWERS = Path(__file__).parent / "answers"
LINEAR, RELU = EXERCISES[:2]
FORWARD = "import numpy as np\n\ndef relu_forward(x):\n    "
RIGHT_BACKWARD = "\n\ndef relu_backward(dy, x):\n    return dy * (x > 0)\n"


@pytest.fixture
def relu(tmp_path):
    """The verdicts on a file for exercise 2."""

    def verdicts(source):
        path = tmp_path / RELU.file
        path.write_bytes(source if isinstance(source, bytes) else source.encode())
        return grade(RELU, path)

    return verdicts


@pytest.mark.parametrize(
    "source, sentence",
    [
        ("x = 1\ndef relu_forward(x:\n", "SyntaxError in line 2: "),
        ("def relu_forward(x):\nreturn x", "IndentationError in line 2: "),
        ("import numpy as np\nnp.zeros(3)[5]", "IndexError in line 2: index 5 is out of bounds"),
        ("import no_such_module", "ModuleNotFoundError in line 1: No module named"),
        ("x = 1\nopen('no such file')", "FileNotFoundError in line 2: "),
        ("import sys\nsys.exit('stop')", "SystemExit in line 2: stop"),
        (b"x = '\xff'", "SyntaxError in line "),
        (b"x = 1\x00", "null bytes"),
    ],
)
def test_a_file_that_cannot_be_run(relu, source, sentence):
    (verdict,) = relu(source)
    assert (verdict.name, verdict.kind) == ("", WRONG)
    assert sentence in verdict.sentences[0]


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / RELU.file).mkdir()
    (verdict,) = grade(RELU, tmp_path / RELU.file)
    assert verdict.kind == WRONG and verdict.sentences[0].startswith("the file cannot be read: ")


@pytest.mark.parametrize(
    "body, sentence",
    [
        ("return 1 / 0", "ZeroDivisionError in line 4: division by zero"),
        ("return y", "NameError in line 4: name 'y' is not defined"),
        ("return np.maximum(x, np.zeros((2, 3)))", "ValueError in line 4: operands could not be"),
        ("raise ValueError('first\\nsecond')", "ValueError in line 4: first"),
        ("raise ValueError", "ValueError in line 4"),
        ("return relu_forward(x)", "RecursionError in line 4: "),
        ("exit()", "SystemExit"),
        ("pass", "relu_forward returns None: is the return forgotten?"),
        ("...", "relu_forward returns None"),
        ("return x, x", "returns a tuple of 2, expected y alone"),
        ("return [x]", "returns a list of 1, expected y alone"),
        ("return 'x'", "y is a str, expected a NumPy array or a number"),
        ("return x.astype(object)", "y has the dtype object, expected real numbers"),
        ("return x * 1j", "y has the dtype complex128"),
        ("return np.maximum(x, 0) + np.inf", "y[0, 0] is inf, expected 2.84723 (35 of 35"),
        ("return np.maximum(x, 0) * np.nan", "y[0, 0] is nan, expected 2.84723 (35 of 35"),
        ("return 0.0", "y has the shape (), expected (5, 7)"),
        ("return np.zeros((0, 7))", "y has the shape (0, 7), expected (5, 7)"),
        ("return np.zeros(x.shape, int)", "y[0, 0] is 0, expected 2.84723"),
    ],
)
def test_a_function_that_fails(relu, body, sentence):
    forward, backward = relu(FORWARD + body + RIGHT_BACKWARD)
    assert (forward.kind, backward.kind) == (WRONG, RIGHT)
    assert sentence in forward.sentences[0]
    assert forward.sentences[0].startswith("relu_forward")


@pytest.mark.parametrize(
    "head, said",
    [
        ("def relu(x)", "relu_forward: the file has no function of this name"),
        ("def relu_forward()", "relu_forward takes (); it must take (x)"),
        ("def relu_forward(x, y)", "relu_forward takes (x, y); it must take (x)"),
        ("def relu_forward(*, x)", "relu_forward takes (*, x); it must take (x)"),
    ],
)
def test_a_function_of_another_name_or_signature(relu, head, said):
    forward, _ = relu(f"{head}:\n    return 0{RIGHT_BACKWARD}")
    assert (forward.kind, forward.sentences) == (WRONG, (said,))


def test_arguments_in_another_order(relu):
    backward = "\ndef relu_backward(x, dy):\n    return dy * (x > 0)\n"
    verdict = relu(FORWARD + "return np.maximum(x, 0)" + backward)[1]
    assert verdict.sentences == ("relu_backward takes (x, dy); it must take (dy, x)",)


@pytest.mark.parametrize(
    "head", ["def relu_forward(z)", "def relu_forward(*a)", "def relu_forward(x, least=0.0)"]
)
def test_other_names_and_more_options_are_fine(relu, head):
    name = {"z": "z", "a": "a[0]", "x": "x"}[re.search(r"\(\*?(\w)", head)[1]]
    source = f"import numpy as np\n{head}:\n    return np.maximum({name}, 0.0){RIGHT_BACKWARD}"
    assert [v.kind for v in relu(source)] == [RIGHT, RIGHT]


def test_one_largest_logarithm_for_all_examples_is_not_right(tmp_path):
    """It is 0 / 0 where the weights of an example are much smaller than those of another."""
    exercise = next(one for one in EXERCISES if one.file.startswith("10"))
    source = "def normalised_weights(log_w):\n    w = np.exp(log_w - log_w.max())\n"
    source = f"import numpy as np\n{source}    return w / w.sum(axis=0)\n"
    source += "def log_weights(*a): pass\ndef importance_weighted_bound(log_w): pass\n"
    (tmp_path / exercise.file).write_text(source)
    _, verdict, _ = grade(exercise, tmp_path / exercise.file)
    assert verdict.kind == WRONG and "the examples' log_w 2000 apart" in verdict.sentences[0]


def test_a_wrong_function_that_calls_a_wrong_one(relu):
    source = FORWARD + "return -x\n\ndef relu_backward(dy, x):\n    return relu_forward(dy)\n"
    forward, backward = relu(source)
    assert forward.kind == backward.kind == WRONG
    assert backward.sentences == (
        "relu_backward: it calls relu_forward, which is wrong",
        "Correct relu_forward first",
    )


def test_one_function_done_and_one_left(relu):
    verdicts = relu(FORWARD + "raise NotImplementedError" + RIGHT_BACKWARD)
    assert [v.kind for v in verdicts] == [NOT_DONE, RIGHT]


def test_the_learners_file_leaves_numpys_settings_alone(relu):
    before = np.geterr()
    source = FORWARD.replace("\n\n", "\nnp.seterr(all='raise')\n") + "return np.maximum(x, 0)"
    assert [v.kind for v in relu(source + RIGHT_BACKWARD)] == [RIGHT, RIGHT]
    assert np.geterr() == before


def test_the_command_on_right_answers(capsys):
    assert main([str(ANSWERS)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.endswith("right") for line in lines) == 10
    assert lines[-1] == "10 of 10 right."


def test_the_command_on_the_untouched_files(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert main([]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Exercises in docs/exercises:"
    assert sum(line.endswith("not done") for line in lines) == 10
    assert lines[-2] == "0 of 10 right."
    assert lines[-1] == "Next: docs/exercises/01_linear.py, chapter docs/book/08_gradients.md"


def test_ten_wrong_answers_fit_on_a_screen(tmp_path, capsys):
    for path in ANSWERS.glob("*.py"):
        source = path.read_text("utf-8").replace("    return ", "    return 1 / 0, ")
        (tmp_path / path.name).write_text(source, "utf-8")
    assert main([str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert out.count("ZeroDivisionError in line") == 10
    assert len(out.splitlines()) <= 40
    assert all(len(line) <= 100 for line in out.splitlines()[1:-1])  # but for the path


def test_a_copy_of_which_one_file_is_solved(tmp_path, capsys):
    copy = shutil.copytree(ROOT / "docs" / "exercises", tmp_path / "mine")
    shutil.copy(ANSWERS / RELU.file, copy)
    (copy / EXERCISES[2].file).unlink()
    assert main([str(copy)]) == 1
    out = capsys.readouterr().out
    assert re.search(r"^ 1  linear layer +not done$", out, re.M)
    assert re.search(r"^ 2  ReLU +right$", out, re.M)
    assert re.search(r"^ 3  sigmoid and cross-entropy +not done$", out, re.M)
    assert "There is no file 03_cross_entropy.py." in out
    assert "1 of 10 right." in out


def test_one_file_tells_of_each_of_its_functions(tmp_path, capsys):
    source = (ANSWERS / LINEAR.file).read_text("utf-8").replace("return dW", "return -dW")
    (tmp_path / LINEAR.file).write_text(source + "\nprint('hello from the learner')\n", "utf-8")
    assert main([str(tmp_path / LINEAR.file)]) == 1
    out = capsys.readouterr().out
    assert "hello from the learner" in out
    assert re.search(r"^ 1  linear layer +wrong  \(1 of 2 functions right\)$", out, re.M)
    assert re.search(r"^ +linear_forward +right$", out, re.M)
    assert re.search(r"^ +linear_backward +wrong$", out, re.M)
    assert "Looks like: the sign is wrong." in out
    assert main([str(ANSWERS / LINEAR.file)]) == 0


def test_paths_that_are_no_exercises(tmp_path, capsys):
    (tmp_path / "mine.py").touch()
    for path, said in (
        (tmp_path, "has none of the files 01_linear.py, "),
        (tmp_path / "mine.py", "the file of an exercise keeps its name, one of 01_linear.py, "),
        (tmp_path / "nowhere", "there is no file or folder "),
    ):
        assert main([str(path)]) == 2
        assert said in capsys.readouterr().err


def test_without_the_folder_beside_the_package(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(tinyvae, "__file__", str(tmp_path / "tinyvae" / "__init__.py"))
    assert main([]) == 2
    assert "docs/exercises is not beside the package" in capsys.readouterr().err


def test_ctrl_c_during_an_endless_loop(tmp_path):
    source = (
        "def relu_forward(x):\n    print('running', flush=True)\n    while True:\n        pass\n"
    )
    (tmp_path / RELU.file).write_text(source, "utf-8")
    command = [sys.executable, "-m", "tinyvae.exercises", str(tmp_path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        assert any("running" in line for line in process.stdout)
        os.kill(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert error.strip() == f"interrupted in {tmp_path / RELU.file}, relu_forward"


DATACLASS = """from __future__ import annotations
from dataclasses import dataclass
import numpy as np

@dataclass
class Saved:
    x: object
"""


def test_a_right_answer_with_a_dataclass_is_right(relu):
    source = f"{DATACLASS}\ndef relu_forward(x):\n    return np.maximum(Saved(x).x, 0)\n"
    assert [verdict.kind for verdict in relu(source + RIGHT_BACKWARD)] == [RIGHT, RIGHT]


OWN_ABS = "np.abs = lambda a: a * 0\n"
REPLACED = {
    "in the file": FORWARD.replace("\n\n", f"\n{OWN_ABS}") + "return x\n",
    "in a function": f"{FORWARD}{OWN_ABS}    return x\n",
}


@pytest.mark.parametrize("source", REPLACED.values(), ids=REPLACED)
def test_numpy_stays_as_it_is(relu, source):
    """The grader compares with it: with such an abs every answer would be right."""
    right = np.abs
    verdicts = relu(source + RIGHT_BACKWARD)
    assert verdicts[0].kind == WRONG
    assert "replaces numpy.abs; leave NumPy as it is" in verdicts[0].sentences[0]
    assert np.abs is right


def test_the_current_folder_stays_what_it_is(relu):
    folder = os.getcwd()
    body = "import os\n    os.chdir('/')\n    return np.maximum(x, 0)\n"
    assert relu(f"import os\nos.chdir('/')\n{FORWARD}{body}{RIGHT_BACKWARD}")[0].kind == RIGHT
    assert os.getcwd() == folder


ODD = {
    "raise GeneratorExit": "GeneratorExit in line 4",
    "raise BaseException('odd')": "BaseException in line 4: odd",
    "raise Mute": "Mute in line 4",
}


@pytest.mark.parametrize("body, sentence", ODD.items(), ids=ODD)
def test_odd_exceptions_are_told_as_others_are(relu, body, sentence):
    mute = "\nclass Mute(Exception):\n    def __str__(self):\n        raise ValueError\n"
    verdicts = relu(FORWARD + body + RIGHT_BACKWARD + mute)
    assert verdicts[0].kind == WRONG and sentence in verdicts[0].sentences[0]
    assert verdicts[1].kind == RIGHT


def test_a_signature_that_cannot_be_read(relu):
    source = "\nclass F:\n    __signature__ = property(lambda self: 1 / 0)\n"
    source += "    def __call__(self, x):\n        return np.maximum(x, 0)\n\nrelu_forward = F()\n"
    assert relu("import numpy as np\n" + source + RIGHT_BACKWARD)[0].kind == RIGHT


@pytest.mark.parametrize("stream", ["None", "io.StringIO()"])
def test_the_output_stays_what_it_is(relu, stream, capsys):
    """Or all later verdicts would be silent, with the exit code of success."""
    source = FORWARD.replace("import numpy", f"import io, sys\nsys.stdout = {stream}\nimport numpy")
    assert relu(source + "return np.maximum(x, 0)\n" + RIGHT_BACKWARD)[0].kind == RIGHT
    print("still here")
    assert "still here" in capsys.readouterr().out


def test_numpys_random_numbers_stay_too(relu):
    right = np.random.Generator
    verdicts = relu(f"import numpy as np\nnp.random.Generator = None\n{RIGHT_BACKWARD}")
    assert np.random.Generator is right
    assert "replaces numpy.random.Generator; leave NumPy" in verdicts[0].sentences[0]
