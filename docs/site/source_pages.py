"""Links to code lead to pages of the site that show this code, with a number at each line.

On GitHub such a link opens the file. Here code/tinyvae/engine/layers.py.html shows it. If the text
of the link is a name that is defined in the file, the link leads to its line. The title of a
quotation leads to the quoted lines, and the page of a folder lists what is in it.
"""

import ast
import inspect
import re
import sys
from html import escape
from pathlib import Path

from docutils import nodes
from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx import addnodes

ROOT = Path(__file__).resolve().parents[2]
QUOTED_FROM = re.compile(r"# (\S+\.py), ([\w.]+)\n")  # as in tests/test_docs.py


def uri(app, docname, path, line=None):
    """The address, as seen from a page, of the page that shows `path`; that page will be made."""
    page = f"code/{path.relative_to(ROOT).as_posix()}"
    app.env.shown_code.add(path)
    return app.builder.get_relative_uri(docname, page) + (f"#L-{line}" if line else "")


def follow_links(app, doctree):
    docname = app.env.docname
    folder = Path(app.env.doc2path(docname)).parent
    for node in [*doctree.findall(addnodes.download_reference), *not_to_a_page(app, doctree)]:
        path = folder / node["reftarget"]
        if node["refdomain"] == "doc":
            path = Path(app.srcdir, node["reftarget"] + ".md")
        path = path.resolve()
        front = app.env.path2doc(path / "README.md")
        if front in app.env.found_docs:  # a folder of pages
            node.attributes |= {"refdomain": "doc", "reftarget": front, "reftargetid": None}
        elif path.exists() and path.is_relative_to(ROOT):
            named = definition(path, node.astext())
            to = uri(app, docname, path, named and named.lineno)
            node.replace_self(nodes.reference("", "", *node.children, refuri=to, internal=True))


def not_to_a_page(app, doctree):
    """Links that lead to a folder, or to a Markdown file that is not in docs/."""
    for node in doctree.findall(addnodes.pending_xref):
        to_page = node["refdomain"] == "doc" and node["reftarget"] in app.env.found_docs
        if node["reftype"] == "myst" and not to_page:
            yield node


def title_quotations(app, doctree):
    for block in list(doctree.findall(nodes.literal_block)):
        if origin := QUOTED_FROM.match(block.astext()):
            path, name = origin.groups()
            code = block.astext()[origin.end() :]
            to = uri(app, app.env.docname, ROOT / path, line_of(code, ROOT / path, name))
            link = nodes.reference("", f"{path}, {name}", refuri=to)
            title = nodes.paragraph("", "", link, classes=["quoted-from"])
            block.replace_self([title, nodes.literal_block(code, code, language="python")])


def line_of(code, path, name):
    """The line in the file at which the quotation from the function `name` begins."""
    node = definition(path, name)
    texts = path.read_text("utf-8"), code
    lines, quoted = ([line.strip() for line in text.splitlines()] for text in texts)
    for first in range(node.lineno - 1, node.end_lineno):
        if lines[first : first + len(quoted)] == quoted:
            return first + 1
    return node.lineno


def definition(path, name):
    """The function, class or method of this name in a file; None if there is none."""
    node = ast.parse(path.read_text("utf-8")) if path.suffix == ".py" else None
    for part in name.split("."):
        children = getattr(node, "body", ())
        node = next((child for child in children if getattr(child, "name", None) == part), None)
    return node


def title_documented(app, doctree):
    """Every object of the API reference leads to its code."""
    for signature in doctree.findall(addnodes.desc_signature):
        value = sys.modules[signature["module"]]
        for part in signature["fullname"].split("."):
            value = getattr(value, part, None)
        value = inspect.unwrap(value.fget if isinstance(value, property) else value)
        if inspect.isclass(value) or inspect.isfunction(value) or inspect.ismethod(value):
            path, line = Path(inspect.getsourcefile(value)), inspect.getsourcelines(value)[1]
            to = uri(app, app.env.docname, path, line)
            text = nodes.inline("", "[source]", classes=["viewcode-link"])
            signature += nodes.reference("", "", text, refuri=to, internal=True)


def begin(app):
    if not hasattr(app.env, "shown_code"):
        app.env.shown_code = set()


def make_pages(app):
    linked = {path for path in app.env.shown_code | {ROOT / "tinyvae"} if path.exists()}
    wanted = linked | {path for folder in linked for path in folder.rglob("*.py")}
    wanted |= {folder for path in wanted for folder in path.parents if folder.is_relative_to(ROOT)}
    for path in sorted(wanted - {ROOT}):
        title = path.relative_to(ROOT).as_posix()
        page = f"code/{title}"
        body = listing(app, page, path, wanted) if path.is_dir() else highlighted(app, path)
        body = f'<h1>{escape(title)}</h1><div class="whole-file">{body}</div>'
        yield page, {"title": title, "body": body}, "page.html"


def listing(app, page, folder, wanted):
    items = (path for path in sorted(folder.iterdir()) if path in wanted)
    links = (
        f'<li><a href="{app.builder.get_relative_uri(page, f"{page}/{path.name}")}">'
        f"{escape(path.name)}</a></li>"
        for path in items
    )
    return f"<ul>{''.join(links)}</ul>"


def highlighted(app, path):
    try:
        language = get_lexer_for_filename(path.name).aliases[0]
    except ClassNotFound:
        language = "none"
    text = path.read_text("utf-8")
    return app.builder.highlighter.highlight_block(
        text, language, linenos="inline", lineanchors="L", force=True
    )


def setup(app):
    app.connect("builder-inited", begin)
    app.connect("doctree-read", follow_links, priority=400)  # before Sphinx copies files to load
    app.connect("doctree-read", title_quotations)
    app.connect("doctree-read", title_documented)
    app.connect("html-collect-pages", make_pages)
    return {"parallel_read_safe": False}
