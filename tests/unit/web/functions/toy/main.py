"""A function whose events do what they ask for, to test the wrapper and the server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import functions_framework.aio
from starlette.types import ASGIApp

from batch_gateway import log
from batch_gateway.core.events import Event
from batch_gateway.settings import LogSettings
from batch_gateway.web.function import event_app, http_function
from batch_gateway.web.stopping import stopping


async def obey(event: Event) -> None:
    """Write down the stages, and wait between them for what the event names."""
    stages = Path(event.data["stages"])
    stages.write_text("started")
    if event.data["until"] == "stopping":
        await stopping().wait()
        stages.write_text("stopping")
    while not Path(event.data["release"]).exists():
        await asyncio.sleep(0.01)
    stages.write_text("ended")


async def ready() -> None:
    """Nothing to wait for."""


@asynccontextmanager
async def build() -> AsyncIterator[ASGIApp]:
    log.configure(LogSettings(), service="toy")
    print("opened", flush=True)
    yield event_app("toy", obey, keys=(), ready=ready)
    print("closed", flush=True)


toy = functions_framework.aio.http(http_function("toy", build))
