# SPDX-License-Identifier: Apache-2.0
"""Who may ask: only the app's own page, at the app's own address. Stands in front of everything else that is served."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from filterlens.app.addresses import Addresses

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_CLAIMS = (b"x-forwarded-", b"x-gradio-", b"x-real-", b"x-original-")  # of a proxy, which there is none
_SHARED = b"access-control-"
_MOST_HEARD, _PATIENCE = 512 * 2**20, 20.0  # bytes and seconds for what is thrown away
_PROTECTION: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"referrer-policy", b"same-origin"),
]


class OnlyLocal:
    """ASGI middleware that answers 403 to requests by other names and from other pages, before anything is stored.

    Args:
        app: Answers the others.
        addresses: The app's own.
    """

    def __init__(self, app: Application, addresses: Addresses) -> None:
        self._app, self._addresses = app, addresses

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})  # the page opens none
        elif trouble := self._trouble(scope):
            await answer(scope, receive, send, 403, trouble)
        else:
            kept = [(name, value) for name, value in scope["headers"] if not _is_claim(name.lower())]
            await self._app({**scope, "headers": kept}, receive, protected(send))

    def _trouble(self, scope: Message) -> str:
        """Say what is wrong with where a request comes from; empty for nothing."""
        hosts, origins = values(scope, b"host"), values(scope, b"origin")
        if len(hosts) != 1 or not self._addresses.are(hosts[0]):
            return (
                "This app answers only at the address that it printed when it started. Through a tunnel, use the same "
                f"port here and there: {self._addresses.port}."
            )
        if any(not self._addresses.sent(origin, hosts[0]) for origin in origins):
            return "This app answers only its own page."
        if not is_visit(scope) and not self._is_own_page(scope, hosts[0]):
            return "This app answers only its own page."
        return ""

    def _is_own_page(self, scope: Message, host: str) -> bool:
        """Whether nothing in the request says that another page asked."""
        sites, referers = values(scope, b"sec-fetch-site"), values(scope, b"referer")
        if any(site not in ("same-origin", "none") for site in sites):
            return False
        return all(self._addresses.sent(_origin(referer), host) for referer in referers)


def is_visit(scope: Message) -> bool:
    """Whether somebody opens the page, by a link from wherever it may be."""
    inside = set(values(scope, b"sec-fetch-dest")) - {"document"}
    return scope["method"] in ("GET", "HEAD") and scope["path"] == "/" and not inside


def values(scope: Message, name: bytes) -> list[str]:
    """Return all values of a header."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


async def answer(scope: Message, receive: Receive | None, send: Send, status: int, text: str) -> None:
    """Answer with one line, at once; then hear out who still sends, as many read nothing before they have sent all.

    Args:
        scope: The request.
        receive: Gives what is left of it; None where it has ended.
        send: Takes the answer.
        status: Of HTTP.
        text: The line.
    """
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(text.encode()))]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *_PROTECTION]})
    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
    if receive is not None and not values(scope, b"expect"):  # else it waits for a word before it sends
        await _heard_out(receive)
    await send({"type": "http.response.body", "body": b""})


async def _heard_out(receive: Receive) -> None:
    """Throw away what is left of a body, within bounds."""
    heard, more = 0, True
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            while more and heard < _MOST_HEARD:
                message = await receive()
                heard += len(message.get("body", b""))
                more = bool(message.get("more_body", False))


def protected(send: Send) -> Send:
    """Wrap ``send`` so that answers are for the app's own page: no other may read or frame them."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [(name, value) for name, value in message.get("headers", []) if not name.lower().startswith(_SHARED)]
            message = {**message, "headers": [*kept, *_PROTECTION]}
        await send(message)

    return sent


def _is_claim(name: bytes) -> bool:
    return name == b"forwarded" or name.startswith(_CLAIMS)


def _origin(referer: str) -> str:
    try:
        parts = urlsplit(referer)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}"
