"""From a run folder to the HTML file: the model, the codes of its data, and all around them."""

import json
import os
import re
from importlib import resources
from pathlib import Path

import numpy as np

from tinyvae.data.digits import load_digits
from tinyvae.engine.gaussian import kl_to_standard
from tinyvae.errors import UserError
from tinyvae.live_page.model import describe_model, pack, require_shown
from tinyvae.training import on_host
from tinyvae.training.checkpoint import load_checkpoint, write_atomically
from tinyvae.training.evaluation import ACTIVE_VARIANCE
from tinyvae.training.plots import TEN
from tinyvae.training.state import load_data_of, load_model

CODES = 2000  # test examples whose codes the page shows
SCRIPTS = "arrays layers model drawing picture plane sliders pad posterior walk texts page".split()


def write_live_page(folder, out=None, dataset=None, data_dir=None):
    """Write the live page of the run in `folder`, and return its path.

    out: the file (default: live_page.html in the folder), whose name ends in .html. It may replace
    an earlier page. dataset, data_dir: where the data of the run are now, as for load_dataset.
    Raises UserError for another place, and for a run that the page cannot show.
    """
    path = _place(Path(folder) / "live_page.html" if out is None else out)
    html = live_page(describe_run(folder, dataset, data_dir))
    write_atomically(path, lambda file: file.write(html.encode()))
    return path


def _place(path):
    """The file that the page may become, behind all links. Raises UserError if it is another."""
    place = Path(os.path.realpath(path))
    if place.suffix != ".html":
        raise UserError(
            f"{path}: expected a page to write, a name that ends in .html, found the ending "
            f"{place.suffix!r}; name another file"
        )
    if place.exists() and not place.is_file():
        raise UserError(
            f"{path}: expected a page to write, found a folder or a device; name another file"
        )
    return place


def describe_run(folder, dataset=None, data_dir=None):
    """A dict for JSON: the run's model, and the codes of its test examples."""
    model = load_model(folder)
    require_shown(model.settings)  # before the data are loaded
    _, about = load_checkpoint(Path(folder) / "checkpoint.npz")
    data = load_data_of(about, dataset, data_dir)
    x, labels = data.x_test[:CODES], None if data.y_test is None else data.y_test[:CODES]
    y = (labels,) * model.wants_labels
    page = {
        "name": Path(folder).resolve().name,
        "data": data.name,
        "model": describe_model(model),
        "labels": None if labels is None else pack(labels, np.float32),
        "colours": TEN,
        "digits": pack(example_digits(), np.uint8),
    }
    if not model.standard_codes:
        codes = on_host.embed(model, x)
        order, active = np.argsort(-codes.var(axis=0)), model.latent_dim
    else:
        codes, logvar = on_host.posteriors(model, x, *y)
        kl = kl_to_standard(codes, logvar).mean(axis=0)  # (L,)
        order, active = np.argsort(-kl), int((codes.var(axis=0) > ACTIVE_VARIANCE).sum())
        if not np.isfinite(kl).all():
            raise UserError("the KL of the test examples is not finite; train the model anew")
        page["kl"] = kl.tolist()
    return page | {"codes": pack(codes, np.float32), "order": order.tolist(), "active": active}


def example_digits():
    """Ten synthetic digits, 0 to 9, (10, 28, 28) uint8: a drawing for those who cannot draw."""
    images, labels, _ = load_digits(10, seed=2)
    return images[np.argsort(labels), 0]


def live_page(described):
    """The HTML of the page, from what `describe_run` returns."""
    # "</script" would end the <script> that holds the JSON, and "<!--" would hide its end
    data = json.dumps(described, separators=(",", ":")).replace("<", "\\u003c")
    style = source("style.css") + source("layout.css")
    parts = {"style": style, "data": data, "script": scripts(*SCRIPTS)}
    return re.sub(r"{{(\w+)}}", lambda place: parts[place[1]], source("page.html"))


def scripts(*names):
    """The JavaScript of these files as one text."""
    # "use strict" holds for the whole text, so once is enough
    texts = [source(f"{name}.js").replace('"use strict";\n', "", 1) for name in names]
    return '"use strict";\n' + "\n".join(texts)


def source(name):
    return (resources.files("tinyvae.live_page") / "source" / name).read_text("utf-8")
