"""The notebook: the same as its text pair, executed on MNIST, and executed here on the digits."""

import json
import os
import re

import pytest
from test_docs import FORMULA, LINK, NAMED, ROOT, TAKEN, source_of

SCRIPT, NOTEBOOK = ROOT / "docs" / "VAE_Tutorial.py", ROOT / "docs" / "VAE_Tutorial.ipynb"
CELLS = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]
TEXT = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "markdown"]
OUTPUTS = [output for cell in CODE for output in cell["outputs"]]
SHOWS = re.compile(r"^(print|plt\.show|show_rows|check)\(", re.MULTILINE)
OF_A_MACHINE = re.compile(r"(?<![\w.])(/\w+/|[A-Z]:\\|~/)|site-packages|\bseconds\b|\d it/s")

MISTAKES = [  # each a mistake in one line of the step by hand
    ("dlogits = (sigmoid(logits) - x) / N", "dlogits = sigmoid(logits) - x"),
    ('"W_out": dlogits @ h_dec.T', '"W_out": (h_dec @ dlogits.T).T * 2'),
    ("da_dec = dh_dec * (a_dec > 0)", "da_dec = dh_dec"),
    ("dstd = dz * eps", "dstd = dz"),
    ("dmu = dz + mu / N", "dmu = dz"),
    ("dlogvar = dstd * 0.5 * std", "dlogvar = dstd * std"),
    ("+ 0.5 * (np.exp(logvar) - 1) / N", "+ (np.exp(logvar) - 1) / N"),
    (' + p["W_logvar"].T @ dlogvar', ""),
    ('"b_enc": da_enc.sum(axis=1', '"b_enc": da_enc.mean(axis=1'),
]


def cells_of(script):
    """(kind, source) of each cell of a script in the percent format."""
    for part in re.split(r"^# %%", script, flags=re.MULTILINE)[1:]:
        kind, source = part.split("\n", 1)
        if kind == " [markdown]":
            assert all(line.startswith("#") for line in source.split("\n") if line), source
            source = re.sub(r"^# ?", "", source, flags=re.MULTILINE)
        yield {"": "code", " [markdown]": "markdown"}[kind], source.strip("\n")


def image(output):
    return output.get("data", {}).get("image/png")


def printed(output):
    return "".join(output.get("text", output.get("data", {}).get("text/plain", "")))


def test_both_files_have_the_same_cells():
    saved = [(cell["cell_type"], "".join(cell["source"])) for cell in CELLS]
    assert list(cells_of(SCRIPT.read_text("utf-8"))) == saved, (
        "run: python docs/execute_notebook.py"
    )


def test_all_cells_were_executed_in_order_on_mnist():
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    assert printed(OUTPUTS[0]) == "MNIST: 60000 training images, 10000 test images\n"
    for cell in CODE:
        if SHOWS.search("".join(cell["source"])):
            assert cell["outputs"], cell["source"]
    assert sum(map(bool, map(image, OUTPUTS))) >= 10


def test_outputs_hold_no_errors_and_nothing_of_the_machine():
    for output in OUTPUTS:
        assert output["output_type"] in ("stream", "display_data")
        assert output.get("name") != "stderr", printed(output)
        assert not OF_A_MACHINE.search(printed(output)), printed(output)


def test_its_file_is_small_and_changes_only_where_it_must():
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    assert NOTEBOOK.stat().st_size < 1_500_000
    assert notebook["metadata"].keys() == {"kernelspec", "language_info"}
    keys = {"cell_type", "metadata", "source", "execution_count", "outputs"}
    assert all(cell.keys() <= keys and cell["metadata"] == {} for cell in CELLS)


@pytest.mark.parametrize("text", TEXT, ids=lambda text: text[:30].split("\n")[0])
def test_links_and_formulas(text):
    folder = NOTEBOOK.parent
    for link in LINK.findall(text):
        assert (folder / link).exists(), link
    for name, file in NAMED.findall(text):
        assert source_of(folder / file, name), name
    for display, inline in FORMULA.findall(re.sub(r"`[^`\n]*`", "", text)):
        assert not TAKEN.search(display or inline), display or inline
        assert display or "\n" not in inline, f"break the line outside {inline}"


def by_hand():
    """The code of the step by hand, with what it uses of the cells before."""
    sources = ["".join(cell["source"]) for cell in CODE]
    first = next(i for i, source in enumerate(sources) if source.startswith("D, H, L, N = "))
    last = next(i for i, source in enumerate(sources) if "model.backward()" in source)
    functions = next(source for source in sources if "def new_parameters" in source)
    return "\n".join(["import numpy as np", functions, *sources[first : last + 1]])


def test_the_step_by_hand_is_right_and_every_parameter_is_checked(capsys):
    names = {}
    exec(by_hand(), names)
    lines = capsys.readouterr().out.splitlines()
    for name in names["p"]:
        assert any(line.startswith(f"d{name} ") for line in lines), f"{name} is not checked"
        assert any(line.startswith(f"{name} ") and "differ by" in line for line in lines), name


@pytest.mark.parametrize("right, wrong", MISTAKES)
def test_the_checks_of_the_step_by_hand_find_a_mistake(right, wrong):
    code = by_hand()
    assert code.count(right) == 1, right
    with pytest.raises(AssertionError, match="is wrong"):
        exec(code.replace(right, wrong), {})


def test_it_runs_on_the_synthetic_digits(monkeypatch):
    """All asserts of the notebook hold, and every cell shows as many figures as the saved one."""
    for package in ("jupytext", "nbclient", "ipykernel"):
        pytest.importorskip(package)
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import execute_notebook

    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    monkeypatch.setenv("TINYVAE_NOTEBOOK_DATA", "digits")
    monkeypatch.setenv("TINYVAE_NOTEBOOK_EPOCHS", "1")
    cells = execute_notebook.executed()["cells"]
    assert [cell["source"] for cell in cells] == [cell["source"] for cell in CELLS]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert "synthetic digits" in printed(code[0]["outputs"][0])
    for cell, saved in zip(code, CODE, strict=True):
        kinds = [[bool(image(output)) for output in one["outputs"]] for one in (cell, saved)]
        assert kinds[0] == kinds[1], cell["source"]
