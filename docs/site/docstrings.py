"""Docstrings are plain text with `names` in backticks; here they become reStructuredText."""

import re

COLUMNS = re.compile(r"\S {3,}\S")
MARKS = re.compile(r"`([^`]+)`|docs/([\w/]+)\.md|([\\*_|<>])")


def paragraph(text):
    """What stands in columns stays as it is. Elsewhere backticks and names of pages count."""
    if COLUMNS.search(text):
        return ".. code-block:: none\n\n" + re.sub("^", "    ", text, flags=re.MULTILINE)
    return MARKS.sub(marked, text)


def marked(match):
    code, page, mark = match.groups()
    if code:
        return f"``{code}``\\ "  # letters may follow
    return f":doc:`/{page}`" if page else f"\\{mark}"


def process(app, what, name, obj, options, lines):
    paragraphs = re.split(r"\n\s*\n", "\n".join(lines).strip())
    lines[:] = "\n\n".join(map(paragraph, paragraphs)).split("\n") + [""]


def setup(app):
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True}
