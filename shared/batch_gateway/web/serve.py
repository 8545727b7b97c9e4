"""The server of every function: ``python -m batch_gateway.web.serve``.

The framework's application on a server of our own, because the stock command closes idle
connections after 2 s, kills requests 30 s after SIGTERM and has no lifespan (`README`, design
notes). Its variables are the framework's: ``FUNCTION_SOURCE``, ``FUNCTION_TARGET``, ``PORT`` and
``HOST``.

On SIGTERM the listener closes, ``stopping()`` is set at once, and open requests are waited for
without a limit: the platform has one, and an executor answers as soon as it has handed its work
back. A second SIGTERM changes nothing; a second Ctrl-C gives up waiting.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from functions_framework.aio import create_asgi_app
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from batch_gateway.web.function import hosted
from batch_gateway.web.listening import listening_on
from batch_gateway.web.stopping import stopping


def every_path(app: Starlette) -> ASGIApp:
    """The function itself, for paths that the framework's catch-all route does not match.

    Its pattern passes over line ends, and what nothing matches gets a bare 404 of the framework.
    """
    route = next(route for route in app.routes if getattr(route, "path", "") == "/{path:path}")
    assert isinstance(route, Route)
    return route.app


class Server(uvicorn.Server):
    """uvicorn, telling ``stopping()`` of the signal and exiting with 0 when all is answered."""

    _loop: asyncio.AbstractEventLoop
    _stopping: asyncio.Event

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = stopping()
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if sig == signal.SIGINT and self.should_exit:
            self.force_exit = True
        self.should_exit = True
        self._loop.call_soon_threadsafe(self._stopping.set)


def main() -> None:
    """Serve the function that the environment names, until a signal comes."""
    target = os.environ["FUNCTION_TARGET"]
    framework: Callable[[str, str, str], Starlette] = create_asgi_app  # has no annotations
    app = framework(target, os.environ["FUNCTION_SOURCE"], "http")
    app.router.lifespan_context = hosted[target].lifespan
    app.router.default = every_path(app)
    config = uvicorn.Config(
        app,
        host=listening_on(),
        port=int(os.environ.get("PORT", "8080")),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=None,
    )
    Server(config).run()


if __name__ == "__main__":
    main()
