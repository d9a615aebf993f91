# SPDX-License-Identifier: Apache-2.0
"""Uploaded pictures: limited in size as they arrive, under names that cannot be guessed, deleted once they are read."""

import asyncio
import json
import secrets
import shutil
import threading
from collections.abc import AsyncGenerator
from pathlib import Path, PureWindowsPath
from typing import BinaryIO

from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from filterlens.app.asgi import Message, Receive, RequestError, Send, bounded, values
from filterlens.app.scratch import remove_upload, safe_name

MOST_BYTES = 64 * 2**20  # of all files of a request together
MOST_WAITING = 2 * MOST_BYTES  # of files that no page has read yet
MOST_FILES = 8
AT_ONCE = 4
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".gif", ".bmp", ".ppm", ".pgm"})
_FRAME = 64 * 2**10  # bytes around the files


class Uploads:
    """ASGI application that stores the files of a form and answers with their paths.

    Args:
        folder: Folder in which files wait to be read; created if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._lock, self._arriving = folder, threading.Lock(), 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Store what one request sends.

        Raises:
            RequestError: It sends too much, or no form.
        """
        if self._arriving >= AT_ONCE:
            raise RequestError(503, "Other pictures are arriving. Send it again in a moment.")
        self._arriving += 1
        try:
            paths = await self._stored(await _form(scope, receive))
        finally:
            self._arriving -= 1
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": json.dumps(paths).encode()})

    async def _stored(self, form: FormData) -> list[str]:
        try:
            files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
            if not files:
                raise RequestError(400, "No file was sent.")
            return [str(await asyncio.to_thread(self.keep, each.filename or "", each.file)) for each in files]
        finally:
            await form.close()

    def keep(self, name: str, content: BinaryIO) -> Path:
        """Store a file, and drop the oldest ones where too much waits.

        Raises:
            RequestError: The disk is full.
        """
        place = self.folder / secrets.token_hex(16)
        with self._lock:
            try:
                self._make_room(content.seek(0, 2))
                content.seek(0)
                place.mkdir(mode=0o700, parents=True)
                path = place / stored_name(name)
                with path.open("xb") as target:
                    shutil.copyfileobj(content, target)
            except OSError:
                shutil.rmtree(place, ignore_errors=True)
                raise RequestError(507, "This machine's disk is full.") from None
        return path

    def _make_room(self, size: int) -> None:
        waiting = [each for each in self.folder.glob("*/*") if each.is_file()]
        waiting.sort(key=lambda each: each.stat().st_mtime_ns)
        total = sum(each.stat().st_size for each in waiting)
        while waiting and total + size > MOST_WAITING:
            oldest = waiting.pop(0)
            total -= oldest.stat().st_size
            remove_upload(oldest)


def stored_name(name: str) -> str:
    """Return under which name a visitor's file is stored: letters, digits, dots, plus and minus."""
    given = PureWindowsPath(name).name  # both kinds of slash
    suffix = PureWindowsPath(given).suffix.lower()
    return safe_name(PureWindowsPath(given).stem) + (suffix if suffix in SUFFIXES else "")


async def _form(scope: Message, receive: Receive) -> FormData:
    """Read a form with files.

    Raises:
        RequestError: It is too large, ends early, or is none.
    """
    if not any(kind.lower().startswith("multipart/form-data") for kind in values(scope, b"content-type")):
        raise RequestError(400, "A file comes as multipart/form-data.")
    received = bounded(scope, receive, MOST_BYTES + _FRAME)
    ended: list[RequestError] = []

    async def stream() -> AsyncGenerator[bytes, None]:
        more = True
        while more:
            try:
                message = await received()
            except RequestError as error:
                ended.append(error)
                raise MultiPartException(str(error)) from error  # the parser closes its files then
            yield message.get("body", b"")
            more = message.get("more_body", False)

    parser = MultiPartParser(
        Headers(scope=scope), stream(), max_files=MOST_FILES, max_fields=MOST_FILES, max_part_size=_FRAME
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise (ended[0] if ended else RequestError(400, f"This is no form with files: {error.message}")) from None
    except (KeyError, ValueError, UnicodeError):
        raise RequestError(400, "This is no form with files.") from None
    if sum(value.size or 0 for value in form.values() if isinstance(value, UploadFile)) > MOST_BYTES:
        await form.close()
        raise RequestError(413, f"More than {MOST_BYTES >> 20} MiB in one request is not taken.")
    return form
