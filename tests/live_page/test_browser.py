"""The live page in headless Chromium: drag, draw, keyboard, narrow screen, dark mode, no error.

Most tests open the page of the site, docs/live. This makes the README's picture anew:
python -m pytest -n0 tests/live_page/test_browser.py --screenshot
"""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from tinyvae import make_model
from tinyvae.live_page.model import describe_model
from tinyvae.live_page.page import example_digits, live_page, pack

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright, the extra browser")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

DOCS = Path(__file__).parents[2] / "docs"
SWITCHES = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync
--disable-background-networking --disable-component-update""".split()
WIDE, NARROW = {"width": 1180, "height": 900}, {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def browser():
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


def picture(page, name):
    """What a canvas shows, as text."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    return page.evaluate("(id) => document.getElementById(id).toDataURL()", name)


def middle(page, name):
    page.locator(f"#{name}").scroll_into_view_if_needed()
    box = page.locator(f"#{name}").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def numbers(text):
    return [float(one.replace("−", "-")) for one in re.findall(r"[−-]?\d+\.\d+", text)]


def terms(page):
    """The table of terms: a row for each choice."""
    return [
        [cell.replace("−", "-") for cell in row.locator("td").all_inner_texts()]
        for row in page.locator("#terms tr").all()
    ]


def test_dragging_over_the_plane_decodes_the_point_under_the_pointer(visit):
    page = visit()
    x, y = middle(page, "plane")
    seen, codes = set(), []
    page.mouse.move(x, y)
    page.mouse.down()
    for step in range(5):
        page.mouse.move(x + 20 * step, y - 15 * step)
        seen.add(picture(page, "decoded"))
        codes.append(numbers(page.inner_text("#z")))
    page.mouse.up()
    assert len(seen) == 5
    steps = np.diff(codes, axis=0)
    assert (steps[:, 0] > 0).all() and (steps[:, 1] > 0).all()  # right, and up
    page.mouse.move(x, y)  # no button is down
    assert picture(page, "decoded") in seen and numbers(page.inner_text("#z")) == codes[-1]
    print("milliseconds a frame:", page.inner_text("#frame"))


def test_the_picture_is_what_python_decodes(visit, tmp_path):
    """With float32 weights: the grey levels differ by rounding to whole numbers."""
    model = make_model("vae", "conv", 3, shape=(1, 10, 12), seed=4)
    page = visit(made_page(tmp_path, model))
    z = page.evaluate("Array.from(document.querySelectorAll('.slider input'), (one) => one.value)")
    for _ in range(2):
        page.locator(".slider input").nth(1).press("PageUp")
    picture(page, "decoded")
    z = page.evaluate("Array.from(document.querySelectorAll('.slider input'), (one) => one.value)")
    read = """() => { const c = document.getElementById('decoded');
        return Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data) }"""
    shown = np.reshape(page.evaluate(read), (10, 12, 4))[..., 0]
    expected = model.decode(np.array([z], np.float32))[0, 0]
    # the sliders show rounded numbers
    assert abs(shown - 255 * (1 - expected)).max() < 2


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


@pytest.mark.parametrize(
    ("kind", "shape", "latent_dim", "labels"),
    [
        ("ae", (1, 28, 28), 2, True),
        ("cvae", (3, 9, 20), 3, True),
        ("iwae", (1, 12, 8), 1, False),
        ("vae", (3, 16, 16), 25, False),
    ],
)
def test_every_kind_of_model_has_a_page(visit, tmp_path, kind, shape, latent_dim, labels):
    model = make_model(kind, "mlp", latent_dim, shape=shape, hidden=(20,))
    page = visit(made_page(tmp_path, model, labels), viewport=NARROW)
    assert page.locator(".slider").count() == latent_dim
    assert page.locator("#axes").is_visible() == (latent_dim > 2)
    assert page.locator("#label").is_visible() == (kind == "cvae")
    assert page.locator("#terms input").count() == (0 if kind == "ae" else 3)
    before = picture(page, "decoded")
    page.get_by_role("button", name="Take a synthetic 1").click()
    assert picture(page, "decoded") != before
    assert len(numbers(page.inner_text("#posterior"))) == latent_dim * (1 if kind == "ae" else 3)
    if kind == "cvae":
        assert page.input_value("#label") == "1"  # of the digit
        before = picture(page, "decoded")
        page.select_option("#label", "7")
        assert picture(page, "decoded") != before
    if latent_dim > 2:
        before = picture(page, "plane")
        page.select_option("#axis-y", str(latent_dim - 1))
        assert picture(page, "plane") != before
        assert f"z[{latent_dim - 1}]" in page.inner_text("#z")
    for name in ("sample", "keep-a", "keep-b", "play"):
        page.locator(f"#{name}").click()
    assert fits(page)


def draw_one(page, press, move, lift):
    """A vertical stroke on the pad, which is a 1."""
    x, y = middle(page, "pad")
    press(x, y - 80)
    for step in range(17):
        move(x, y - 80 + 10 * step)
    lift()
    picture(page, "input")


def test_drawing_with_the_mouse_shows_all_about_the_drawing(visit):
    page = visit()
    page.get_by_role("button", name="Clear").click()
    assert page.locator("#keep-a").is_disabled()
    before = {name: picture(page, name) for name in ("input", "plane", "decoded")}

    def press(x, y):
        page.mouse.move(x, y)
        page.mouse.down()

    draw_one(page, press, page.mouse.move, page.mouse.up)
    assert all(picture(page, name) != shown for name, shown in before.items())
    learned, point, prior = terms(page)
    for reconstruction, kl, elbo in (map(float, learned), map(float, prior)):
        assert elbo == pytest.approx(-(reconstruction + kl), abs=0.11)
    assert point[1:] == ["∞", "-∞"] and float(point[0]) < float(prior[0])
    assert float(prior[1]) == 0 < float(learned[1])
    rows = [numbers(row) for row in page.locator("#posterior tr").all_inner_texts()]
    assert sum(kl for _, _, kl in rows) == pytest.approx(float(learned[1]), abs=0.1)
    for mu, sigma, kl in rows:
        error = 0.5 * (mu**2 + sigma**2 - 1) - np.log(sigma) - kl
        assert abs(error) < 0.02 + 0.006 / sigma + 0.006 * abs(mu)  # the numbers are rounded
    # z is at mu, the pointer follows the drawing
    assert sorted(numbers(page.inner_text("#z"))) == sorted(mu for mu, _, _ in rows)


def test_a_finger_draws_the_same_as_the_mouse_and_moves_over_the_plane(visit):
    page = visit(viewport=NARROW, has_touch=True, is_mobile=True)
    page.get_by_role("button", name="Clear").click()
    session = page.context.new_cdp_session(page)

    def touch(kind, *points):
        places = [{"x": x, "y": y} for x, y in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    draw_one(
        page,
        lambda *at: touch("touchStart", at),
        lambda *at: touch("touchMove", at),
        lambda: touch("touchEnd"),
    )
    assert not page.locator("#keep-a").is_disabled()
    x, y = middle(page, "plane")
    scrolled, before = page.evaluate("scrollY"), picture(page, "decoded")
    touch("touchStart", (x, y))
    touch("touchMove", (x + 40, y + 60))
    touch("touchEnd")
    assert picture(page, "decoded") != before
    assert page.evaluate("scrollY") == scrolled  # the finger moves the code, not the page


def test_the_switches_show_what_sigma_is_for(visit):
    page = visit()
    page.get_by_role("button", name="Take a synthetic 0").click()

    def draws():
        picture(page, "input")
        each = "Array.from(document.querySelectorAll('#draws canvas'), (one) => one.toDataURL())"
        return page.evaluate(each)

    assert len(set(draws())) == 8
    lesson = page.inner_text("#lesson")
    page.get_by_label("sigma = 0").check()
    assert len(set(draws())) == 1 and page.inner_text("#lesson") != lesson
    at_point = picture(page, "plane")
    page.get_by_label("the prior").check()
    assert len(set(draws())) == 8 and picture(page, "plane") != at_point
    before = draws()
    page.get_by_role("button", name="Draw again").click()
    assert set(draws()).isdisjoint(before)


def test_the_walk_ends_at_the_code_of_b(visit):
    page = visit(reduced_motion="reduce")
    for digit, end in ((0, "keep-a"), (1, "keep-b")):
        page.get_by_role("button", name=f"Take a synthetic {digit}").click()
        picture(page, "input")
        page.locator(f"#{end}").click()
    code_of_b = page.inner_text("#z")
    page.locator("#way").press("Home")
    picture(page, "walked")
    assert page.inner_text("#z") != code_of_b
    page.get_by_role("button", name="Walk").click()
    page.wait_for_function("document.getElementById('way').value === '1'", timeout=1000)
    picture(page, "walked")
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
    picture(page, "decoded")
    right, up = np.subtract(numbers(page.inner_text("#z")), before)
    assert up > 3 * right > 0

    page.get_by_role("button", name="Clear").press("Enter")
    page.locator("#pad").focus()
    for key in ("ArrowDown", "Space", *["ArrowDown"] * 12, "Space", "ArrowLeft"):
        page.keyboard.press(key)
    drawn = picture(page, "pad")
    page.keyboard.press("ArrowLeft")  # the pen is up
    assert picture(page, "pad") == drawn
    assert not page.locator("#keep-a").is_disabled()


def test_a_slider_moves_its_dimension(visit):
    page = visit()
    slider, before = page.locator(".slider input").first, picture(page, "decoded")
    code = numbers(page.inner_text("#z"))
    slider.press("End")
    assert picture(page, "decoded") != before
    assert sum(a != b for a, b in zip(code, numbers(page.inner_text("#z")), strict=True)) == 1
    page.get_by_role("button", name="z = 0").click()
    picture(page, "decoded")
    assert numbers(page.inner_text("#z")) == [0, 0]
    page.get_by_role("button", name="Draw z from N(0, I)").click()
    picture(page, "decoded")
    assert numbers(page.inner_text("#z")) != [0, 0]


def test_one_class_alone(visit):
    page = visit()
    everything = picture(page, "plane")
    button = page.locator("#legend button").nth(1)
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert picture(page, "plane") != everything
    button.click()
    assert picture(page, "plane") == everything


def test_samples_change(visit):
    page = visit()
    each = "Array.from(document.querySelectorAll('#samples canvas'), (one) => one.toDataURL())"
    before = page.evaluate(each)
    page.get_by_role("button", name="Sample again").click()
    assert len(set(before)) == 24 and set(page.evaluate(each)).isdisjoint(before)


def fits(page):
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


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


def test_the_picture_of_the_readme(visit, request, tmp_path):
    """The plane, and the drawing: with --screenshot it becomes docs/images/live_page.png."""
    page = visit()
    page.get_by_role("button", name="Take a synthetic 0").click()
    page.locator("#draws canvas").first.wait_for()
    picture(page, "plane")
    page.evaluate("scrollTo(0, 0)")
    clip = page.locator("main").bounding_box()
    bottom = page.locator("section").nth(1).bounding_box()
    clip["height"] = bottom["y"] + bottom["height"] - clip["y"]
    keep = request.config.getoption("--screenshot")
    path = DOCS / "images" / "live_page.png" if keep else tmp_path / "live_page.png"
    page.screenshot(path=path, clip=clip, full_page=True)
    assert path.stat().st_size > 20_000
