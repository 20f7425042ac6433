"""What a visitor does with the live page: drag, draw, switch, sample. In headless Chromium.

Most tests open the page of the site, docs/live.
"""

import numpy as np
import pytest
from chromium import NARROW, fits, made_page, middle, numbers, picture, settle

from tinyvae import make_model


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
    settle(page)
    z = page.evaluate("Array.from(document.querySelectorAll('.slider input'), (one) => one.value)")
    read = """() => { const c = document.getElementById('decoded');
        return Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data) }"""
    shown = np.reshape(page.evaluate(read), (10, 12, 4))[..., 0]
    expected = model.decode(np.array([z], np.float32))[0, 0]
    # the sliders show rounded numbers
    assert abs(shown - 255 * (1 - expected)).max() < 2


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
    settle(page)


def test_drawing_with_the_mouse_shows_all_about_the_drawing(visit):
    page = visit()
    page.get_by_role("button", name="Clear").click()
    settle(page)
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
    settle(page)
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
        settle(page)
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


def test_a_slider_moves_its_dimension(visit):
    page = visit()
    slider, before = page.locator(".slider input").first, picture(page, "decoded")
    code = numbers(page.inner_text("#z"))
    slider.press("End")
    assert picture(page, "decoded") != before
    assert sum(a != b for a, b in zip(code, numbers(page.inner_text("#z")), strict=True)) == 1
    page.get_by_role("button", name="z = 0").click()
    settle(page)
    assert numbers(page.inner_text("#z")) == [0, 0]
    page.get_by_role("button", name="Draw z from N(0, I)").click()
    settle(page)
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
