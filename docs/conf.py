"""The site: `pip install -e ".[docs]" && sphinx-build -W docs docs/_build`, then open index.html.

Its pages are the Markdown files of this folder. They read well on GitHub too, so what only the site
needs does not stand in them: it is the table of contents below, and the extensions in site/, which
follow links to code, make an API reference of the docstrings, and a page of the notebook.

The theme is Furo. It is maintained, it has light and dark colours and a layout for phones, it shows
the whole book in one tree, and it is small.
"""

import re
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "site")]  # the library as it stands, the extensions

import tinyvae  # noqa: E402

CONTENTS = {
    "The book": (
        "book/0[0-7]*",
        "book/08_backpropagation",
        "book/08_gradients",
        "book/08_checks",
        "book/*",
        "exercises/*",
        "VAE_Tutorial",
    ),
    "Variants": ("variants/*",),
    "Experiments": ("experiments/*",),
    "Use and extend": ("own_data", "live_page", "distributed", "models", "extending/*"),
    "Reference": ("api/README", "api/engine", "api/models", "api/data", "api/training", "api/*"),
    "Measurements": ("parity", "performance", "gpu", "gpu_measured", "reliability", "bugs"),
}

project, version = "tinyvae", tinyvae.__version__
copyright = "the authors of tinyvae, MIT licence"
root_doc = "README"
exclude_patterns = ["_build"]
highlight_language = "none"  # of a block that names no language
nitpicky = True  # a name that looks like a link to the API must be one

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "docstrings",
    "live_page",
    "notebook",
    "source_pages",
]
myst_enable_extensions = ["dollarmath"]
myst_dmath_allow_labels = False
myst_heading_anchors = 4  # links as on GitHub: 08_gradients.md#linear
autodoc_inherit_docstrings = False  # forward and backward once, not once for each layer
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # xp=np, not the path of NumPy on this machine
autodoc_typehints = "none"

html_theme = "furo"
html_title = "tinyvae"
html_static_path = ["site/static"]
html_css_files = ["tinyvae.css"]
html_copy_source = False
pygments_dark_style = "github-dark"


def add_contents(app, docname, source):
    if docname == root_doc:
        for caption, entries in CONTENTS.items():
            pages = [entry for entry in entries if any(HERE.glob(f"{entry}.*"))]
            options = f":hidden:\n:caption: {caption}\n:glob:\n\n"
            source[0] += "\n```{toctree}\n" + options + "\n".join(pages) + "\n```\n"


def add_files(app, exception):
    """index.html, which a server shows first, and the images in <img>, which Sphinx overlooks."""
    if exception is None and app.builder.name == "html":
        shutil.copy(app.outdir / f"{root_doc}.html", app.outdir / "index.html")
        for page in app.env.found_docs:
            path = Path(app.env.doc2path(page))
            for image in re.findall(r'<img [^>]*src="([^":]+)"', path.read_text("utf-8")):
                target = app.outdir / Path(page).parent / image
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path.parent / image, target)


def setup(app):
    app.connect("source-read", add_contents)
    app.connect("build-finished", add_files)
