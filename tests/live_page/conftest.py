"""The live page in headless Chromium: the browser, the page of the site, a visit to a page."""

import json
import shutil

import pytest
from chromium import DOCS, WIDE

from tinyvae.live_page.page import live_page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SWITCHES = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync
--disable-background-networking --disable-component-update""".split()


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra browser")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    path = tmp_path_factory.mktemp("live") / "vae.html"
    described = json.loads((DOCS / "live" / "vae.json").read_text("utf-8"))
    path.write_text(live_page(described), "utf-8")
    return path


@pytest.fixture
def visit(browser, site):
    """Open a page of these settings of the browser; nothing may go wrong in it until the end."""
    wrong, contexts = [], []

    def visit(path=site, viewport=WIDE, **settings):
        contexts.append(browser.new_context(viewport=viewport, **settings))
        page = contexts[-1].new_page()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda one: one.url == path.as_uri() or wrong.append(one.url[:80]))
        page.goto(path.as_uri())
        page.wait_for_function("document.getElementById('frame').textContent !== '–'")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert [one for one in wrong if not one.startswith("data:,")] == []
