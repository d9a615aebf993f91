# SPDX-License-Identifier: Apache-2.0
"""Requests to an ASGI application in this process, byte by byte as they come from a socket."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

PORT = 7860
HOME = f"127.0.0.1:{PORT}"
BOUNDARY = "part"
FORM = ("content-type", f"multipart/form-data; boundary={BOUNDARY}")
JSON = ("content-type", "application/json")


@dataclass
class Answer:
    """What came back, how many pieces of the body were read, and how often more was waited for than there was."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    text: str = ""
    read: int = 0
    waited: int = 0

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]


def ask(app, path="/", headers=(), body: Sequence[bytes] = (b"",), method="GET", host=HOME, query=b"") -> Answer:
    """Ask; ``host`` None leaves the header out."""
    named = [] if host is None else [("host", host)]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "root_path": "",
        "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", PORT),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in [*named, *headers]],
    }
    answer, left = Answer(), list(body)

    async def receive():
        if not left:
            answer.waited += 1
            return {"type": "http.disconnect"}
        answer.read += 1
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message):
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = [(name.decode(), value.decode("latin-1")) for name, value in message["headers"]]
        else:
            answer.text += message.get("body", b"").decode("utf-8", "replace")

    asyncio.run(app(scope, receive, send))
    return answer


def part(content: bytes, name="cup.png", end=False) -> bytes:
    """Return one file of a form."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    return head.encode() + content + b"\r\n" + (f"--{BOUNDARY}--\r\n".encode() if end else b"")
