"""The pages in docs/ stay true: their code is the library's, sums are right, links lead on."""

import ast
import doctest
import re
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
QUOTED_FROM = re.compile(r"# (\S+\.py), ([\w.]+)\n")  # the first line of a quotation
NAMED = re.compile(r"\[`([A-Za-z_][\w.]*)`\]\((\S+\.py)\)")  # [`name`](where it is defined)
LINK = re.compile(r"""(?:\]\(|src=")(?!\w+:|#)([^)#"\s]+)""")
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$", re.DOTALL)
# Escapes, emphasis, strikethrough, tags and lists: GitHub reads Markdown before it reads LaTeX.
TAKEN = re.compile(r"\\[^\sA-Za-z]|(?<![A-Za-z0-9])_|[*<>~]|^\s*[-+#]\s", re.MULTILINE)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page, language):
    return [code for name, code in FENCE.findall(page.read_text("utf-8")) if name == language]


def source_of(path, name):
    """The lines of the function, class or method `name` in a file of the project."""
    source = (ROOT / path).read_text("utf-8")
    node = ast.parse(source)
    for part in name.split("."):
        node = next(child for child in node.body if getattr(child, "name", None) == part)
    return source.splitlines()[node.lineno - 1 : node.end_lineno]


def contains(lines, quoted):
    """Whether `quoted` stands in the lines as it is, but for its indentation as a whole."""
    size = quoted.count("\n")
    starts = range(len(lines) - size + 1)
    return any(dedent("\n".join(lines[i : i + size]) + "\n") == quoted for i in starts)


@every_page
def test_quoted_code_stands_in_the_function_it_is_quoted_from(page):
    for code in blocks(page, "python"):
        if origin := QUOTED_FROM.match(code):
            quoted = dedent(code[origin.end() :])
            assert quoted and contains(source_of(*origin.groups()), quoted), f"{page.name}: {code}"


@every_page
def test_calculations_give_what_the_page_says(page):
    examples = "\n".join(blocks(page, "pycon"))
    test = doctest.DocTestParser().get_doctest(examples, {}, page.name, str(page), 0)
    assert doctest.DocTestRunner().run(test).failed == 0


@every_page
def test_relative_links_lead_to_files(page):
    for link in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
        assert (page.parent / link).exists(), f"{page.name}: {link}"


@every_page
def test_names_that_link_to_a_file_are_defined_there(page):
    for name, file in NAMED.findall(page.read_text("utf-8")):
        assert source_of(page.parent / file, name), f"{page.name}: {name}"


@every_page
def test_formulas_hold_nothing_that_markdown_takes_for_itself(page):
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text("utf-8")))
    for display, inline in FORMULA.findall(text):
        formula = display or inline
        assert not TAKEN.search(formula), f"{page.name}: {TAKEN.findall(formula)} in {formula}"
        assert display or "\n" not in inline, f"{page.name}: break the line outside {formula}"


def test_the_reading_order_tells_how_long_its_files_are():
    rows = re.findall(r"^\| \[(\S+)\]\(\1\) \| (\d+) \|", (ROOT / "README.md").read_text(), re.M)
    assert len(rows) > 5
    for name, lines in rows:
        actual = len((ROOT / name).read_text().splitlines())
        assert abs(int(lines) - actual) <= 0.1 * actual, f"{name} has {actual} lines"


def test_the_code_of_the_readme_exchanges_weights_with_pytorch():
    pytest.importorskip("torch")
    (code,) = (code for code in blocks(ROOT / "README.md", "python") if "torch" in code)
    found = {}
    exec(code, found)
    state, theirs = found["ours"].state_dict(), found["theirs"].state_dict()
    assert state.keys() == theirs.keys() and len(state) == 10
    for name, array in state.items():
        assert (array == theirs[name].numpy()).all(), name
