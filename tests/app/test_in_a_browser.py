# SPDX-License-Identifier: Apache-2.0
"""The app as a visitor sees it, in a real browser without a window.

Needs gradio, playwright and a Chromium on the PATH: pip install "filterlens[app]" playwright; apt-get install chromium.
``FILTERLENS_SCREENSHOTS=DIR`` keeps pictures of the page.
"""

import numpy as np
import pytest
from PIL import Image

from filterlens.data.photographs import photograph, square
from tests.app.running import running
from tests.app.visiting import DESKTOP, PHONE, WAIT, Visit

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("app")


@pytest.fixture(scope="module")
def address(scratch):
    pytest.importorskip("gradio", reason="the extra 'app' is not installed", exc_type=ImportError)
    with running("shipped", scratch) as app:
        yield app.address
    assert app.called() == []


@pytest.fixture
def visit(chromium, address):
    """Open the page: browser context settings → visit. Nothing may leave the machine, and no script may fail."""
    visits = []

    def start(**context):
        visits.append(Visit(chromium, address, **({"viewport": DESKTOP} | context)))
        return visits[-1]

    yield start
    for each in visits:
        foreign = [url for url in each.requests if not url.startswith((address, "data:", "blob:"))]
        each.context.close()
        assert foreign == []
        assert each.troubles == []


def difference(first, second):
    return ((first - second) ** 2).mean()


def test_the_first_view_shows_a_blurred_photograph_sharpened(visit):
    page = visit()
    assert "1 %" in page.page.locator("h1").inner_text()
    truth = photograph("chelsea").permute(1, 2, 0).double().numpy()[:300, :450]
    result = page.result()
    assert result.shape == truth.shape
    assert 10 * np.log10(255**2 / ((result - truth) ** 2).mean()) > 30
    assert "blur" in page.page.locator(".verdict .sentence").inner_text()
    page.shoot("app-desktop")


def test_each_slider_takes_its_own_function_away(visit):
    page = visit()
    sharp = page.result()
    soft = page.slide("strength-0", 0)
    back = page.slide("strength-0", 1)
    assert difference(back, sharp) == 0
    other = page.slide("strength-1", 0)
    assert difference(soft, sharp) > 3 * difference(other, sharp) > 0


def test_masking_in_the_map_is_the_slider_at_zero(visit):
    page = visit()
    sharp, by_slider = page.result(), page.slide("strength-0", 0)
    page.slide("strength-0", 1)
    button = page.page.locator("#map .functions button").first
    masked = page.after(button.click)
    assert difference(masked, by_slider) == 0
    assert page.page.locator("#strength-0 input[type=range]").input_value() == "0"
    assert button.get_attribute("aria-pressed") == "true"
    assert difference(page.after(button.click), sharp) == 0


def test_the_map_tells_addresses_and_scores(visit):
    page = visit()
    page.page.locator("#map canvas").scroll_into_view_if_needed()
    box = page.page.locator("#map canvas").bounding_box()
    tip = page.page.locator("#map .tip")
    page.page.mouse.move(box["x"] + 700, box["y"] + 40)
    assert ".weight[" in tip.inner_text()
    for y in range(int(box["height"]) - 20, 0, -15):  # found filters abound near the end
        page.page.mouse.move(box["x"] + 60, box["y"] + y)
        if tip.is_visible() and ": rank" in tip.inner_text():
            break
    assert " of 151,936" in tip.inner_text()
    assert "on this input" in tip.inner_text()
    page.shoot("app-map", "#map-card")


def test_the_input_changes_and_so_does_the_verdict(visit):
    page = visit()
    page.slide("blur", 0)
    page.slide("noise", 0.1)
    page.page.wait_for_function(
        "() => document.querySelector('.verdict .sentence')?.innerText.includes('noise')", timeout=WAIT
    )
    assert "blur" not in page.page.locator(".verdict .sentence").inner_text()
    page.settle()


def test_an_upload_is_degraded_or_taken_as_it_is(visit, tmp_path):
    pixels = square(photograph("coffee"), 128, 60, 180)
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / "my cup.png")
    page = visit()
    with_blur = page.after(lambda: page.send(tmp_path / "my cup.png"))
    assert with_blur.shape == (128, 128, 3)
    as_it_is = page.after(lambda: page.page.locator("#lowered input").click())
    assert as_it_is.shape == (256, 256, 3)
    page.page.wait_for_selector("#blur input[type=range]:disabled", timeout=WAIT)
    page.settle()


@pytest.mark.parametrize("name", ["no-image.png", "..%2f..%2fevil.png"])
def test_what_is_no_image_is_refused_in_words(visit, tmp_path, scratch, name):
    (tmp_path / name).write_bytes(b"this is no image")
    page = visit()
    page.send(tmp_path / name)
    page.page.wait_for_selector(".toast-body", timeout=WAIT)
    text = page.page.locator(".toast-body").inner_text()
    assert "not an image" in text
    assert str(scratch) not in text
    page.settle()
    page.shoot("app-error") if name == "no-image.png" else None
    page.troubles.clear()


def test_picture_and_adapter_come_as_files(visit, tmp_path):
    from filterlens.editing.adapter import Adapter

    page = visit()
    page.slide("strength-0", 0.4)
    with page.page.expect_download() as download:
        page.page.locator("#viewer .save").click()
    assert download.value.suggested_filename == "chelsea-deblur-0.4-denoise-1.png"
    download.value.save_as(tmp_path / "result.png")
    assert (np.asarray(Image.open(tmp_path / "result.png")) == page.result()).all()

    page.page.wait_for_selector("#adapter-0:not([disabled])", timeout=WAIT)
    with page.page.expect_download() as download:
        page.page.locator("#adapter-0").click()
    download.value.save_as(tmp_path / "adapter.safetensors")
    adapter = Adapter.load(tmp_path / "adapter.safetensors")
    assert len(adapter) == 1519
    assert adapter.card["degradations"] == ["blur:2"]


def test_divider_and_lens_follow_pointer_and_keys(visit):
    page = visit()
    stage, lens = page.page.locator("#viewer .stage"), page.page.locator("#viewer .lens")
    box = stage.bounding_box()
    page.page.mouse.click(box["x"] + 0.25 * box["width"], box["y"] + 20)
    divider = page.page.locator("#viewer .divider")
    assert divider.get_attribute("aria-valuenow") == "25"
    divider.focus()
    page.page.keyboard.press("ArrowRight")
    assert divider.get_attribute("aria-valuenow") == "27"
    assert lens.is_hidden()
    page.page.locator("#viewer .lens-switch").click()
    page.page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.6 * box["height"])
    assert lens.is_visible()
    first = lens.bounding_box()
    page.page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.5 * box["height"])
    assert lens.bounding_box() != first
    page.page.mouse.move(box["x"] + 0.72 * box["width"], box["y"] + 0.47 * box["height"])
    page.shoot("app-lens")


def test_it_works_at_the_width_of_a_phone(visit):
    page = visit(viewport=PHONE, is_mobile=True, has_touch=True, device_scale_factor=2)
    assert page.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    top = {
        name: page.page.locator(f"#{name}").bounding_box()["y"] for name in ("viewer", "strengths", "picture", "seen")
    }
    assert top["viewer"] < top["strengths"] < top["picture"] < top["seen"]
    page.shoot("app-phone")
    page.page.locator("#viewer .lens-switch").tap()
    stage = page.page.locator("#viewer .stage").bounding_box()
    middle = {"pointerType": "touch", "pointerId": 1, "bubbles": True, "isPrimary": True,
              "clientX": stage["x"] + 100, "clientY": stage["y"] + 150}  # fmt: skip
    page.page.dispatch_event("#viewer .stage", "pointerdown", middle)
    assert page.page.locator("#viewer .lens").is_visible()
    page.shoot("app-phone-lens")
    page.page.dispatch_event("#viewer .stage", "pointerup", middle)
    assert page.page.locator("#viewer .lens").is_hidden()
    sharp = page.result()
    assert difference(page.slide("strength-0", 0), sharp) > 1


def test_a_large_picture_says_how_far_it_is_and_gives_way(visit, tmp_path):
    pixels = Image.fromarray(photograph("rocket").permute(1, 2, 0).numpy()).resize((600, 450))
    pixels.save(tmp_path / "large.png")
    page = visit()
    page.after(lambda: page.page.locator("#lowered input").click())
    page.send(tmp_path / "large.png")
    page.page.wait_for_selector(".busy:not([hidden])", timeout=WAIT)
    assert page.page.locator(".busy b").inner_text().startswith("tile 1 of ")
    assert page.page.locator("#verdict .looking").is_visible()
    last = page.slide("strength-1", 0)
    assert last.shape == (900, 1200, 3)
    assert page.page.locator("#viewer .save").get_attribute("download") == "large-deblur-1-denoise-0.png"
    assert page.page.locator(".busy").is_hidden()
    page.settle()


def test_only_the_last_of_many_requests_is_shown(visit):
    page = visit()
    slider = page.page.locator("#strength-0 input[type=range]")
    for value in (0.9, 0.7, 0.5, 0.3, 0.1, 0):
        slider.fill(str(value))
    page.page.wait_for_function(
        "() => document.querySelector('#viewer .save').download.includes('deblur-0-')", timeout=WAIT
    )
    page.settle()
    last = page.result()
    page.slide("strength-0", 1)
    assert difference(last, page.slide("strength-0", 0)) == 0
