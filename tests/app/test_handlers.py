# SPDX-License-Identifier: Apache-2.0
"""What the page's events do, without a browser."""

import base64

import numpy as np
import pytest
import torch
from PIL import Image

from filterlens.data.images import read_image
from filterlens.data.photographs import photograph, square
from filterlens.filters import ranking
from filterlens.workflow.studio import restoration

gr = pytest.importorskip("gradio", reason="the extra 'app' is not installed", exc_type=ImportError)

from filterlens.app import handlers as module  # noqa: E402
from filterlens.app.filter_map import map_value, packed  # noqa: E402
from filterlens.app.handlers import Handlers  # noqa: E402
from filterlens.app.session import Session  # noqa: E402
from filterlens.app.shelf import ROUTE, Shelf  # noqa: E402

SKIPPED = (gr.skip(), gr.skip())  # what leaves the page as it is
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
    ((view, shown),) = handlers.render(session, *with_(deblur=0.2), 1.0)
    (step,) = studio.restoring(session.scene, {"blur:2": 0.2}, 1.0)
    assert torch.equal(pixels(view["after"]), (step.picture[0].clamp(0, 1) * 255).round().to(torch.uint8))
    assert torch.equal(pixels(view["before"]), (session.scene.image[0] * 255).round().to(torch.uint8))
    assert (view["input"], view["result"], view["file"]) == (
        "input 32×32", "result 64×64", "chelsea-deblur-0.2-denoise-1.png",
    )  # fmt: skip
    assert shown == {"percent": 1.0, "strengths": {"blur:2": 0.2, "noise:0.1": 1.0}}


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
    assert torch.equal(pixels(handlers.first_view(*FIRST)["after"]), pixels(view["after"]))


def test_a_large_picture_tells_its_tiles_and_stops_when_nobody_wants_it(handlers, studio, monkeypatch):
    monkeypatch.setattr(restoration.restoring, "__kwdefaults__", {"precision": "fp32", "tile": 1})
    monkeypatch.setattr(module, "_photograph", lambda name: photograph(name)[:, :64, :100].contiguous())
    session = Session()
    steps = [view for view, _ in handlers.render(session, *FIRST, 1.0)]
    assert [view.get("done") for view in steps] == [*range(1, len(steps)), None]
    assert steps[0]["total"] == len(steps) > 2

    running = handlers.render(session, *FIRST, 5.0)
    next(running)
    handlers.want(session, *with_(deblur=0.3), 6.0)
    assert list(running) == [SKIPPED]


def test_a_verdict_follows_the_picture_once_per_input(handlers, monkeypatch):
    session, asked = Session(), []
    monkeypatch.setattr(handlers, "adapters", lambda percent: asked.append(percent) or ["file", "file"])
    assert list(handlers.explain(session, *FIRST, 1.0)) == [2 * SKIPPED]  # no picture yet
    list(handlers.render(session, *FIRST, 1.0))
    verdict, files = handlers.explain(session, *FIRST, 1.5)
    assert "blur" in verdict[0]
    assert verdict[1]["used"]["percent"] == 1.0
    assert files[2:] == ("file", "file")

    known = session.explanation
    list(handlers.render(session, *with_(deblur=0.2), 2.0))
    (again,) = handlers.explain(session, *with_(deblur=0.2), 2.5)
    assert (again[0], session.explanation, asked) == (verdict[0], known, [1.0])
    list(handlers.render(session, *with_(noise=0.2), 3.0))
    list(handlers.explain(session, *with_(noise=0.2), 3.5))
    assert session.explanation is not known


def test_a_verdict_is_given_up_when_the_page_moved_on(handlers):
    session = Session()
    list(handlers.render(session, *FIRST, 1.0))
    assert list(handlers.explain(session, *with_(blur=3.0), 2.0)) == [2 * SKIPPED]  # its picture is still to come
    assert list(handlers.explain(session, *with_(deblur=0.1), 2.0)) == [2 * SKIPPED]
    handlers.want(session, *with_(blur=3.0), 3.0)
    assert list(handlers.explain(session, *FIRST, 2.0)) == [2 * SKIPPED]
    assert session.explained is None


def test_errors_are_shown_on_the_page_and_not_swallowed(handlers):
    with pytest.raises(gr.Error) as caught:
        list(handlers.render(Session(), *with_(source="upload:1"), 1.0))
    assert "Send it again" in str(caught.value)
    with pytest.raises(gr.Error, match="200 % of the filters is not possible"):
        list(handlers.render(Session(), *with_(percent=200.0), 1.0))
    assert caught.value.duration is None  # stays until it is closed


def test_an_upload_becomes_the_source(handlers, tmp_path):
    session = Session()
    path = tmp_path / "uploads" / "my <b>cup.png"
    Image.fromarray(np.full((40, 50, 3), 90, np.uint8)).save(path)
    source, chosen = handlers.receive(session, event(path=str(path)))
    assert (source, chosen) == ("upload:1", "")
    ((view, _),) = handlers.render(session, *with_(source=source, blur=0.0), 1.0)
    assert view["file"].startswith("my-b-cup-deblur")
    assert view["result"] == "result 50×40"
    assert handlers.receive(session, event(path=str(path)))[0] == "upload:2"


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
    assert "'letter.png' is not an image" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_clicking_a_function_masks_it_and_gives_it_back(handlers):
    first, second = handlers.mask(event(degradation="noise:0.1"), 0.4, 0.7)
    assert (first, second) == (gr.skip(), 0.0)
    assert handlers.mask(event(degradation="noise:0.1"), 0.4, 0.0)[1] == 1.0
    assert handlers.mask(event(degradation="nothing"), 0.4, 0.0) == [gr.skip(), gr.skip()]


def test_only_photographs_that_ship_can_be_picked(handlers):
    assert handlers.pick(event(name="rocket")) == "rocket"
    assert handlers.pick(event(name="/etc/passwd")) == "astronaut"
    assert handlers.pick(event()) == "astronaut"


def test_the_map_gets_numbers_as_a_page_unpacks_them(studio):
    numbers = torch.tensor([1, 256, 70_000], dtype=torch.int32)
    assert np.frombuffer(base64.b64decode(packed(numbers)), "<i4").tolist() == numbers.tolist()
    explanation = type("Explanation", (), {"percent": 1.0, "shares": torch.rand(len(studio.pair.space)).double()})
    used = map_value(1.0, {}, explanation)["used"]
    filters = np.frombuffer(base64.b64decode(used["filters"]), "<i4")
    shares = np.frombuffer(base64.b64decode(used["shares"]), "<f4")
    assert filters.tolist() == ranking(explanation.shares)[: int(len(studio.pair.space) * 0.05)].tolist()
    assert shares == pytest.approx(explanation.shares.numpy()[filters])
