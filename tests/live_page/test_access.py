"""For everybody: keyboard, narrow screens, dark mode, contrast, no motion. In headless Chromium.

This makes the README's picture anew: python -m pytest -n0 tests/live_page --screenshot
"""

import re

import numpy as np
import pytest
from chromium import DOCS, fits, numbers, picture, settle


def test_all_can_be_done_with_the_keyboard(visit):
    page = visit()
    reached = []
    for _ in range(80):
        page.keyboard.press("Tab")
        now = page.evaluate("""() => {
            const one = document.activeElement, style = getComputedStyle(one);
            return {id: one.id || one.parentElement.className || one.parentElement.id,
                    name: one.getAttribute('aria-label') || one.textContent || one.labels?.length,
                    ring: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
                    body: one === document.body}
        }""")
        if now["body"]:
            break
        assert now["name"] and now["ring"], now
        reached.append(now["id"])
    places = [reached.index(name) for name in ("plane", "slider", "pad", "way", "sample")]
    assert places == sorted(places)
    visible = page.locator("button, canvas[tabindex], input:not([type=radio]), select")
    stops = [one for one in visible.all() if one.is_visible() and one.is_enabled()]
    assert len(reached) == len(stops) + 1  # the three radio buttons are one stop

    page.locator("#plane").focus()
    before = numbers(page.inner_text("#z"))
    for key in ("ArrowRight", "ArrowUp", "Shift+ArrowUp"):
        page.keyboard.press(key)
    settle(page)
    right, up = np.subtract(numbers(page.inner_text("#z")), before)
    assert up > 3 * right > 0

    page.get_by_role("button", name="Clear").press("Enter")
    page.locator("#pad").focus()
    for key in ("ArrowDown", "Space", *["ArrowDown"] * 12, "Space", "ArrowLeft"):
        page.keyboard.press(key)
    drawn = picture(page, "pad")
    page.keyboard.press("ArrowLeft")  # the pen is up
    assert picture(page, "pad") == drawn
    settle(page)
    assert not page.locator("#keep-a").is_disabled()


@pytest.mark.parametrize("width", [320, 360, 700, 800, 1000, 1180])
def test_no_width_needs_horizontal_scrolling(visit, width):
    page = visit(viewport={"width": width, "height": 740})
    assert fits(page)
    for table in page.locator(".scroll").all():
        assert table.evaluate("(one) => one.scrollWidth <= one.clientWidth")
    plane, decoded = (page.locator(f"#{name}").bounding_box() for name in ("plane", "decoded"))
    assert decoded["y"] + decoded["height"] < plane["y"] or decoded["x"] > plane["x"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(visit, scheme):
    """At least 4.5 to 1: WCAG 2.2, success criterion 1.4.3."""
    page = visit(color_scheme=scheme)
    found = page.evaluate("""() => {
        const ground = (one) => {
          for (; one; one = one.parentElement) {
            const color = getComputedStyle(one).backgroundColor;
            if (color !== 'rgba(0, 0, 0, 0)') return color;
          }
        };
        return [...document.querySelectorAll('h1, h2, p, label, button, select, output, th, td,'
          + ' caption, figcaption')].filter((one) => one.textContent && one.offsetParent)
          .map((one) => [one.textContent.slice(0, 30), getComputedStyle(one).color, ground(one)]);
    }""")
    assert len(found) > 50
    dark = np.mean([luminance(ground) < 0.2 for _, _, ground in found])
    assert dark == (scheme == "dark")
    for text, *colours in found:
        low, high = sorted(map(luminance, colours))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (text, colours)


def luminance(colour):
    share = np.array(re.findall(r"\d+", colour)[:3], float) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_pictures_follow_a_change_to_dark(visit):
    page = visit(color_scheme="light")
    names = ("decoded", "plane", "pad", "input", "a", "walked")
    before = {name: picture(page, name) for name in names}
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(300)
    assert [name for name in names if picture(page, name) == before[name]] == []


def test_the_walk_ends_at_the_code_of_b(visit):
    page = visit(reduced_motion="reduce")
    for digit, end in ((0, "keep-a"), (1, "keep-b")):
        page.get_by_role("button", name=f"Take a synthetic {digit}").click()
        settle(page)
        page.locator(f"#{end}").click()
    code_of_b = page.inner_text("#z")
    page.locator("#way").press("Home")
    settle(page)
    assert page.inner_text("#z") != code_of_b
    page.get_by_role("button", name="Walk").click()
    page.wait_for_function("document.getElementById('way').value === '1'", timeout=1000)
    settle(page)
    assert page.inner_text("#z") == code_of_b
    ends = page.locator("#steps canvas")
    assert ends.count() == 9
    last = ends.last.evaluate("(one) => one.toDataURL()")
    assert last == picture(page, "walked") == picture(page, "decoded")


def test_the_walk_moves_for_those_who_like_motion(visit):
    page = visit()
    page.get_by_role("button", name="Walk").click()
    page.wait_for_function("document.getElementById('way').value > 0.2")
    assert float(page.input_value("#way")) < 1
    page.wait_for_function("document.getElementById('way').value === '1'")


def test_the_picture_of_the_readme(visit, request, tmp_path):
    """The plane, and the drawing: with --screenshot it becomes docs/images/live_page.png."""
    page = visit()
    page.get_by_role("button", name="Take a synthetic 0").click()
    page.locator("#draws canvas").first.wait_for()
    settle(page)
    page.evaluate("scrollTo(0, 0)")
    clip = page.locator("main").bounding_box()
    bottom = page.locator("section").nth(1).bounding_box()
    clip["height"] = bottom["y"] + bottom["height"] - clip["y"]
    keep = request.config.getoption("--screenshot")
    path = DOCS / "images" / "live_page.png" if keep else tmp_path / "live_page.png"
    page.screenshot(path=path, clip=clip, full_page=True)
    assert path.stat().st_size > 20_000
