# SPDX-License-Identifier: Apache-2.0
"""The only folder that the app writes to, and the pictures in it that the page loads.

The folder is deleted when the app ends; after a kill, the next start deletes it.
"""

import contextlib
import os
import platform
import re
import secrets
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock, Timeout
from PIL import Image
from torch import Tensor

from filterlens.errors import FilterlensError, UsageError
from filterlens.files import HOLDER, LOCK, folder_lock, read_json

KEPT = 4  # pictures per page: the browser may still be loading an older one
MOST_KEPT = 400  # of all pages together
ROUTE = "gradio_api/file="
_PREFIX = "filterlens-app-"
_TRIES = 3


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a new temporary folder that is this process's own; it goes when the block ends.

    Raises:
        FilterlensError: There is no place for temporary files.
    """
    _sweep()
    with contextlib.ExitStack() as stack:
        yield _held(stack)


def _held(stack: contextlib.ExitStack) -> Path:
    """Make a folder, and hold it until the stack closes."""
    for tries_left in reversed(range(_TRIES)):
        try:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX)).resolve()
        except OSError as error:
            reason = error.strerror or error
            raise FilterlensError(f"Cannot make a temporary folder: {reason}. Free the disk or set TMPDIR.") from error
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        try:
            stack.enter_context(folder_lock(folder, "app"))
            return folder
        except FilterlensError:  # another app that starts took it for a killed one's
            if not tries_left:
                raise
    raise AssertionError


def _sweep() -> None:
    """Remove the folders of apps that no longer run."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError, Timeout, FilterlensError):  # held, or not ours to remove
            if _is_ours(folder):
                with FileLock(folder / LOCK, blocking=False):
                    shutil.rmtree(folder)


def _is_ours(folder: Path) -> bool:
    """Whether an app of this user on this machine made the folder."""
    if folder.is_symlink() or not folder.is_dir() or not (folder / LOCK).is_file() or (folder / LOCK).is_symlink():
        return False
    if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
        return False
    holder = folder / HOLDER
    return not holder.exists() or read_json(holder).get("host") == platform.node()


class Shelf:
    """Pictures as files with addresses.

    Args:
        folder: An existing temporary folder; whoever made it removes it.
        uploads: Folder in which the server stores uploads.
    """

    def __init__(self, folder: Path, uploads: Path) -> None:
        self.folder, self.uploads = folder, uploads
        self._all: OrderedDict[Path, None] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, kept: list[Path], stem: str, pixels: Tensor) -> str:
        """Write ``(3, H, W)`` uint8 as PNG and return its address.

        Args:
            kept: The earlier ones of the same page; the oldest is dropped when there are many.
            stem: Name of the file without its suffix.
            pixels: The picture.
        """
        kept.append(self._write(stem, pixels))
        while len(kept) > KEPT:
            self._drop(kept.pop(0))
        return address(kept[-1])

    def received(self, path: str | None) -> Path:
        """Return the path of an upload.

        Raises:
            UsageError: Nothing arrived, or the path is none that an upload has: pages could be forged.
        """
        if not path or not is_file_in(path, [self.uploads]):
            raise UsageError("No picture arrived. Choose a file again.")
        return Path(path).resolve()

    def clear(self, pictures: Sequence[Path]) -> None:
        """Drop what a closed page left."""
        for path in pictures:
            self._drop(path)

    def _write(self, stem: str, pixels: Tensor) -> Path:
        path = (
            self.folder / secrets.token_hex(8) / f"{safe_name(stem)}.png"
        )  # the pictures of another page cannot be guessed
        try:
            path.parent.mkdir(parents=True)
            Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(path, "PNG", compress_level=1)
        except OSError as error:
            self._drop(path)
            reason = error.strerror or error
            raise FilterlensError(f"Cannot write the picture: {reason}. Free the disk of temporary files.") from error
        with self._lock:
            self._all[path] = None
            surplus = list(self._all)[:-MOST_KEPT]
        for oldest in surplus:
            self._drop(oldest)
        return path

    def _drop(self, path: Path) -> None:
        with self._lock:
            self._all.pop(path, None)
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it went already, as many pages were open
            path.parent.rmdir()


def address(path: Path) -> str:
    """Return where the page finds a file."""
    return ROUTE + quote(str(path))


def safe_name(text: str) -> str:
    """Return a file name without anything that a shell, a path or a page could misread."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", text).strip(".-")[:60] or "picture"


def is_file_in(path: str, folders: Sequence[Path]) -> bool:
    """Whether a path names a file in one of the folders, links followed."""
    try:
        found = Path(path).resolve()
        return found.is_file() and any(found.is_relative_to(folder.resolve()) for folder in folders)
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def remove_upload(path: Path) -> None:
    """Delete a file that a visitor sent, and the folder that it had for itself."""
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # other files are there
        path.parent.rmdir()
