"""The simulator on a socket: inside a running event loop, or as a process of its own."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import uvloop

from batch_gateway.simulator.app import Simulator
from batch_gateway.simulator.config import SimulatorConfig
from batch_gateway.simulator.http import SimulatorConnection


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSimulator:
    """A simulator that listens."""

    url: str  # without /v1
    simulator: Simulator


@asynccontextmanager
async def serving(
    config: SimulatorConfig, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[RunningSimulator]:
    """Listen while the context is open; port 0 is any free one. Open connections are cut at the
    end. Raises OSError when it cannot listen there."""
    loop = asyncio.get_running_loop()
    simulator = Simulator(config, loop)
    connections: set[SimulatorConnection] = set()
    server = await loop.create_server(
        lambda: SimulatorConnection(simulator.handle, connections), host, port, backlog=4096
    )
    bound = server.sockets[0].getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    try:
        yield RunningSimulator(url=f"http://{shown}:{bound}", simulator=simulator)
    finally:
        server.close()
        for connection in tuple(connections):
            connection.close()
        await server.wait_closed()


def run(config: SimulatorConfig, *, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; prints one line with the URL when ready."""
    uvloop.run(_run(config, host, port))


async def _run(config: SimulatorConfig, host: str, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serving(config, host=host, port=port) as here:
        models = ", ".join(config.models)
        print(f"Model simulator ready at {here.url}/v1 (models: {models})", flush=True)  # noqa: T201 - the command's one line of output
        await stop.wait()
