"""What the tests in a browser ask a page for, and pages of models without a run."""

import re
from pathlib import Path

import numpy as np

from tinyvae.live_page.model import describe_model, pack
from tinyvae.live_page.page import example_digits, live_page

DOCS = Path(__file__).parents[2] / "docs"
WIDE, NARROW = {"width": 1180, "height": 900}, {"width": 360, "height": 740}


def settle(page):
    """Wait for the two frames that a drawing takes: it is read in one, and shown in the next."""
    page.evaluate("""() => new Promise((done) => requestAnimationFrame(() =>
        requestAnimationFrame(() => setTimeout(done))))""")


def picture(page, name):
    """What a canvas shows, as text."""
    settle(page)
    return page.evaluate("(id) => document.getElementById(id).toDataURL()", name)


def middle(page, name):
    page.locator(f"#{name}").scroll_into_view_if_needed()
    box = page.locator(f"#{name}").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def numbers(text):
    return [float(one.replace("−", "-")) for one in re.findall(r"[−-]?\d+\.\d+", text)]


def fits(page):
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def made_page(folder, model, labels=True):
    """The page of a model without a run; its codes are random."""
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((50, model.latent_dim))
    described = {
        "name": "made",
        "data": "noise",
        "model": describe_model(model, np.float32),
        "codes": pack(codes, np.float32),
        "labels": pack(np.arange(50) % 10, np.float32) if labels else None,
        "order": list(range(model.latent_dim)),
        "active": model.latent_dim,
        "colours": ["#3f90da"] * 10,
        "digits": pack(example_digits(), np.uint8),
    }
    described |= {"kl": [1.0] * model.latent_dim} if model.standard_codes else {}
    path = folder / "made.html"
    path.write_text(live_page(described), "utf-8")
    return path
