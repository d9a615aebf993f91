# SPDX-License-Identifier: Apache-2.0
"""No errands: gradio can fetch an address of the internet on behalf of a page; this app refuses to."""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

_ERRAND = re.compile(r"/(file|proxy)=.*:/", re.IGNORECASE)

Message = MutableMapping[str, Any]
Application = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


class OnlyLocal:
    """ASGI middleware that answers 403 to requests for files of other machines."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not _ERRAND.search(unquote(scope["path"])):
            await self._app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"This app fetches nothing from other machines."})
