# SPDX-License-Identifier: Apache-2.0
"""A web server in a thread, on a socket that is bound already, so that nobody takes the port in between."""

import socket
import threading
import time

import uvicorn

from filterlens.app.only_local import Application
from filterlens.errors import FilterlensError


class Server:
    """Serves an application until it is closed.

    Args:
        app: What is served.
        listener: Where; it is closed with the server.

    Raises:
        FilterlensError: The application does not start.
    """

    def __init__(self, app: Application, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app, http="h11", ws="none", lifespan="on", log_level="error", access_log=False, server_header=False,
            proxy_headers=False, timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), daemon=True)
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise FilterlensError("The app's server does not start. Reinstall it: pip install 'filterlens[app]'")
            time.sleep(0.01)

    def close(self) -> None:
        """End the answers that are on their way, and free the port."""
        self._server.should_exit = True
        self._thread.join()
