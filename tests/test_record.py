# SPDX-License-Identifier: Apache-2.0
"""Only files that filterlens wrote, and that nobody changed since, are ever replaced or removed."""

import os
from pathlib import Path

import pytest

from filterlens.errors import FilterlensError, UsageError
from filterlens.files import PART, write_text
from filterlens.record import RECORD, Record, is_inside


def written(folder: Path, name: str, text: str = "ours", made_of: str | None = None, job: str = "mask") -> Record:
    record = Record(folder, job)
    with record.writing(name, made_of=made_of):
        write_text(folder / name, text)
    return record


def test_a_written_file_is_ours_until_somebody_changes_it(tmp_path: Path) -> None:
    written(tmp_path, "damage.csv")
    assert Record(tmp_path, "mask").is_ours("damage.csv")
    (tmp_path / "damage.csv").write_text("annotated by hand")
    assert not Record(tmp_path, "mask").is_ours("damage.csv")


def test_a_strangers_file_is_neither_replaced_nor_removed(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("a letter")
    record = Record(tmp_path, "report")
    with pytest.raises(FilterlensError, match=r"'report\.html' .* did not write it"), record.writing("report.html"):
        raise AssertionError("the block must not run")
    with pytest.raises(FilterlensError, match="did not write it"):
        record.remove(["report.html"])
    assert (tmp_path / "report.html").read_text() == "a letter"


def test_removing_leaves_other_files_and_their_folders(tmp_path: Path) -> None:
    record = written(tmp_path, "pictures/blur/a.png")
    (tmp_path / "pictures" / "holiday.jpg").write_text("sun")
    record.remove(record.names)
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["holiday.jpg"]


def test_nothing_is_removed_where_one_file_was_changed(tmp_path: Path) -> None:
    written(tmp_path, "a.csv")
    record = written(tmp_path, "b.csv")
    (tmp_path / "b.csv").write_text("changed")
    with pytest.raises(FilterlensError, match=r"'b\.csv'"):
        record.remove(["a.csv", "b.csv"])
    assert (tmp_path / "a.csv").read_text() == "ours"


def test_a_file_whose_writer_was_killed_is_known(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    record = Record(tmp_path, "mask")
    with pytest.raises(Killed), record.writing("damage.csv"):
        write_text(tmp_path / "damage.csv", "whole, but the record of its hash is missing")
        raise Killed
    again = Record(tmp_path, "mask")
    assert again.is_ours("damage.csv")
    assert not again.is_made("damage.csv", "anything")
    with again.writing("damage.csv"):
        write_text(tmp_path / "damage.csv", "ours")


def test_a_link_to_a_strangers_file_is_not_ours(tmp_path: Path) -> None:
    record = written(tmp_path / "run", "mask.json", "same")
    (tmp_path / "letter").write_text("same")
    (tmp_path / "run" / "mask.json").unlink()
    (tmp_path / "run" / "mask.json").symlink_to(tmp_path / "letter")
    with pytest.raises(FilterlensError, match="did not write it"):
        record.remove(["mask.json"])


@pytest.mark.parametrize(
    "name", ["../letter", "/etc/passwd", "a/../../letter", "", "..", "C:\\letter", "a\\..\\..\\b", "C:/letter"]
)
def test_a_forged_record_names_nothing_outside_its_folder(tmp_path: Path, name: str) -> None:
    assert not is_inside(name)
    (tmp_path / RECORD).write_text(f'{{"file": {name!r}, "sha256": null, "job": "mask"}}\n'.replace("'", '"'))
    assert Record(tmp_path, "mask").names == ()


@pytest.mark.parametrize("line", ["", "{", "null", "[1]", '{"file": 3, "sha256": null, "job": "x"}', "[" * 100_000])
def test_torn_and_strange_lines_are_passed_over(tmp_path: Path, line: str) -> None:
    written(tmp_path, "a.csv")
    with (tmp_path / RECORD).open("a") as stream:
        stream.write(line)
    assert Record(tmp_path, "mask").names == ("a.csv",)


def test_what_a_file_was_made_of_decides_whether_it_is_kept(tmp_path: Path) -> None:
    record = written(tmp_path, "a.png", made_of="network 1, x2")
    assert record.is_made("a.png", "network 1, x2")
    assert not record.is_made("a.png", "network 2, x2")
    (tmp_path / "a.png").unlink()
    assert not record.is_made("a.png", "network 1, x2")


def test_strangers_are_named_and_jobs_told_apart(tmp_path: Path) -> None:
    written(tmp_path, "run.json", job="attribute")
    record = written(tmp_path, "pictures/a.png")
    (tmp_path / "notes.txt").write_text("mine")
    assert record.strangers() == ["notes.txt"]
    assert record.of_jobs("mask") == ("pictures/a.png",)


def test_an_output_that_is_a_file_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        Record(tmp_path / "file", "mask")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(FilterlensError, match="Cannot write"), Record(tmp_path, "mask").writing("a.csv"):
        raise AssertionError


def test_a_kill_between_file_and_hash_is_known(tmp_path: Path) -> None:
    record = Record(tmp_path, "restore")
    with pytest.raises(KeyboardInterrupt), record.writing("a.png", made_of="same"):
        (tmp_path / "a.png").write_text("whole")
        raise KeyboardInterrupt
    again = Record(tmp_path, "restore")
    assert again.is_begun("a.png", "same") and not again.is_made("a.png", "same")
    assert not again.is_begun("a.png", "other") and not again.is_begun("b.png", "same")


def test_by_force_another_file_is_replaced_and_recorded(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("letter")
    with Record(tmp_path, "restore").writing("a.png", made_of="this", force=True):
        (tmp_path / "a.png").write_text("picture")
    assert Record(tmp_path, "restore").is_made("a.png", "this")


@pytest.mark.parametrize("name", ["2024-05-01 12:30:00.png", "line\u2028break.png", "new\nline.png", "b\udcff.png"])
def test_odd_names_are_recognised(tmp_path: Path, name: str) -> None:
    with Record(tmp_path, "restore").writing(name, made_of="this"):
        (tmp_path / name).write_text("picture")
    assert Record(tmp_path, "restore").is_made(name, "this")


def test_what_lies_in_the_place_of_a_deleted_file_is_a_strangers(tmp_path: Path) -> None:
    record = written(tmp_path, "damage.csv")
    record.remove(["damage.csv"])
    (tmp_path / "damage.csv").write_text("mine")
    for each in (record, Record(tmp_path, "mask")):
        with pytest.raises(FilterlensError, match="did not write it"):
            each.check(["damage.csv"])


@pytest.mark.parametrize("cut", [1, 2, 30, 100])
def test_a_line_that_a_kill_cut_short_costs_no_later_line(tmp_path: Path, cut: int) -> None:
    written(tmp_path, "a.png", made_of="this")
    record = tmp_path / RECORD
    record.write_bytes(record.read_bytes()[:-cut])
    written(tmp_path, "b.png", made_of="this")
    again = Record(tmp_path, "mask")
    assert again.is_made("b.png", "this") and again.is_ours("a.png")


def test_opening_a_record_removes_what_killed_jobs_left_next_to_recorded_files(tmp_path: Path) -> None:
    written(tmp_path, "pictures/blur/a.png")
    left = tmp_path / "pictures" / "blur" / f".b.png.k3v_9x0a{PART}"
    strange = tmp_path / "holiday" / left.name
    strange.parent.mkdir()
    for path in (left, strange):
        path.write_text("half")
        os.utime(path, (0, 0))
    Record(tmp_path, "mask")
    assert not left.exists() and strange.exists()


def test_the_settings_of_a_file_are_kept_once_and_told(tmp_path: Path) -> None:
    for name, precision in (("a.png", "fp32"), ("b.png", "fp32"), ("c.png", "bf16")):
        with Record(tmp_path, "restore").writing(name, made_of=name, settings={"precision": precision}):
            write_text(tmp_path / name, "picture")
    again = Record(tmp_path, "restore")
    assert [again.settings_of(name) for name in ("a.png", "c.png", "d.png")] == [
        {"precision": "fp32"},
        {"precision": "bf16"},
        None,
    ]
    assert (tmp_path / RECORD).read_text().count('"are"') == 2
    assert again.job_of("a.png") == "restore" and again.job_of("d.png") is None


def test_a_file_that_is_known_to_be_whole_is_settled_and_no_other(tmp_path: Path) -> None:
    record = written(tmp_path, "a.csv")
    with pytest.raises(KeyboardInterrupt), record.writing("b.csv", made_of="this"):
        write_text(tmp_path / "b.csv", "whole")
        raise KeyboardInterrupt
    again = Record(tmp_path, "mask")
    (tmp_path / "a.csv").write_text("changed")
    again.settle(["a.csv", "b.csv", "c.csv"])
    assert again.is_made("b.csv", "this") and not again.is_ours("a.csv") and "c.csv" not in again.names
    (tmp_path / "b.csv").write_text("changed")
    assert not Record(tmp_path, "mask").is_ours("b.csv")
