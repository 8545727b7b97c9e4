"""Finds the Redis server that holds a deployment's keys, and follows it.

A URL names one server, a Sentinel or a cluster:

    redis://HOST:PORT/DB
    redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB
    redis+cluster://HOST:PORT,HOST:PORT

with ``valkey`` for ``redis`` where you like, and ``rediss`` (``valkeys``) for TLS. User, password
and the driver's options (``?ssl_ca_certs=...``) are those of the server that has the keys;
``sentinel_username`` and ``sentinel_password`` are those of the Sentinels.

All keys of a store have one hash tag, so a cluster keeps them on one of its primaries: a client
needs that server alone. It is asked for when a connection is opened, and again after the server has
refused a command because it is no longer the primary (READONLY) or has other keys (MOVED).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import Connection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import (
    ConnectionError,
    MovedError,
    ReadOnlyError,
    RedisClusterException,
)

Address = tuple[str, int]

TIMEOUT_S = 2.0  # of one search
_PORTS = {"sentinel": 26379, "cluster": 6379}
_OF_SENTINELS = "sentinel_"  # begins names of options


@dataclass(frozen=True, slots=True)
class _Url:
    kind: str  # sentinel or cluster
    nodes: tuple[Address, ...]
    service: str  # of a Sentinel, else empty
    options: Mapping[str, Any]  # of connections to the server that has the keys
    sentinel_options: Mapping[str, str]


def driver_url(url: str) -> str:
    """``url`` with the scheme that the driver supports."""
    return url.replace("valkey", "redis", 1) if url.startswith("valkey") else url


def located_options(url: str, tag: str) -> dict[str, Any] | None:
    """Options of a connection pool for a Sentinel's or a cluster's URL; None for other URLs.

    ``tag``: hash tag of all keys. Raises ValueError when the URL is wrong.
    """
    parsed = _parsed(driver_url(url))
    if parsed is None:
        return None
    search = _of_sentinels(parsed) if parsed.kind == "sentinel" else _of_cluster(parsed, tag)
    options = dict(parsed.options)
    secure = options.pop("connection_class", None) is SSLConnection
    options["connection_class"] = _LocatedSSLConnection if secure else _LocatedConnection
    options["locator"] = RedisLocator(search)
    return options


class RedisLocator:
    """Remembers where the server is, for all connections of a pool."""

    def __init__(self, search: Callable[[], Awaitable[Address]]) -> None:
        self._search = search
        self._known: Address | None = None
        self._searching = asyncio.Lock()

    async def address(self) -> Address:
        """Raises ConnectionError when no server returns it."""
        async with self._searching:
            if self._known is None:
                try:
                    async with asyncio.timeout(TIMEOUT_S):
                        self._known = await self._search()
                except TimeoutError as error:
                    raise ConnectionError(f"no answer within {TIMEOUT_S:g} s") from error
            return self._known

    def leads_to(self, address: Address) -> bool:
        """The server at ``address`` is the one, as far as is known."""
        return self._known == address

    def forget(self, address: Address) -> None:
        """A server at ``address`` does not hold the keys, or does not answer."""
        if self._known == address:
            self._known = None


class _LocatedConnection(Connection):
    """A connection to the server that ``locator`` names when it is opened."""

    def __init__(self, *, locator: RedisLocator, **options: Any) -> None:
        self._locator = locator
        super().__init__(**options)

    async def connect(self) -> None:
        """Called before each use. Leaves a server that was found to be no longer the right one:
        a replica accepts PUBLISH, but its primary's subscribers receive nothing."""
        if self.is_connected and not self._locator.leads_to((self.host, self.port)):
            await self.disconnect()
        await super().connect()  # type: ignore[no-untyped-call]

    async def _connect(self) -> None:
        self.host, self.port = await self._locator.address()
        try:
            await super()._connect()  # type: ignore[no-untyped-call]
        except BaseException:
            self._locator.forget((self.host, self.port))
            raise

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)
        except (MovedError, ReadOnlyError) as error:
            self._locator.forget((self.host, self.port))
            await self.disconnect()
            raise ConnectionError(f"{self.host}:{self.port} has not the keys: {error}") from error


class _LocatedSSLConnection(_LocatedConnection, SSLConnection):
    """The same over TLS."""


def _of_sentinels(url: _Url) -> Callable[[], Awaitable[Address]]:
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        url.nodes,
        sentinel_kwargs={"retry": Retry(NoBackoff(), 0), **url.sentinel_options},
    )

    async def search() -> Address:
        host, port = await sentinel.discover_master(url.service)
        return str(host), int(port)

    return search


def _of_cluster(url: _Url, tag: str) -> Callable[[], Awaitable[Address]]:
    names = ("username", "password", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
    options = {name: url.options[name] for name in names if name in url.options}
    secure = url.options.get("connection_class") is SSLConnection
    known = list(url.nodes)

    async def search() -> Address:
        cluster = RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in known],
            require_full_coverage=False,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,
            ssl=secure,
            **options,
        )
        try:
            await cluster.initialize()
            node = cluster.get_node_from_key(f"{{{tag}}}")
            if node is None:
                raise ConnectionError("no node of the cluster has the keys' slot")
            found = [(str(node.host), int(node.port)) for node in cluster.get_nodes()]
        except RedisClusterException as error:
            raise ConnectionError(f"the cluster does not answer: {error}") from error
        finally:
            await cluster.aclose()
        known[:] = dict.fromkeys([*found, *url.nodes])
        return str(node.host), int(node.port)

    return search


def _parsed(url: str) -> _Url | None:
    parts = urlsplit(url)
    scheme, _, kind = parts.scheme.partition("+")
    if kind not in _PORTS:
        return None
    login, at, hosts = parts.netloc.rpartition("@")
    nodes = tuple(_address(host, _PORTS[kind]) for host in hosts.split(","))
    service, _, database = parts.path.strip("/").partition("/")
    if kind == "cluster":
        if parts.path.strip("/0"):
            raise ValueError("a Redis cluster has no databases: end its URL after the servers")
    elif not service:
        raise ValueError("the URL of a Sentinel ends in the name of its service: .../mymaster")
    asked = parse_qsl(parts.query)
    of_sentinels = {
        name.removeprefix(_OF_SENTINELS): value
        for name, value in asked
        if name.startswith(_OF_SENTINELS)
    }
    query = urlencode([pair for pair in asked if not pair[0].startswith(_OF_SENTINELS)])
    options = dict(parse_url(f"{scheme}://{login}{at}server/{database or 0}?{query}"))
    del options["host"]
    return _Url(kind, nodes, service, options, of_sentinels)


def _address(text: str, usual_port: int) -> Address:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("the URL of a Sentinel or a cluster names its servers: HOST:PORT,...")
    return parts.hostname, parts.port or usual_port
