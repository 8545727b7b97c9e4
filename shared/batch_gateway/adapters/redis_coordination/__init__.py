"""The coordination store on Redis or Valkey, 6.2 or newer; on a cluster it uses one node.

Whatever must be atomic is one Lua script under the server's own clock. All state either expires
or can be rebuilt from the database, so the server needs no persistence; it must not evict keys
(``maxmemory-policy noeviction``).
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cached_property

from redis.asyncio import Redis

from batch_gateway.adapters.redis_coordination.activations import RedisActivations
from batch_gateway.adapters.redis_coordination.batch_changes import RedisBatchChangeNotifications
from batch_gateway.adapters.redis_coordination.full_stores import RedisFullStores
from batch_gateway.adapters.redis_coordination.function_instances import RedisFunctionInstances
from batch_gateway.adapters.redis_coordination.keys import CoordinationKeys
from batch_gateway.adapters.redis_coordination.locks import RedisLocks
from batch_gateway.adapters.redis_coordination.queue import RedisQueue
from batch_gateway.adapters.redis_coordination.rate_limits import RedisRateLimiter
from batch_gateway.adapters.redis_coordination.server import (
    CoordinationScripts,
    connect,
    milliseconds,
    translated,
)
from batch_gateway.adapters.redis_coordination.slots import RedisSlots
from batch_gateway.adapters.redis_coordination.throughput import RedisThroughput
from batch_gateway.core.ids import TenantId
from batch_gateway.settings import LimitSettings

__all__ = ["RedisCoordinationStore", "open_scratch"]


class RedisCoordinationStore:
    """All parts on one client; ``url`` again for the subscriptions' own connections.

    ``limits`` and ``weights`` are called at the first use: not every function has these settings.
    """

    def __init__(
        self,
        client: "Redis",
        url: str,
        *,
        keys: CoordinationKeys,
        limits: Callable[[], LimitSettings],
        weights: Callable[[], Mapping[TenantId, float]],
    ) -> None:
        self._scripts = scripts = CoordinationScripts(client)
        self._client = client
        self._limits = limits
        self._keys = keys
        self.prefix = keys.prefix
        self._generation = scripts.load("generation")
        self._rebuild_begin = scripts.load("rebuild_begin")
        self._rebuild_end = scripts.load("rebuild_end")
        self.queue = RedisQueue(scripts, keys.queue, weights)
        self.activations = RedisActivations(client, scripts, keys)
        self.batch_changes = RedisBatchChangeNotifications(client, url, keys.prefix, keys.control)
        self.throughput = RedisThroughput(client, scripts, keys.paces)
        self.rate_limiter = RedisRateLimiter(scripts, keys.rates)
        self.locks = RedisLocks(scripts, keys.rights)
        self.full_stores = RedisFullStores(client, keys.full)
        self.function_instances = RedisFunctionInstances(scripts, keys.instances)

    @cached_property
    def slots(self) -> RedisSlots:
        return RedisSlots(self._client, self._scripts, self._keys, self._limits())

    async def generation(self) -> tuple[str, timedelta] | None:
        found = await self._generation([self._keys.generation])
        return None if found is None else (found[0], timedelta(milliseconds=found[1]))

    async def begin_rebuild(self, holder: str, ttl: timedelta) -> bool:
        keys = [self._keys.rebuild, self._keys.generation]
        return bool(await self._rebuild_begin(keys, [holder, milliseconds(ttl)]))

    async def end_rebuild(self, holder: str, generation: str, *, settled: bool = False) -> bool:
        keys = [self._keys.rebuild, self._keys.generation]
        return bool(await self._rebuild_end(keys, [holder, generation, int(settled)]))

    async def once(self, name: str, ttl: timedelta) -> bool:
        async with translated():
            taken = await self._client.set(
                f"{self._keys.once}:{name}", "1", nx=True, px=max(1, milliseconds(ttl))
            )
        return bool(taken)

    async def announce(self, name: str, value: str) -> None:
        async with translated():
            await self._client.set(f"{self._keys.announced}:{name}", value)

    async def announced(self, name: str) -> str | None:
        async with translated():
            value = await self._client.get(f"{self._keys.announced}:{name}")
        return value.decode() if isinstance(value, bytes) else value

    async def check(self) -> None:
        async with translated():
            await self._client.ping()

    async def close(self) -> None:
        await self._client.aclose()


def open_scratch(
    url: str,
    *,
    prefix: str,
    limits: Callable[[], LimitSettings] = LimitSettings,
    weights: Callable[[], Mapping[TenantId, float]] = dict,
) -> RedisCoordinationStore:
    """The coordination store at ``url`` (see redis_locator); connects on first use.

    ``weights``: shares of tenants in the fair lane; 1 for a tenant without one. ``limits`` and
    ``weights`` are called at the first use.
    """
    client = connect(url, tag=prefix)
    return RedisCoordinationStore(
        client, url, keys=CoordinationKeys(prefix), limits=limits, weights=weights
    )
