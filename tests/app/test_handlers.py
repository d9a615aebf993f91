# SPDX-License-Identifier: Apache-2.0
"""What the page's events do, without a browser."""

import base64
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from filterlens.app.scene import Scene
from filterlens.data.images import read_image
from filterlens.data.photographs import photograph, square
from filterlens.errors import FilterlensError
from filterlens.filters import ranking

gr = pytest.importorskip("gradio", reason="the extra 'app' is not installed", exc_type=ImportError)

from filterlens.app import handlers as module  # noqa: E402
from filterlens.app.components import map_value, packed  # noqa: E402
from filterlens.app.handlers import Handlers  # noqa: E402
from filterlens.app.scratch import ROUTE, Shelf  # noqa: E402
from filterlens.app.session import Session  # noqa: E402

SKIPPED = gr.skip()  # what leaves a part of the page as it is
NOTHING = (SKIPPED,) * 4
FIRST = ["chelsea", False, 2.0, 0.0, 100, 1.0, 1.0, 1.0]


@pytest.fixture
def handlers(studio, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_photograph", lambda name: square(photograph(name), 64, 60, 180))
    (tmp_path / "pictures").mkdir()
    (tmp_path / "uploads").mkdir()
    return Handlers(studio, Shelf(tmp_path / "pictures", tmp_path / "uploads"))


def with_(**changes):
    names = ("source", "lowered", "blur", "noise", "quality", "percent", "deblur", "denoise")
    return [changes.get(name, value) for name, value in zip(names, FIRST, strict=True)]


def pixels(address):
    return read_image(address.removeprefix(ROUTE))


def event(**data):
    return gr.EventData(None, data)


def test_the_picture_is_that_of_the_dialled_network(handlers, studio):
    session = Session()
    ((view, _),) = handlers.render(session, *with_(deblur=0.2), 1.0)
    (step,) = studio.restoring(session.scene, {"blur:2": 0.2}, 1.0)
    assert torch.equal(pixels(view["after"]), (step.picture[0].clamp(0, 1) * 255).round().to(torch.uint8))
    assert torch.equal(pixels(view["before"]), (session.scene.image[0] * 255).round().to(torch.uint8))
    assert (view["input"], view["result"], view["file"]) == (
        "input 32×32", "result 64×64", "chelsea-deblur-0.2-denoise-1.png",
    )  # fmt: skip
    assert view["controls"] == with_(deblur=0.2)


def test_the_input_is_made_once_for_all_strengths(handlers):
    session = Session()
    list(handlers.render(session, *FIRST, 1.0))
    scene, address = session.scene, session.input
    list(handlers.render(session, *with_(deblur=0.1, percent=5.0), 2.0))
    assert (session.scene, session.input) == (scene, address)
    list(handlers.render(session, *with_(noise=0.1), 3.0))
    assert session.scene is not scene


def test_the_page_opens_with_what_its_controls_say(handlers):
    session = Session()
    ((view, _),) = handlers.render(session, *FIRST, 1.0)
    first = handlers.first_view(*FIRST)
    assert torch.equal(pixels(first["after"]), pixels(view["after"]))
    assert first["controls"] == FIRST


def test_a_large_picture_tells_its_tiles_and_stops_when_nobody_wants_it(handlers, studio, monkeypatch):
    handlers.studio = replace(studio, tile=1)
    monkeypatch.setattr(module, "_photograph", lambda name: photograph(name)[:, :64, :100].contiguous())
    session = Session()
    steps = [view for view, _ in handlers.render(session, *FIRST, 1.0)]
    assert [view.get("done") for view in steps] == [*range(1, len(steps)), None]
    assert steps[0]["total"] == len(steps) > 2
    assert all(step["controls"] == FIRST for step in steps)

    running = handlers.render(session, *FIRST, 5.0)
    next(running)
    handlers.want(session, *with_(deblur=0.3), 6.0)
    assert list(running) == [(SKIPPED, SKIPPED)]


def explained(handlers, session, controls, moment):
    """What an explanation says, without the pauses in which it says nothing."""
    return [each for each in handlers.explain(session, *controls, moment) if each != NOTHING]


def test_a_verdict_follows_the_picture_once_per_input(handlers, monkeypatch):
    session, asked = Session(), []
    monkeypatch.setattr(handlers, "adapters", lambda percent: asked.append(percent) or ["file", "file"])
    assert list(handlers.explain(session, *FIRST, 1.0)) == [NOTHING]  # no picture yet
    list(handlers.render(session, *FIRST, 1.0))
    verdict, files = explained(handlers, session, FIRST, 1.5)
    assert "blur" in verdict[0]["html"]
    assert verdict[0]["controls"] == verdict[1]["controls"] == FIRST
    assert verdict[1]["used"]["percent"] == 1.0
    assert files[0]["adapters"] == 1.0
    assert files[2:] == ("file", "file")

    known = session.explanation
    list(handlers.render(session, *with_(deblur=0.2), 2.0))
    (again,) = explained(handlers, session, with_(deblur=0.2), 2.5)
    assert (again[0]["html"], session.explanation, asked) == (verdict[0]["html"], known, [1.0])
    list(handlers.render(session, *with_(noise=0.2), 3.0))
    explained(handlers, session, with_(noise=0.2), 3.5)
    assert session.explanation is not known


def test_a_verdict_is_given_up_when_the_page_moved_on(handlers):
    session = Session()
    list(handlers.render(session, *FIRST, 1.0))
    assert list(handlers.explain(session, *with_(blur=3.0), 2.0)) == [NOTHING]  # its picture is still to come
    assert list(handlers.explain(session, *with_(deblur=0.1), 2.0)) == [NOTHING]
    handlers.want(session, *with_(blur=3.0), 3.0)
    assert list(handlers.explain(session, *FIRST, 2.0)) == [NOTHING]
    assert session.explained is None


def test_a_verdict_is_given_up_between_two_patches(handlers, monkeypatch):
    session, looked = Session(), []

    def patches(scene):
        for patch in range(5):
            looked.append(patch)
            yield None

    list(handlers.render(session, *FIRST, 1.0))
    monkeypatch.setattr(type(handlers.studio), "explaining", lambda studio, scene: patches(scene))
    explaining = handlers.explain(session, *FIRST, 2.0)
    assert next(explaining) == NOTHING
    handlers.want(session, *with_(noise=0.1), 3.0)
    assert list(explaining) == [NOTHING]
    assert looked == [0, 1]
    assert session.explanation is None


def test_a_network_without_numbers_is_told_by_image_and_share(handlers, monkeypatch):
    """The page is told, too, that what it shows is of other settings."""
    broken = torch.zeros(1, 3, 8, 8)
    broken[..., 0, :4] = float("nan")
    broken[:, 1, 7, 7] = float("inf")
    monkeypatch.setattr(type(handlers.studio.pair), "run", lambda pair, vector, image, precision: broken)
    monkeypatch.setattr(module, "make_scene", lambda name, *rest: Scene(name, None, torch.zeros(1, 3, 4, 4), None))
    session, shown = Session(), []
    with pytest.raises(gr.Error) as caught:
        shown.extend(handlers.render(session, *FIRST, 1.0))
    assert "NaN or infinity for &#39;chelsea&#39;, in 7.81 % of the pixels" in str(caught.value)
    ((view, verdict),) = shown
    assert view == {"failed": True, "controls": FIRST}
    assert verdict["controls"] == FIRST
    assert "Nothing can be said of this input" in verdict["html"]
    assert list(handlers.explain(session, *FIRST, 2.0)) == [NOTHING]


def test_an_input_that_says_nothing_is_told_instead_of_the_last_verdict(handlers, monkeypatch):
    def fails(studio, scene):
        yield None
        raise FilterlensError("<b>No</b> filter serves it.")

    session = Session()
    list(handlers.render(session, *FIRST, 1.0))
    monkeypatch.setattr(type(handlers.studio), "explaining", fails)
    verdict, _ = explained(handlers, session, FIRST, 2.0)
    assert "Nothing can be said of this input. &lt;b&gt;No&lt;/b&gt; filter" in verdict[0]["html"]
    assert verdict[1]["used"] is None


def test_errors_are_shown_on_the_page_and_not_swallowed(handlers):
    with pytest.raises(gr.Error) as caught:
        list(handlers.render(Session(), *with_(source="upload:1"), 1.0))
    assert "Send it again" in str(caught.value)
    with pytest.raises(gr.Error, match=r"200\.0 is not a percentage of filters"):
        list(handlers.render(Session(), *with_(percent=200.0), 1.0))
    assert caught.value.duration is None  # stays until it is closed, or something else is asked
    assert caught.value.print_exception is False


def test_an_upload_becomes_the_source_and_its_file_goes(handlers, tmp_path):
    session = Session()
    for number in (1, 2):
        path = tmp_path / "uploads" / "token" / "my <b>cup.png"
        path.parent.mkdir()
        Image.fromarray(np.full((40, 50, 3), 90, np.uint8)).save(path)
        assert handlers.receive(session, event(path=str(path))) == f"upload:{number}"
        assert list((tmp_path / "uploads").iterdir()) == []
    ((view, _),) = handlers.render(session, *with_(source="upload:2", blur=0.0), 1.0)
    assert view["file"].startswith("my-b-cup-deblur")
    assert view["result"] == "result 50×40"
    with pytest.raises(gr.Error, match="Send it again"):  # never the picture of another key
        list(handlers.render(session, *with_(source="upload:1"), 2.0))


@pytest.mark.parametrize("path", ["/etc/passwd", "", "uploads/../pictures/secret.png"])
def test_an_upload_from_elsewhere_is_refused(handlers, tmp_path, path):
    (tmp_path / "pictures" / "secret.png").write_bytes(b"x")
    with pytest.raises(gr.Error, match="No picture arrived"):
        handlers.receive(Session(), event(path=path and str(tmp_path / path)))


def test_a_failed_upload_is_told(handlers):
    with pytest.raises(gr.Error, match="could not be sent: Maximum file size exceeded"):
        handlers.receive(Session(), event(error="Maximum file size exceeded"))


def test_no_image_is_told_by_its_name_alone(handlers, tmp_path):
    (tmp_path / "uploads" / "letter.png").write_bytes(b"Dear network,")
    with pytest.raises(gr.Error) as caught:
        handlers.receive(Session(), event(path=str(tmp_path / "uploads" / "letter.png")))
    assert "letter.png&#39; is not an image" in str(caught.value)
    assert not (tmp_path / "uploads" / "letter.png").exists()
    assert str(tmp_path) not in str(caught.value)


def test_clicking_a_function_masks_it_and_gives_it_back(handlers):
    first, second = handlers.mask(event(degradation="noise:0.1"), 0.4, 0.7)
    assert (first, second) == (gr.skip(), 0.0)
    assert handlers.mask(event(degradation="noise:0.1"), 0.4, 0.0)[1] == 1.0
    assert handlers.mask(event(degradation="nothing"), 0.4, 0.0) == [gr.skip(), gr.skip()]


@pytest.mark.parametrize("data", [None, [], "text", {"degradation": 3}, {"path": {"a": 1}}])
def test_events_that_no_page_sends_change_nothing(handlers, data):
    forged = gr.EventData(None, data)
    assert handlers.mask(forged, 0.4, 0.0) == [gr.skip(), gr.skip()]
    with pytest.raises(gr.Error, match="No picture arrived"):
        handlers.receive(Session(), forged)


def test_what_an_error_quotes_is_text(handlers):
    with pytest.raises(gr.Error) as caught:
        handlers.receive(Session(), event(error="<img src=x>\x1b[2J\r\nnext"))
    assert str(caught.value).count("<") == 0
    assert "&lt;img src=x&gt; [2J next" in str(caught.value)


def test_the_map_gets_numbers_as_a_page_unpacks_them(studio):
    numbers = torch.tensor([1, 256, 70_000], dtype=torch.int32)
    assert np.frombuffer(base64.b64decode(packed(numbers)), "<i4").tolist() == numbers.tolist()
    explanation = type("Explanation", (), {"percent": 1.0, "shares": torch.rand(len(studio.pair.space)).double()})
    used = map_value(explanation, FIRST)["used"]
    filters = np.frombuffer(base64.b64decode(used["filters"]), "<i4")
    shares = np.frombuffer(base64.b64decode(used["shares"]), "<f4")
    assert filters.tolist() == ranking(explanation.shares)[: int(len(studio.pair.space) * 0.05)].tolist()
    assert shares == pytest.approx(explanation.shares.numpy()[filters])
