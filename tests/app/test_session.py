# SPDX-License-Identifier: Apache-2.0
"""What is outdated, what is kept, what the controls mean."""

import errno

import pytest
import torch

from filterlens.app import scratch as module
from filterlens.app.scene import Handling
from filterlens.app.scratch import KEPT, ROUTE, Shelf, safe_name
from filterlens.app.session import Controls, Session, first_handling
from filterlens.errors import FilterlensError, UsageError


def test_work_is_outdated_when_the_page_asked_for_something_else_later():
    session = Session()
    session.want(10.0, [1, "a"])
    assert not session.is_outdated(10.5, [1, "a"])  # what is wanted
    assert not session.is_outdated(9.0, [1, "a"])  # the note of this very request came first
    assert session.is_outdated(9.0, [0, "a"])
    assert not session.is_outdated(11.0, [0, "a"])  # newer than the note: its own is still on the way


def test_notes_that_overtake_each_other_count_by_the_pages_clock():
    session = Session()
    session.want(20.0, ["new"])
    session.want(10.0, ["old"])
    assert session.is_outdated(10.0, ["old"])
    assert not session.is_outdated(20.0, ["new"])


def test_controls_are_read_in_the_order_of_the_page():
    controls = Controls.of(["chelsea", False, 2, 0.1, 30.0, 1, 0.4, 1], ("blur:2", "noise:0.1"))
    assert controls.handling == Handling(False, 2.0, 0.1, 30)
    assert controls.strengths == {"blur:2": 0.4, "noise:0.1": 1.0}
    assert controls.percent == 1.0


GOOD = ["chelsea", False, 2, 0.1, 30.0, 1, 0.4, 1]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, "/etc/passwd"), (0, "upload:x"), (0, None), (0, ["chelsea"]), (1, "no"), (1, None), (2, "2"), (2, True),
        (2, -1), (2, 1e9), (3, 0.3), (3, float("nan")), (4, 0), (4, 101), (5, None), (6, float("inf")), (7, [1]),
    ],
)  # fmt: skip
def test_values_that_no_control_has_are_refused(place, value):
    with pytest.raises(UsageError):
        Controls.of([*GOOD[:place], value, *GOOD[place + 1 :]], ("blur:2", "noise:0.1"))


@pytest.mark.parametrize("count", [0, 5, 7, 9])
def test_a_wrong_number_of_values_is_refused(count):
    with pytest.raises(UsageError, match=f"has 8 controls, not {count}"):
        Controls.of([*GOOD, 1.0][:count], ("blur:2", "noise:0.1"))


@pytest.mark.parametrize(
    ("degradations", "handling"),
    [
        (["blur:2", "noise:0.1"], Handling(blur=2.0)),
        (["noise:0.1"], Handling(noise=0.1)),
        (["noise:0.5", "blur:2"], Handling(noise=0.2)),
        (["motion:15,angle=30", "jpeg:30"], Handling(quality=30)),
        (["blur:4,sigma_y=1,angle=30"], Handling(blur=2.0)),
    ],
)
def test_the_first_view_has_something_for_the_first_function_to_do(degradations, handling):
    assert first_handling(degradations) == handling


def test_a_picture_taken_as_it_is_has_no_other_handling():
    values = ["chelsea", True, 2, 0.1, 30.0, 1, 0.4, 1]
    other = ["chelsea", True, 3, 0.0, 50.0, 1, 0.7, 1]
    names = ("blur:2", "noise:0.1")
    assert Controls.of(values, names).scene == Controls.of(other, names).scene


@pytest.fixture
def shelf(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "uploads").mkdir()
    return Shelf(tmp_path / "pictures", tmp_path / "uploads")


def test_the_oldest_picture_of_a_page_goes_when_there_are_many(shelf):
    session, pixels = Session(), torch.zeros(3, 4, 5, dtype=torch.uint8)
    addresses = [shelf.put(session.results, f"result {index}", pixels) for index in range(KEPT + 2)]
    assert len(set(addresses)) == KEPT + 2
    left = sorted(path.name for path in shelf.folder.glob("*/*"))
    assert left == [f"result-{index}.png" for index in range(2, KEPT + 2)]
    assert addresses[-1] == f"{ROUTE}{session.results[-1]}"
    shelf.put(session.inputs, "input", pixels)
    shelf.clear(session.pictures)
    assert list(shelf.folder.iterdir()) == []


def test_a_full_disk_is_one_line_and_leaves_nothing(shelf, monkeypatch):
    def full(image, path, *rest, **settings):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.Image.Image, "save", full)
    with pytest.raises(FilterlensError, match=r"Cannot write the picture: No space left on device\. Free the disk"):
        shelf.put([], "result", torch.zeros(3, 4, 5, dtype=torch.uint8))
    assert list(shelf.folder.iterdir()) == []


def test_the_oldest_pictures_go_when_many_pages_are_open(shelf, monkeypatch):
    monkeypatch.setattr(module, "MOST_KEPT", 3)
    pages = [Session() for _ in range(5)]
    for number, page in enumerate(pages):
        shelf.put(page.results, f"page {number}", torch.zeros(3, 4, 5, dtype=torch.uint8))
    assert sorted(path.name for path in shelf.folder.glob("*/*")) == ["page-2.png", "page-3.png", "page-4.png"]
    for page in pages:  # also of those whose pictures went already
        shelf.clear(page.pictures)
    assert list(shelf.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("chelsea-deblur-0.4", "chelsea-deblur-0.4"),
        ("../../etc/passwd", "etc-passwd"),
        ("..", "picture"),
        ("a b/c\\d\0<script>", "a-b-c-d-script"),
        ("x" * 200, "x" * 60),
        ("Übermut 日本", "bermut"),
    ],
)
def test_file_names_hold_nothing_that_a_path_or_page_could_misread(text, name):
    assert safe_name(text) == name


@pytest.mark.parametrize(
    "path", [None, "", "/etc/passwd", "../pictures/x.png", "missing.png", "link.png", "a\0b", "x" * 5000]
)
def test_only_what_was_sent_is_read(shelf, path):
    (shelf.folder / "x.png").write_bytes(b"x")
    (shelf.uploads / "link.png").symlink_to(shelf.folder / "x.png")
    forged = path if path is None or path.startswith("/") or not path else str(shelf.uploads / path)
    with pytest.raises(UsageError, match="No picture arrived"):
        shelf.received(forged)


def test_what_was_sent_is_found(shelf):
    (shelf.uploads / "cup.png").write_bytes(b"x")
    assert shelf.received(str(shelf.uploads / "cup.png")) == (shelf.uploads / "cup.png").resolve()
