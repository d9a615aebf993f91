# SPDX-License-Identifier: Apache-2.0
"""Bodies of requests: counted while they arrive, and cut off where they become too large."""

from filterlens.app.only_local import Message, Receive, values


class RequestError(Exception):
    """A request that is not served.

    Args:
        status: Of HTTP.
        reason: One line for whoever asked.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


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
