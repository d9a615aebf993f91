# SPDX-License-Identifier: Apache-2.0
"""The allowed requests: the few of gradio's routes that the page needs, each from the browser that owns the page."""

import logging
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs

from filterlens.app.asgi import (
    Application,
    Message,
    Receive,
    RequestError,
    Send,
    answer,
    replayed,
    values,
    whole,
    with_length,
)
from filterlens.app.calls import Calls
from filterlens.app.only_local import is_visit
from filterlens.app.scratch import is_file_in
from filterlens.app.uploads import Uploads

MOST_JSON = 64 * 2**10  # bytes; the page's own calls have a few hundred
LONGEST_PATH = 2000
FILE = "/gradio_api/file="
_UPLOAD, _RUN, _JOIN = "/gradio_api/upload", "/gradio_api/run/predict", "/gradio_api/queue/join"
_CANCEL, _RESET, _DATA = "/gradio_api/cancel", "/gradio_api/reset", "/gradio_api/queue/data"
_ERRAND = re.compile(r"/(file|proxy)=.*:/", re.IGNORECASE | re.DOTALL)
_PAGES = ("/", "/config", "/config/", "/theme.css", "/favicon.ico", "/robots.txt", "/manifest.json", "/gradio_api/info",
          "/gradio_api/info/", "/gradio_api/app_id")  # fmt: skip
_PARTS = re.compile(r"/(?:assets|static)(?:/[A-Za-z0-9_@+-][A-Za-z0-9_.@+-]*)+")
_HEARTBEAT = re.compile(r"/gradio_api/heartbeat/([A-Za-z0-9_-]{1,64})")
_RANGE = re.compile(r"bytes=(\d{1,15}-\d{0,15}|-\d{1,15})")
MOST_SESSIONS = 1000
_SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOKEN = re.compile(r"[0-9a-f]{32}")
_log = logging.getLogger(__name__)


class Visitors:
    """Browsers by a cookie, and the sessions that each began: no browser reads or steers the page of another.

    Args:
        port: The app's port: all ports of a machine share its cookies.
    """

    def __init__(self, port: int) -> None:
        self._cookie = f"filterlens-{port}"
        self._owners: OrderedDict[str, str] = OrderedDict()

    def check(self, scope: Message, session: str, known: bool = False) -> None:
        """Check that a session is the visitor's own; a new one becomes it.

        Args:
            scope: The request.
            session: The name of the session.
            known: Whether it must have begun.

        Raises:
            RequestError: It is somebody else's, or none.
        """
        if not _SESSION.fullmatch(session):
            raise RequestError(400, "A session is named by letters and digits.")
        visitor = self._visitor(scope)
        if session not in self._owners and known:
            raise RequestError(404, "There is no such session. Reload the page.")
        if self._owners.setdefault(session, visitor) != visitor:
            raise RequestError(403, "This session is the page of another browser. Reload the page.")
        self._owners.move_to_end(session)
        if len(self._owners) > MOST_SESSIONS:
            self._owners.popitem(last=False)

    def greeted(self, scope: Message, send: Send) -> Send:
        """Wrap ``send`` so that a browser without a cookie gets one with the page."""
        if not is_visit(scope) or self._visitor(scope):
            return send
        cookie = f"{self._cookie}={secrets.token_hex(16)}; Path=/; HttpOnly; SameSite=Lax".encode()

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), (b"set-cookie", cookie)]}
            await send(message)

        return sent

    def _visitor(self, scope: Message) -> str:
        """Return the token in the visitor's cookie; empty without one."""
        for header in values(scope, b"cookie"):
            try:
                morsel = SimpleCookie(header).get(self._cookie)
            except CookieError:
                continue
            if morsel is not None and _TOKEN.fullmatch(morsel.value):
                return morsel.value
        return ""


class OnlyNeeded:
    """ASGI middleware that hands on what the page needs, answers uploads itself, and refuses the rest.

    Args:
        app: gradio's application.
        calls: The checks of what handlers are called with.
        uploads: The store for what visitors send.
        folders: The folders whose files are served.
        visitors: The browsers and their sessions.
    """

    def __init__(
        self, app: Application, calls: Calls, uploads: Uploads, folders: Sequence[Path], visitors: Visitors
    ) -> None:
        self._app, self._calls, self._uploads, self._visitors = app, calls, uploads, visitors
        self._folders = folders

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = _Exchange(scope, receive, send)
        try:
            await self._serve(scope, started.receive, self._visitors.greeted(scope, started.send))
        except RequestError as error:
            await started.refuse(error.status, str(error))
        except Exception as error:  # a defect of ours or of gradio: one line for the operator, none for the visitor
            _log.warning("%s %r failed: %s: %r", scope["method"], scope["path"][:200], type(error).__name__, str(error))
            _log.debug("in detail", exc_info=True)
            await started.refuse(500, "Something went wrong here. Reload the page.")

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        if len(path) > LONGEST_PATH:
            raise RequestError(414, "This address is too long.")
        if _ERRAND.search(path):
            raise RequestError(403, "This app fetches nothing from other machines.")
        if method in ("GET", "HEAD"):
            await self._app(self._read(scope, path), receive, send)
        elif method != "POST":
            raise RequestError(405, "This app answers GET, HEAD and POST.")
        elif path == _UPLOAD:
            await self._uploads(scope, receive, send)
        else:
            body = await self._posted(scope, path, receive)
            await self._app(with_length(scope, len(body)), replayed(body, receive), send)

    def _read(self, scope: Message, path: str) -> Message:
        """Return the scope of a reading request without what is of no use here."""
        if path in _PAGES or _PARTS.fullmatch(path):
            return {**scope, "query_string": b""}  # gradio would look for a saved page
        if path.startswith(FILE):
            self._check_file(path.removeprefix(FILE))
            kept = [(name, value) for name, value in scope["headers"] if _is_sound(name, value)]
            return {**scope, "headers": kept}
        if beat := _HEARTBEAT.fullmatch(path):
            self._visitors.check(scope, beat[1])
            return scope
        if path == _DATA:
            (session,) = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[:1]
            self._visitors.check(scope, session, known=True)
            return scope
        raise RequestError(404, "There is nothing here.")

    def _check_file(self, name: str) -> None:
        hidden = [self._uploads.folder]  # what visitors send is read here and never given back
        if not Path(name).is_absolute() or not is_file_in(name, self._folders) or is_file_in(name, hidden):
            raise RequestError(403, "This app serves only its own pictures and adapters.")

    async def _posted(self, scope: Message, path: str, receive: Receive) -> bytes:
        """Return the checked body of a call."""
        checks: dict[str, Callable[[bytes], tuple[str | None, bytes]]] = {
            _RUN: self._calls.direct, _JOIN: self._calls.queued, _CANCEL: self._calls.cancelled,
            _RESET: self._calls.reset,
        }  # fmt: skip
        check = checks.get(path.rstrip("/"))
        if check is None:
            raise RequestError(404, "There is nothing here.")
        kinds = [kind.partition(";")[0].strip().lower() for kind in values(scope, b"content-type")]
        if kinds != ["application/json"]:
            raise RequestError(415, "A call is JSON.")
        session, body = check(await whole(scope, receive, MOST_JSON))
        if session is not None:
            self._visitors.check(scope, session)
        return body


class _Exchange:
    """A request and its answer: knows whether the one has ended, and whether the other has begun."""

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._ended = self._begun = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._ended = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        self._begun = True
        await self._send(message)

    async def refuse(self, status: int, text: str) -> None:
        """Answer with an error, unless an answer is on its way."""
        if not self._begun:
            await answer(self._scope, None if self._ended else self._receive, self._send, status, text)


def _is_sound(name: bytes, value: bytes) -> bool:
    return name.lower() != b"range" or _RANGE.fullmatch(value.decode("latin-1")) is not None
