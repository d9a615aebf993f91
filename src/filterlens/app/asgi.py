# SPDX-License-Identifier: Apache-2.0
"""ASGI requests and responses: headers, bodies with a size limit, refusals."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_MOST_HEARD, _PATIENCE = 512 * 2**20, 20.0  # bytes and seconds for what is thrown away
PROTECTION: Headers = [  # of every answer: no other page may read or frame it
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"referrer-policy", b"same-origin"),
]


class RequestError(Exception):
    """A request that is not served.

    Args:
        status: The HTTP status.
        reason: One line for the visitor.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def values(scope: Message, name: bytes) -> list[str]:
    """Return all values of a header."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


async def answer(scope: Message, receive: Receive | None, send: Send, status: int, text: str) -> None:
    """Answer with one line, at once; then hear out who still sends, as many read nothing before they have sent all.

    Args:
        scope: The request.
        receive: The rest of it; None where it has ended.
        send: The channel for the answer.
        status: The HTTP status.
        text: The line.
    """
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(text.encode()))]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *PROTECTION]})
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


def bounded(scope: Message, receive: Receive, most: int) -> Receive:
    """Wrap ``receive`` so that it fails as soon as a body has more than ``most`` bytes, or ends early.

    Raises:
        RequestError: The request says itself that it has more.
    """
    too_large = RequestError(413, f"More than {_written(most)} in one request is not taken.")
    if any(not length.isdecimal() or int(length[:20]) > most for length in values(scope, b"content-length")):
        raise too_large
    read = 0

    async def received() -> Message:
        nonlocal read
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestError(400, "The request ended early.")
        read += len(message.get("body", b""))
        if read > most:
            raise too_large
        return message

    return received


async def whole(scope: Message, receive: Receive, most: int) -> bytes:
    """Read a body of at most ``most`` bytes.

    Raises:
        RequestError: It has more, or the visitor left before it was whole.
    """
    parts, received, more = [], bounded(scope, receive, most), True
    while more:
        message = await received()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def replayed(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that gives a body once, and then what comes after it."""
    given = False

    async def received() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return received


def with_length(scope: Message, length: int) -> Message:
    """Return the scope of a request with a body of that many bytes."""
    dropped = (b"content-length", b"transfer-encoding")
    kept = [(name, value) for name, value in scope["headers"] if name.lower() not in dropped]
    return {**scope, "headers": [*kept, (b"content-length", b"%d" % length)]}


def _written(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 2**20 else f"{size >> 10} KiB"
