"""The server of every function.

A function is a functions-framework function in ``functions/NAME/main.py``, and the framework's own
command serves it too. This is a server of our own, because that command closes idle connections
after 2 s, kills requests 30 s after SIGTERM, has no lifespan, and imports a second web framework,
which costs each cold start a quarter of its time (`README`, design notes). The framework's
variables are understood: ``FUNCTION_SOURCE``, ``FUNCTION_TARGET``, ``PORT`` and ``HOST``.

On SIGTERM the listener closes, ``stopping()`` is set at once, and open requests are waited for
without a limit: the platform has one, and an executor answers as soon as it has handed its work
back. A second SIGTERM changes nothing; a second Ctrl-C gives up waiting.
"""

import asyncio
import gc
import importlib.util
import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.routing import Router
from starlette.types import ASGIApp

from batch_gateway.web.function import Hosted, hosted
from batch_gateway.web.listening import listening_on
from batch_gateway.web.stopping import stopping


def function(name: str, source: Path) -> Hosted:
    """The function that ``source`` declares as ``name``."""
    spec = importlib.util.spec_from_file_location("main", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return hosted[name]


def served(host: Hosted) -> ASGIApp:
    """The function's application, with its resources open for as long as the server runs."""
    return Router(default=host, lifespan=host.lifespan, redirect_slashes=False)


class Server(uvicorn.Server):
    """uvicorn, telling ``stopping()`` of the signal and exiting with 0 when all is answered."""

    _loop: asyncio.AbstractEventLoop
    _stopping: asyncio.Event

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = stopping()
        await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        gc.freeze()
        gc.enable()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if sig == signal.SIGINT and self.should_exit:
            self.force_exit = True
        self.should_exit = True
        self._loop.call_soon_threadsafe(self._stopping.set)


def main() -> None:
    """Serve the function that the argument or the environment names, until a signal comes."""
    name = sys.argv[1] if len(sys.argv) > 1 else os.environ["FUNCTION_TARGET"]
    source = Path(os.environ.get("FUNCTION_SOURCE", f"functions/{name}/main.py"))
    app = served(function(name, source))
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
