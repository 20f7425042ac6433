"""The live page in headless Chromium: drag, draw, keyboard, narrow screens, dark mode, no error.

The page under test is the one of the site, docs/live. To make the README's picture anew:
python -m pytest -n0 tests/live_page/test_browser.py --screenshot
"""

import re
import shutil
from pathlib import Path

import pytest

from tinyvae.live_page.page import live_page

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra browser")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

ROOT = Path(__file__).parents[2]
SWITCHES = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync""".split()
