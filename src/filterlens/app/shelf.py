# SPDX-License-Identifier: Apache-2.0
"""The temporary folder from which the page loads pictures."""

import contextlib
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from PIL import Image
from torch import Tensor

from filterlens.app.session import Session
from filterlens.errors import FilterlensError, UsageError

KEPT = 4  # per page: the browser may still be loading an older one
MOST_KEPT = 400  # of all pages together
ROUTE = "gradio_api/file="


class Shelf:
    """Pictures as files with addresses.

    Args:
        folder: An existing temporary folder; whoever made it removes it.
        uploads: Where the server puts what visitors send.
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

    def clear(self, session: Session) -> None:
        """Drop what a closed page left."""
        for path in [*session.inputs, *session.results]:
            self._drop(path)

    def _write(self, stem: str, pixels: Tensor) -> Path:
        path = self.folder / secrets.token_hex(8) / f"{safe_name(stem)}.png"  # nobody guesses another page's pictures
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
    """Whether a path names a file that lies in one of the folders, links followed."""
    try:
        found = Path(path).resolve()
        return found.is_file() and any(found.is_relative_to(folder.resolve()) for folder in folders)
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def remove_upload(path: Path) -> None:
    """Delete a file that a visitor sent, and the folder that it had for itself."""
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # it lies among others
        path.parent.rmdir()
