"""Activator: two ports in front of the functions; a request starts its function if none runs.

The public port leads to the one public Service. The internal port is for the broker and the timer;
there the ``Host`` header names the Service by its cluster-local name, as it does on a cluster.
"""

import asyncio
import errno
from collections.abc import Mapping

from batch_gateway.local.client import ClientConnection, Route
from batch_gateway.local.errors import PlatformError
from batch_gateway.local.revision import Revision

_BACKLOG = 1024


class Activator:
    def __init__(self, routes: Mapping[str, Revision], tasks: asyncio.TaskGroup) -> None:
        """``routes``: the revision of each Service that gets its requests; may change."""
        self._routes = routes
        self._tasks = tasks
        self._connections: set[ClientConnection] = set()
        self._servers: list[asyncio.Server] = []

    async def listen_publicly(self, host: str, port: int) -> int:
        """Serve the public Service; returns the port, a free one for 0. Raises PlatformError."""
        public = [name for name, revision in self._routes.items() if revision.service.public]
        if len(public) != 1:
            names = ", ".join(public) or "none"
            raise PlatformError(f"exactly one Service may be public on one machine, not: {names}")
        try:
            return await self._listen(host, port, lambda _: self._routes[public[0]])
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                hint = f"port {port} of {host} is in use; choose another one with --port"
                raise PlatformError(hint) from error
            raise PlatformError(f"cannot listen on {host}:{port}: {error.strerror}") from error

    async def listen_internally(self) -> int:
        """Serve every Service by its cluster-local name; returns the port."""
        return await self._listen("127.0.0.1", 0, self._named)

    def close(self) -> None:
        """Take no new connection and drop the idle ones; open requests continue."""
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            if not connection.busy:
                connection.abort()

    def abort(self) -> None:
        """Break what is still open."""
        for connection in list(self._connections):
            connection.abort()

    def _named(self, host: str) -> Revision | None:
        """None: no such Service, or it has no address yet."""
        name = host.partition(":")[0]
        for revision in self._routes.values():
            if revision.service.host == name:
                return revision if revision.was_ready else None
        return None

    async def _listen(self, host: str, port: int, route: Route) -> int:
        server = await asyncio.get_running_loop().create_server(
            lambda: ClientConnection(route, self._tasks, self._connections),
            host,
            port,
            backlog=_BACKLOG,
        )
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])
