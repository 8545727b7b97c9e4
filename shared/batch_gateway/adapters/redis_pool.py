"""A bounded pool of connections to a Redis server.

When all connections are in use, a command waits for one; its caller bounds the waiting. The
driver's ``ConnectionPool`` raises an error instead. Its ``BlockingConnectionPool`` wakes one waiter
for each connection that becomes free, and leaves the connection unused when that waiter was
cancelled. Both lose a connection when a task is cancelled while it gives one back.
"""

import asyncio
from typing import Any

from redis.asyncio.connection import AbstractConnection, ConnectionPool

from batch_gateway.adapters.redis_locator import driver_url, located_options


def open_pool(url: str, tag: str, **options: Any) -> "BoundedConnectionPool":
    """A pool for the server that ``url`` leads to (see redis_locator); connects when it is used.

    ``tag``: hash tag of all keys. ``options``: of the pool, beside those in the URL.
    """
    located = located_options(url, tag)
    if located is None:
        return BoundedConnectionPool.from_url(driver_url(url), **options)
    return BoundedConnectionPool(**located, **options)


class BoundedConnectionPool(ConnectionPool):
    """At most ``max_connections`` connections, handed out in the order of the requests."""

    def __init__(self, max_connections: int, **options: Any) -> None:
        super().__init__(max_connections=max_connections, **options)
        self._free = asyncio.Semaphore(max_connections)

    async def get_connection(self, *_: Any, **__: Any) -> AbstractConnection:
        await self._free.acquire()
        try:
            connection: AbstractConnection = self._available()
        except BaseException:
            self._free.release()
            raise
        try:
            await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection

    def _available(self) -> Any:
        return self.get_available_connection()  # type: ignore[no-untyped-call]

    async def release(self, connection: AbstractConnection) -> None:
        broken: bool = connection.should_reconnect()  # type: ignore[no-untyped-call]
        if self._lock.locked() or broken:  # may wait
            await asyncio.shield(self._give_back(connection))
        else:
            await self._give_back(connection)

    async def _give_back(self, connection: AbstractConnection) -> None:
        try:
            await super().release(connection)
        finally:
            self._free.release()
