# SPDX-License-Identifier: Apache-2.0
"""Whole files: written completely or not at all, so that a full disk or a kill never leaves half a result."""

import contextlib
import hashlib
import json
import os
import platform
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filterlens.errors import FilterlensError, first_line

if TYPE_CHECKING:
    from pydantic import BaseModel

try:
    import fcntl
except ImportError:  # Windows: no leftovers are looked for
    fcntl = None  # type: ignore[assignment]

LARGEST_JSON, DEEPEST_JSON = 256 << 20, 64
LOCK, HOLDER = ".filterlens.lock", ".filterlens.lock.json"
PART = ".filterlens-part"  # how the names of temporary files end
_MACHINE = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
_PART_NAME = re.compile(rf"\..*?\.(?:([0-9a-f]{{8}})\.)?[a-z0-9_]{{8}}{re.escape(PART)}", re.DOTALL)
_ABANDONED = 3600.0  # seconds without a change, where no lock can tell whether the writer lives
_LONGEST_NAME = 200  # bytes of the final name in a temporary one; file systems take 255 in all
_swept: set[tuple[int, int]] = set()


@contextlib.contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path`` that takes its place when the block ends without an error.

    The first file that a process writes into a folder also removes what killed processes left there; see :func:`sweep`.

    Raises:
        FilterlensError: The folder cannot be made or written, or the disk is full.
    """
    path = Path(path)
    temporary: Path | None = None
    handle: int | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        handle, temporary = _temporary(path)
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        temporary = None
    except OSError as error:
        reason = error.strerror or error
        raise FilterlensError(f"Cannot write '{path}': {reason}. Free the disk or choose another place.") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if handle is not None:
            os.close(handle)


def _temporary(path: Path) -> tuple[int, Path]:
    """Make a temporary file for ``path`` that is locked as long as the returned handle is open."""
    stem = os.fsdecode(os.fsencode(path.name)[:_LONGEST_NAME])
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{stem}.{_MACHINE}.", suffix=PART, dir=path.parent)
        if fcntl is None:
            os.close(handle)  # an open file could not be moved there
            return os.open(os.devnull, os.O_RDONLY), Path(name)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if Path(name).exists():  # else another process swept it away before it was locked
            return handle, Path(name)
        os.close(handle)


def sweep(folder: Path, *, again: bool = False) -> None:
    """Remove the temporary files in a folder whose writers died.

    A writer holds a lock on its file while it lives. A file of another machine, whose locks may not reach this one, and
    one where there are no locks also stays for an hour after its last change. Files that are called otherwise, folders
    and links are a user's and stay.

    Args:
        folder: The folder alone, not those in it; may be missing.
        again: Look again where this process has looked before.
    """
    with contextlib.suppress(OSError):
        status = folder.stat()
        if (status.st_dev, status.st_ino) in _swept and not again:
            return
        _swept.add((status.st_dev, status.st_ino))
        for left in folder.iterdir():
            if (found := _PART_NAME.fullmatch(left.name)) and not left.is_symlink() and left.is_file():
                with contextlib.suppress(OSError):  # gone, or not ours to remove
                    _remove_left(left, of_this_machine=found[1] == _MACHINE)


def _remove_left(path: Path, *, of_this_machine: bool) -> None:
    """Remove a temporary file unless its writer lives, or may live."""
    is_old = time.time() - path.stat().st_mtime > _ABANDONED
    if fcntl is None:
        if is_old:
            path.unlink()
        return
    handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_free = of_this_machine or is_old
        except BlockingIOError:
            is_free = False
        except OSError:  # a file system without locks
            is_free = is_old
        if is_free:
            path.unlink()
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path | str, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write ``value`` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read a JSON file.

    Raises:
        FilterlensError: The file is missing, cannot be read, or is no JSON of a sane size and depth.
    """
    try:
        if (size := Path(path).stat().st_size) > LARGEST_JSON:
            raise FilterlensError(
                f"'{path}' has {size:,} bytes; JSON that filterlens writes has at most {LARGEST_JSON:,}."
            )
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise FilterlensError(f"Cannot read '{path}': {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise FilterlensError(f"'{path}' is not valid JSON ({first_line(error)}).") from error
    if is_deep(value):
        raise FilterlensError(f"'{path}' nests more than {DEEPEST_JSON} levels deep. It is no file of filterlens.")
    return value


def is_deep(value: Any, most: int = DEEPEST_JSON) -> bool:
    """Whether lists and objects are nested deeper than in any file that filterlens writes."""
    level = [value]
    for _ in range(most):
        level = [
            inner
            for each in level
            if isinstance(each, list | dict)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return False
    return True


def checked(value: Any, model: "type[BaseModel]", source: str, remedy: str) -> Any:
    """Check a value that came from a file, and return it as it is.

    Args:
        value: Value read from JSON or TOML.
        model: Type with the required keys and their types; others are allowed as the model says.
        source: The file, for the error.
        remedy: Remedy that the error gives.

    Raises:
        FilterlensError: The first place that does not fit, with its value.
    """
    from pydantic import ValidationError

    try:
        model.model_validate(value, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        found = "" if first["type"] == "missing" else f" = {repr(first['input'])[:60]}"
        raise FilterlensError(f"'{source}': {place}{found}: {first['msg']}. {remedy}") from None
    return value


def read_checked(path: Path | str, model: "type[BaseModel]", remedy: str) -> Any:
    """Read a JSON file and check it with a model; errors as in :func:`read_json` and :func:`checked`."""
    return checked(read_json(path), model, str(path), remedy)


@contextlib.contextmanager
def folder_lock(folder: Path | str, job: str, part: str = "") -> Iterator[None]:
    """Hold a folder for one job while the block runs; the lock of a process that died is free.

    Args:
        folder: Folder to hold; created if it is missing.
        job: Name of the job in the error of others, for example ``"training"``.
        part: Part of the folder to hold, where jobs that write different files may run at the same time.

    Raises:
        FilterlensError: Another living process holds it (its number and host are named), or it cannot be written.
    """
    folder = Path(folder)
    stem = f".filterlens.{part}" if part else ".filterlens"
    lock, holder = (folder / name.replace(".filterlens", stem) for name in (LOCK, HOLDER))
    is_new = not folder.exists()
    try:
        with _locked(lock, holder, folder / part):
            write_json(holder, {"job": job, "process": os.getpid(), "host": platform.node()})
            try:
                yield
            finally:
                holder.unlink(missing_ok=True)
    except BaseException:
        if is_new:  # a job that failed before it wrote anything leaves nothing
            with contextlib.suppress(OSError):
                if {path.name for path in folder.iterdir()} <= {lock.name}:
                    lock.unlink(missing_ok=True)
                    folder.rmdir()
        raise


@contextlib.contextmanager
def _locked(lock: Path, holder: Path, place: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    held = FileLock(lock, blocking=False)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held.acquire()
    except Timeout:
        raise FilterlensError(
            f"'{place}' is in use by {_holder(holder)}. Wait for it, or take another place."
        ) from None
    except NotImplementedError:  # a file system without locks
        pass
    except OSError as error:
        raise FilterlensError(f"Cannot write '{lock.parent}': {error.strerror or error}.") from error
    try:
        yield
    finally:
        held.release()


def check_writable(folder: Path | str) -> None:
    """Refuse a folder in which no file can be written, before anything is computed; it need not exist yet.

    Raises:
        FilterlensError: A file is in its place, it may not be written, or the disk is full.
    """
    place = Path(folder)
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place) as stream:
            stream.write(bytes(4096))  # an empty file would fit on a full disk
    except OSError as error:
        raise FilterlensError(
            f"Cannot write into '{folder}': {error.strerror or error}. Free the disk or choose another place."
        ) from error


def _holder(path: Path) -> str:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return f"a {said['job']}, process {said['process']} on {said['host']}"
    except (OSError, ValueError, TypeError, KeyError):
        return "another process"


def sha256_of(path: Path | str) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
