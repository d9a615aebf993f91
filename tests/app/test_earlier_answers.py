# SPDX-License-Identifier: Apache-2.0
"""Nothing on the page belongs to an earlier input or setting without saying so, in a real browser.

Calls are held back, so that the page stands between two answers for as long as a test looks.
"""

import contextlib

import pytest
from PIL import Image

from filterlens.data.photographs import photograph
from tests.app.running import running
from tests.app.visiting import DESKTOP, WAIT, Visit

pytestmark = pytest.mark.slow

LOOKING = "Looking at the input"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    pytest.importorskip("gradio", reason="the extra 'app' is not installed", exc_type=ImportError)
    with running("small", tmp_path_factory.mktemp("app")) as app:
        yield app.address
    assert app.errors.read_text() == ""


@pytest.fixture
def visit(chromium, address):
    visits = []

    def start():
        visits.append(Standing(chromium, address, viewport=DESKTOP))
        return visits[-1]

    yield start
    for each in visits:
        each.context.close()
        assert each.troubles == []


class Standing(Visit):
    """A page whose calls can be held back."""

    @contextlib.contextmanager
    def held(self):
        """Hold back what the page asks while the block runs."""
        waiting, holding = [], [True]
        self.page.route(
            "**/gradio_api/queue/join*", lambda route: waiting.append(route) if holding else route.continue_()
        )
        try:
            yield
        finally:
            holding.clear()
            for route in waiting:
                route.continue_()

    def move(self, name, value):
        self.page.locator(f"#{name} input[type=range]").fill(str(value))

    def text(self, place):
        return self.page.locator(place).inner_text()

    def until(self, condition):
        self.page.wait_for_function(f"() => {condition}", timeout=WAIT)

    def is_earlier(self):
        """Whether the picture is marked: its tag, what is said below it, and what can be saved."""
        marks = {
            self.text(".tag.result") == "earlier result",
            self.text(".facts") == "Working …",
            self.page.locator("#viewer .save").get_attribute("href") is None,
            self.page.locator("#viewer .stage.earlier").count() == 1,
        }
        assert len(marks) == 1, "all of them or none"
        return marks.pop()

    def answered(self):
        """Wait until everything on the page is of the present settings."""
        self.until("['picture', 'verdict', 'map', 'adapters'].every((part) => filterlens.isCurrent(part))")


def test_another_input_takes_picture_and_verdict_from_the_page_at_once(visit):
    page = visit()
    page.answered()
    verdict = page.text("#seen")
    assert "This input" in verdict
    with page.held():
        page.move("noise", 0.1)
        page.until("!filterlens.isCurrent('verdict')")
        assert LOOKING in page.text("#seen")
        assert "%" not in page.text("#seen")
        assert page.is_earlier()
        assert page.text(".tag.input") == "earlier input"
        assert page.page.locator("#map .used input").is_disabled()
        assert LOOKING.lower() in page.text("#map .used").lower()
        page.shoot("app-earlier")
    page.answered()
    assert LOOKING not in page.text("#seen")
    assert not page.is_earlier()
    assert page.page.locator("#map .used input").is_enabled()


def test_another_strength_leaves_the_verdict_as_the_input_is_the_same(visit):
    page = visit()
    page.answered()
    verdict = page.text("#verdict .answer")
    with page.held():
        page.move("strength-0", 0.3)
        page.until("!filterlens.isCurrent('picture')")
        assert page.is_earlier()
        assert page.text(".tag.input").startswith("input ")
        assert page.text("#verdict .answer") == verdict
        assert "at 0.3" in page.text("#map .functions")  # the map follows the slider by itself
    page.answered()
    assert page.text("#verdict .answer") == verdict
    assert "deblur-0.3" in page.page.locator("#viewer .save").get_attribute("download")


def test_back_at_the_old_setting_the_old_picture_is_right_again(visit):
    page = visit()
    page.answered()
    with page.held():
        page.move("noise", 0.1)
        page.until("!filterlens.isCurrent('picture')")
        page.move("noise", 0)
        page.until("filterlens.isCurrent('picture')")
        assert not page.is_earlier()
        assert LOOKING not in page.text("#seen")


def test_adapters_of_another_share_cannot_be_taken(visit):
    page = visit()
    page.answered()
    button = page.page.locator("#adapter-0")
    with page.held():
        page.page.locator("#percent input").last.check()
        page.until("!filterlens.isCurrent('adapters')")
        assert button.evaluate("button => button.inert")
    page.answered()
    assert not button.evaluate("button => button.inert")
    with page.page.expect_download() as download:
        button.click()
    assert download.value.suggested_filename == "blur-2-5.safetensors"


def test_another_photograph_marks_the_picture_at_once(visit):
    page = visit()
    page.answered()
    with page.held():
        page.page.locator("#photographs button[data-name=coffee]").click()
        page.until("!filterlens.isCurrent('picture')")
        assert page.is_earlier()
        assert LOOKING in page.text("#seen")
    page.answered()
    assert page.page.locator("#viewer .save").get_attribute("download").startswith("coffee")


def test_two_clicks_in_a_row_end_at_the_second(visit):
    page = visit()
    page.answered()
    for name in ("coffee", "rocket", "astronaut"):
        page.page.locator(f"#photographs button[data-name={name}]").click()
    page.until("document.querySelector('#viewer .save').download.startsWith('astronaut')")
    page.answered()
    for index in (0, 1):
        page.page.locator("#map .functions button").nth(index).click()
    page.until("document.querySelector('#viewer .save').download === 'astronaut-deblur-0-denoise-0.png'")


def test_a_picture_that_cannot_be_made_is_not_the_last_one(visit, tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "tiny.png")
    page = visit()
    page.answered()
    page.send(tmp_path / "tiny.png")
    page.until("document.querySelector('.facts').textContent === 'There is no picture for these settings.'")
    assert page.text(".tag.result") == "earlier result"
    assert page.page.locator("#viewer .save").get_attribute("href") is None
    page.until("document.querySelector('#seen').innerText.includes('Nothing can be said of this input')")
    assert "20×20" in page.text(".toast-body")
    assert page.page.locator("#photographs [aria-pressed=true]").count() == 0
    page.page.locator("#photographs button[data-name=chelsea]").click()
    page.answered()
    assert page.page.locator(".toast-body").count() == 0  # the error was of the last picture
    assert page.text(".tag.result").startswith("result ")


def test_a_name_like_markup_is_text(visit, tmp_path):
    name = "<img src=x onerror=document.body.dataset.hacked=1>.png"
    Image.fromarray(photograph("coffee").permute(1, 2, 0).numpy()).resize((64, 64)).save(tmp_path / name)
    page = visit()
    page.answered()
    page.send(tmp_path / name)
    page.until("document.querySelector('#viewer .save').download.startsWith('img-src-x-onerror')")
    (tmp_path / name).write_bytes(b"no image")
    page.send(tmp_path / name)
    page.page.wait_for_selector(".toast-body", timeout=WAIT)
    assert page.page.locator("body").get_attribute("data-hacked") is None
    assert page.page.locator(".toast-body img").count() == 0


def test_two_tabs_do_not_disturb_each_other(visit):
    first, second = visit(), visit()
    for page in (first, second):
        page.answered()
    before = first.page.locator("[data-shown]").get_attribute("data-shown")
    second.move("strength-0", 0)
    second.until("document.querySelector('#viewer .save').download.includes('deblur-0-')")
    assert first.page.locator("[data-shown]").get_attribute("data-shown") == before
    assert first.result().shape == (300, 450, 3)


def test_every_control_is_answered(visit):
    page = visit()
    page.answered()
    sliders = {"blur": 1, "noise": 0.1, "jpeg": 30, "strength-0": 0.5, "strength-1": 1.5}
    moves = [lambda name=name, value=value: page.move(name, value) for name, value in sliders.items()]
    moves += [page.page.locator(place).click for place in ("#lowered input", "#strength-0 [aria-label^=Reset]")]
    moves += [page.page.locator("#percent input").first.check, page.page.locator("#photographs button").first.click]
    for move in moves:
        before = page.page.evaluate("filterlens.wanted")
        move()
        page.page.wait_for_function(
            "before => JSON.stringify(filterlens.wanted) !== JSON.stringify(before)", arg=before, timeout=WAIT
        )
        page.answered()
    page.page.wait_for_selector("#blur input[type=range]:disabled", timeout=WAIT)
