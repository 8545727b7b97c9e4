"""A TCP address whose server can be exchanged, as a failover of a managed Redis does it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_CHUNK = 64 * 1024


class Address:
    """Forwards connections to ``target``; the port stays the same."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._open: set[asyncio.Task[None]] = set()

    def switch(self, target: int) -> None:
        """Forward to another port from now on, and break the connections that are open."""
        self._target = target
        for connection in self._open:
            connection.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        writers = [writer]
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self._target)
            writers.append(upstream[1])
            async with asyncio.TaskGroup() as both:
                both.create_task(_pump(reader, upstream[1]))
                both.create_task(_pump(upstream[0], writer))
        except (OSError, asyncio.CancelledError):
            pass  # refused or broken: so is the client's connection
        finally:
            self._open.discard(task)
            for one in writers:
                one.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def address(target: int) -> AsyncIterator[Address]:
    forwarder = Address(target)
    server = await asyncio.start_server(forwarder._serve, "127.0.0.1", 0)
    forwarder.port = server.sockets[0].getsockname()[1]
    try:
        yield forwarder
    finally:
        server.close()
        forwarder.switch(target)
