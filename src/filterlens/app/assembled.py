# SPDX-License-Identifier: Apache-2.0
"""The page and all checks of requests in front of it, as one application."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filterlens.app.asgi import Application, Message, Receive, Send
from filterlens.app.only_local import Addresses, OnlyLocal
from filterlens.app.studio import Studio

MOST_SESSIONS, MOST_WAITING = 64, 200  # pages whose state is kept, calls in line
_SETTINGS = "GRADIO_"


class Assembled:
    """An ASGI application that can be closed.

    Args:
        app: The application that answers.
        page: The page in it.
        gradio: gradio's own part of it.
    """

    def __init__(self, app: Application, page: Any, gradio: Any) -> None:
        self._app, self.page, self._gradio = app, page, gradio

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._app(scope, receive, send)

    def close(self) -> None:
        """End what waits: lines of calls, and answers without an end."""
        self.page.app, self.page.server = self._gradio, None
        self.page.close(verbose=False)


@contextlib.contextmanager
def assembled(studio: Studio, scratch: Path, addresses: Addresses) -> Iterator[Assembled]:
    """Yield the application.

    Args:
        studio: The studio that computes.
        scratch: Folder for uploads and results.
        addresses: The app's own addresses.

    Raises:
        FilterlensError: The network makes no picture.
    """
    with _own_settings(scratch / "gradio"):
        import fastapi
        import gradio as gr

        from filterlens.app.calls import Calls
        from filterlens.app.handlers import Handlers
        from filterlens.app.look import asset, asset_path, colours, style
        from filterlens.app.needed import OnlyNeeded, Visitors
        from filterlens.app.page import build_page, theme
        from filterlens.app.scratch import Shelf
        from filterlens.app.uploads import Uploads

        pictures, cache = scratch / "pictures", scratch / "gradio"
        for folder in (pictures, cache):
            folder.mkdir(exist_ok=True)
        uploads = Uploads(cache / "uploads")  # gradio hands on no path outside its cache
        page = build_page(Handlers(studio, Shelf(pictures, uploads.folder)))
        page.queue(max_size=MOST_WAITING, api_open=False)
        page.state_session_capacity = MOST_SESSIONS
        app = gr.mount_gradio_app(
            fastapi.FastAPI(openapi_url=None), page, path="/", theme=theme(),
            css=style(colours(studio.degradations).values()), head=f"<script>{asset('page.js')}</script>",
            favicon_path=str(asset_path("favicon.svg")), allowed_paths=[str(pictures)], show_error=False,
            footer_links=[], run_history=False, ssr_mode=False, pwa=False, mcp_server=False, enable_monitoring=False,
        )  # fmt: skip
        needed = OnlyNeeded(app, Calls(page, uploads.folder), uploads, [pictures, cache], Visitors(addresses.port))
        yield Assembled(OnlyLocal(needed, addresses), page, app.routes[-1].app)


@contextlib.contextmanager
def _own_settings(cache: Path) -> Iterator[None]:
    """Keep gradio from what the environment says of other apps: it could share this one, or serve other folders."""
    foreign = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(_SETTINGS)}
    os.environ |= {"GRADIO_TEMP_DIR": str(cache), "GRADIO_ANALYTICS_ENABLED": "False"}
    try:
        yield
    finally:
        for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"):
            os.environ.pop(name, None)
        os.environ |= foreign
