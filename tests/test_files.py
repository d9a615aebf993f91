# SPDX-License-Identifier: Apache-2.0
"""A file is written whole or not at all."""

import errno
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from filterlens import files
from filterlens.errors import FilterlensError
from filterlens.files import PART, check_writable, folder_lock, read_json, sha256_of, whole_file, write_json, write_text


def test_a_whole_file_appears_at_its_place_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.txt"
    with whole_file(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), FilterlensError("mine")])
def test_any_error_inside_passes_unchanged_and_leaves_the_old_file_alone(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(type(error)) as caught, whole_file(path) as temporary:
        temporary.write_text("half")
        raise error
    assert caught.value is error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_inside_leaves_nothing_where_nothing_was(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine"), whole_file(tmp_path / "file.txt") as temporary:
        temporary.write_text("half")
        raise ValueError("mine")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_with_the_path_and_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def full(self: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(FilterlensError, match=r"file\.txt': No space left on device\. Free the disk"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("no folder")
    with pytest.raises(FilterlensError, match="Cannot write"):
        write_text(tmp_path / "folder" / "file.txt", "text")


def test_a_folder_in_place_of_the_file_is_told_and_stays(tmp_path: Path) -> None:
    (tmp_path / "file.txt").mkdir()
    with pytest.raises(FilterlensError, match="Cannot write"):
        write_text(tmp_path / "file.txt", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_the_permissions_are_those_of_an_ordinary_new_file(tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    write_text(tmp_path / "ours", "text")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_json_reads_back_equal_and_keeps_letters(tmp_path: Path) -> None:
    value = {"σ": [1, 2.5, None], "name": "Größe"}
    write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == value
    assert "Größe" in (tmp_path / "value.json").read_text(encoding="utf-8")


def test_a_value_that_json_cannot_hold_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "value.json", {"value": object()})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_json_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FilterlensError, match=r"none\.json': No such file"):
        read_json(tmp_path / "none.json")


@pytest.mark.parametrize("content", [b"{'no': json}", b"", b"\xff\xfe"])
def test_a_file_that_is_no_json_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(FilterlensError, match=r"bad\.json' is not valid JSON"):
        read_json(tmp_path / "bad.json")


def test_the_hash_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc" * 100_000)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def leave_a_temporary_file(folder: Path, wait: bool) -> subprocess.Popen[str]:
    """Start a process that dies, or waits, while it writes a file."""
    end = "input()" if wait else "os.kill(os.getpid(), signal.SIGKILL)"
    code = (
        "import os, signal, sys; from filterlens.files import whole_file\n"
        f"with whole_file(sys.argv[1]) as part:\n    part.write_text('half'); print(flush=True); {end}"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", code, str(folder / "a.txt")], **pipes)
    process.stdout.readline()
    if not wait:
        process.communicate()
    return process


def test_the_temporary_file_of_a_killed_process_is_removed_by_the_next_one_and_no_other(tmp_path: Path) -> None:
    (tmp_path / ".letter.part").write_text("a stranger's")
    leave_a_temporary_file(tmp_path, wait=False)
    assert len(list(tmp_path.glob(f".*{PART}"))) == 1
    write_text(tmp_path / "b.txt", "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".letter.part", "b.txt"]


def test_the_temporary_file_of_a_living_process_stays(tmp_path: Path) -> None:
    process = leave_a_temporary_file(tmp_path, wait=True)
    try:
        write_text(tmp_path / "b.txt", "whole")
        assert len(list(tmp_path.glob(f".*{PART}"))) == 1
    finally:
        process.communicate("\n")
    assert (tmp_path / "a.txt").read_text() == "half"


def test_a_folder_is_held_by_one_process_and_free_when_it_dies(tmp_path: Path) -> None:
    code = (
        "import sys; from filterlens.files import folder_lock\n"
        "with folder_lock(sys.argv[1], 'training'):\n    print(flush=True); input()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], **pipes) as holder:
        holder.stdout.readline()
        told = pytest.raises(FilterlensError, match=f"in use by a training, process {holder.pid} on")
        with told, folder_lock(tmp_path, "training"):
            raise AssertionError
        holder.kill()
        holder.wait()
        with folder_lock(tmp_path, "training"):
            pass


def test_parts_of_a_folder_are_held_apart_and_an_error_inside_passes_unchanged(tmp_path: Path) -> None:
    first, second = folder_lock(tmp_path, "re-training", "a"), folder_lock(tmp_path, "re-training", "b")
    told = pytest.raises(FilterlensError, match="a' is in use by a re-training")
    with first, second, told, folder_lock(tmp_path, "re-training", "a"):
        raise AssertionError
    with pytest.raises(OSError, match="mine"), folder_lock(tmp_path, "re-training", "a"):
        raise OSError("mine")


def test_a_folder_that_can_be_written_or_made_passes_and_stays_as_it_is(tmp_path: Path) -> None:
    check_writable(tmp_path)
    check_writable(tmp_path / "new" / "folder")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FilterlensError, match=r"Cannot write into '.*file/folder': Not a directory"):
        check_writable(tmp_path / "file" / "folder")

    def read_only(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    with pytest.raises(FilterlensError, match=r"Cannot write into '.*': Read-only file system\. .* another place"):
        check_writable(tmp_path)


def left_part(folder: Path, name: str = "a.txt", machine: str = "0" * 8, age: float = 0.0) -> Path:
    """Write the temporary file of a process that died, on this or another machine."""
    path = folder / f".{name}{machine and '.'}{machine}.k3v_9x0a{PART}"
    path.write_text("half")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_another_machines_temporary_file_goes_when_it_is_an_hour_old(tmp_path: Path) -> None:
    fresh, old, of_earlier_version = (
        left_part(tmp_path),
        left_part(tmp_path, "b", age=4000),
        left_part(tmp_path, "c", ""),
    )
    os.utime(of_earlier_version, (0, 0))
    write_text(tmp_path / "c.txt", "whole")
    assert fresh.exists() and not old.exists() and not of_earlier_version.exists()


@pytest.mark.skipif(files.fcntl is None, reason="locks are POSIX")
def test_without_locks_only_an_old_temporary_file_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    fresh, old = (left_part(tmp_path, name, files._MACHINE, age) for name, age in (("a", 10), ("b", 4000)))
    write_text(tmp_path / "c.txt", "whole")
    assert fresh.exists() and not old.exists() and (tmp_path / "c.txt").read_text() == "whole"


def test_what_only_looks_like_a_temporary_file_stays(tmp_path: Path) -> None:
    names = [f".notes{PART}", f"a.txt.00000000.k3v_9x0a{PART}", f".a.txt.k3v_9x0a{PART}.bak", f".a.TOOLONG{PART}"]
    for name in names:
        (tmp_path / name).write_text("mine")
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / f".b.00000000.k3v_9x0a{PART}").mkdir()
    (tmp_path / f".c.00000000.k3v_9x0a{PART}").symlink_to(tmp_path / names[0])
    before = {path.name for path in tmp_path.iterdir()}
    write_text(tmp_path / "c.txt", "whole")
    assert {path.name for path in tmp_path.iterdir()} == before | {"c.txt"}


@pytest.mark.parametrize("name", ["ü" * 120 + ".png", "画" * 80 + ".png", "a" * 250])
def test_a_name_as_long_as_the_file_system_takes_is_written(tmp_path: Path, name: str) -> None:
    write_text(tmp_path / name, "whole")
    assert [path.name for path in tmp_path.iterdir()] == [name]
