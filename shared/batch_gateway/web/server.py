"""The server of every function: the framework's application on uvicorn.

``functions/NAME/main.py`` declares a function for functions-framework, which loads it and makes the
application around it; the framework's own command serves it too. The server is one of our own,
because that command closes idle connections after 2 s, kills requests 30 s after SIGTERM and has no
lifespan (docs/design.md). The framework's variables are understood: ``FUNCTION_SOURCE``,
``FUNCTION_TARGET``, ``PORT`` and ``HOST``.

On SIGTERM the listener closes, ``stopping()`` is set at once, and open requests are waited for
without a limit: the platform has one, and an executor answers as soon as it has handed its work
back. A second SIGTERM changes nothing; a second Ctrl-C gives up waiting.
"""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from batch_gateway.web.framework import create_asgi_app
from batch_gateway.web.function import HostedFunction, hosted
from batch_gateway.web.listening import listening_on
from batch_gateway.web.process_memory import collect_seldom, give_back_freed_memory
from batch_gateway.web.stopping import stopping


def load(name: str, source: Path) -> Starlette:
    """The framework's application around the function that ``source`` declares as ``name``."""
    return adapted(create_asgi_app(name, str(source), "http"), hosted[name])


def adapted(app: Starlette, host: HostedFunction) -> Starlette:
    """``app`` with the function's lifespan, and with every request going to the function itself.

    The framework's own routes answer some paths and methods before the function receives them.
    """
    app.router.lifespan_context = host.lifespan
    app.router.routes.clear()
    app.router.default = host
    return app


class FunctionServer(uvicorn.Server):
    """uvicorn, telling ``stopping()`` of the signal and exiting with 0 when all is answered."""

    _loop: asyncio.AbstractEventLoop
    _stopping: asyncio.Event

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = stopping()
        await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        collect_seldom()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if sig == signal.SIGINT and self.should_exit:
            self.force_exit = True
        self.should_exit = True
        self._loop.call_soon_threadsafe(self._stopping.set)


def main() -> None:
    """Serve the function that the argument or the environment names, until a signal comes."""
    give_back_freed_memory()
    name = sys.argv[1] if len(sys.argv) > 1 else os.environ["FUNCTION_TARGET"]
    source = Path(os.environ.get("FUNCTION_SOURCE", f"functions/{name}/main.py"))
    app = load(name, source)
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
    FunctionServer(config).run()
