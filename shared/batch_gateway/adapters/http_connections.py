"""Kept-alive connections of an HTTP client, by where they lead and how they are secured."""

import asyncio
import socket
import ssl
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from aiohappyeyeballs import start_connection

from batch_gateway.adapters.answer_budget import AnswerBudget
from batch_gateway.adapters.http_connection import HttpConnection
from batch_gateway.ports.model_client import CallRefused, CallTimeout

CONNECT_TIMEOUT_S = 10.0
"""A dead address is recognised long before a model's answer would be overdue."""
IDLE_S = 4.0
"""How long an unused connection is kept. Below the 5 s after which uvicorn, and so vLLM, closes
it."""
_ADDRESSES_S = 10.0  # that looked-up addresses are used for
_NEXT_FAMILY_S = 0.25  # before the next address is tried beside the first (RFC 8305)

_Addresses = list[tuple[int, int, int, str, Any]]
"""As getaddrinfo gives them."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections lead."""

    host: str
    port: int
    secure: bool


_Key = tuple[Origin, ssl.SSLContext | None]


class HttpConnections:
    """All connections of a client, idle and in use. Belongs to one event loop."""

    def __init__(self, most_bytes: int, budget: AnswerBudget) -> None:
        """``most_bytes``: of an answer's body; ``budget``: of all that are being read."""
        self._most_bytes = most_bytes
        self._budget = budget
        self._lookups = _Lookups()
        self._open: dict[HttpConnection, _Key] = {}
        self._idle: dict[_Key, list[HttpConnection]] = {}  # those used last at the end
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def idle(self) -> int:
        """Connections that wait for a request."""
        return sum(map(len, self._idle.values()))

    async def take(
        self, origin: Origin, context: ssl.SSLContext | None, deadline: float, *, fresh: bool
    ) -> HttpConnection:
        """One that is idle, or (always if ``fresh``) a new one; to be given back.

        ``context`` None: the usual one, where the origin is secure. Raises CallRefused, or
        CallTimeout when ``deadline`` (``loop.time()``) is what ends the attempt.
        """
        if origin.secure and context is None:
            context = _usual_context()
        key = origin, context
        idle = None if fresh else self._idle.get(key)
        while idle:
            connection = idle.pop()
            if connection.reusable:
                return connection
        return await self._connect(key, deadline)

    def give_back(self, connection: HttpConnection) -> None:
        """It has given its answer."""
        if not connection.reusable:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.setdefault(self._open[connection], []).append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(IDLE_S, self._close_idle)

    def close(self) -> None:
        """Close all. Requests that are on their way fail."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._open):
            connection.abort()

    def _close_idle(self) -> None:
        """Close those that were idle for too long; check again as long as there are any."""
        loop = asyncio.get_running_loop()
        for connections in self._idle.values():
            for connection in connections:
                if connection.idle_since + IDLE_S <= loop.time():
                    connection.close()
        waiting = [c.idle_since for cs in self._idle.values() for c in cs if c.reusable]
        self._sweep = loop.call_at(min(waiting) + IDLE_S, self._close_idle) if waiting else None

    def _lost(self, connection: HttpConnection) -> None:
        key = self._open.pop(connection, None)
        if key is None:
            return
        idle = self._idle.get(key, [])
        if connection in idle:
            idle.remove(connection)
        if not idle:
            self._idle.pop(key, None)

    async def _connect(self, key: _Key, deadline: float) -> HttpConnection:
        origin, context = key
        loop = asyncio.get_running_loop()
        ends_at = min(deadline, loop.time() + CONNECT_TIMEOUT_S)
        try:
            async with asyncio.timeout_at(ends_at):
                infos = await self._lookups.of(origin)
                found = await start_connection(
                    infos, happy_eyeballs_delay=_NEXT_FAMILY_S, interleave=1, loop=loop
                )
                _, connection = await loop.create_connection(
                    lambda: HttpConnection(self._most_bytes, self._budget, self._lost),
                    sock=found,
                    ssl=context,
                    server_hostname=origin.host if context else None,
                )
        except TimeoutError as error:
            if ends_at == deadline:
                raise CallTimeout("no connection in time") from error
            reason = str(error) or f"no connection within {CONNECT_TIMEOUT_S:.0f} s"
            raise self._refused(origin, reason) from error
        except (OSError, ValueError, RuntimeError) as error:  # of uvloop, of names, of TLS
            raise self._refused(origin, str(error) or type(error).__name__) from error
        if self._closed:
            connection.abort()
            raise self._refused(origin, "the client is closed")
        if connection.connected:
            self._open[connection] = key
        return connection

    def _refused(self, origin: Origin, reason: str) -> CallRefused:
        self._lookups.forget(origin)
        return CallRefused(f"cannot connect to {origin.host}:{origin.port}: {reason}")


class _Lookups:
    """Resolves host names: once for all connections that need it at the same time."""

    def __init__(self) -> None:
        self._known: dict[Origin, tuple[float, asyncio.Task[_Addresses]]] = {}

    async def of(self, origin: Origin) -> _Addresses:
        """Raises OSError."""
        loop = asyncio.get_running_loop()
        until, lookup = self._known.get(origin, (0.0, None))
        if lookup is None or loop.time() >= until:
            lookup = loop.create_task(_look_up(origin))
            self._known[origin] = loop.time() + _ADDRESSES_S, lookup
        try:
            return await asyncio.shield(lookup)
        except OSError:
            self.forget(origin)
            raise

    def forget(self, origin: Origin) -> None:
        known = self._known.get(origin)
        if known is not None and known[1].done():
            del self._known[origin]


async def _look_up(origin: Origin) -> _Addresses:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    return cast(_Addresses, found)


@lru_cache(maxsize=1)
def _usual_context() -> ssl.SSLContext:
    return ssl.create_default_context()
