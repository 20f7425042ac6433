"""A notebook becomes a page as it was saved: text, code, and the outputs saved with them."""

import json

from myst_parser.parsers.sphinx_ import MystParser

IMAGES = ("image/svg+xml", "image/png", "image/jpeg")


class NotebookParser(MystParser):
    supported = ("ipynb",)

    def parse(self, inputstring, document):
        cells = json.loads(inputstring)["cells"]
        super().parse("\n\n".join(part for cell in cells for part in markdown(cell)), document)


def markdown(cell):
    source = text(cell["source"])
    if cell["cell_type"] != "code":
        yield source
    elif source:
        yield f"~~~~~python\n{source}\n~~~~~"
        for output in cell["outputs"]:
            yield from ('<div class="output">', shown(output), "</div>")


def shown(output):
    data = output.get("data", {})
    for kind in IMAGES:
        if kind == "image/svg+xml" and kind in data:
            return text(data[kind])
        if kind in data:
            return f"![an output](data:{kind};base64,{''.join(text(data[kind]).split())})"
    plain = data.get("text/plain") or output.get("text") or output.get("traceback", "")
    return f"~~~~~text\n{text(plain)}\n~~~~~"


def text(lines):
    return "".join(lines).strip("\n")


def setup(app):
    app.add_source_suffix(".ipynb", "ipynb")
    app.add_source_parser(NotebookParser)
    return {"parallel_read_safe": True}
