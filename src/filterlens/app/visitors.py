# SPDX-License-Identifier: Apache-2.0
"""Whose page a session is: nobody reads or steers the page of another browser."""

import re
import secrets
from collections import OrderedDict
from http.cookies import CookieError, SimpleCookie

from filterlens.app.bodies import RequestError
from filterlens.app.only_local import Message, Send, is_visit, values

MOST_SESSIONS = 1000
_SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOKEN = re.compile(r"[0-9a-f]{32}")


class Visitors:
    """Browsers by a cookie, and the sessions that each of them began.

    Args:
        port: Of the app: cookies of one machine are shared by its ports.
    """

    def __init__(self, port: int) -> None:
        self._cookie = f"filterlens-{port}"
        self._owners: OrderedDict[str, str] = OrderedDict()

    def check(self, scope: Message, session: str, known: bool = False) -> None:
        """Check that a session is the visitor's own; a new one becomes it.

        Args:
            scope: The request.
            session: What it names.
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
