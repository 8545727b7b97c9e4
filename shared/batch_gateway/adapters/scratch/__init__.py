"""The scratch store on Redis or Valkey, 6.2 or newer; on a cluster it uses one node.

Whatever must be atomic is one Lua script under the server's own clock. All state either expires
or can be rebuilt from the database, so the server needs no persistence; it must not evict keys
(``maxmemory-policy noeviction``).
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cached_property

from redis.asyncio import Redis

from batch_gateway.adapters.scratch.activations import RedisActivations
from batch_gateway.adapters.scratch.batch_changes import RedisBatchChanges
from batch_gateway.adapters.scratch.full_stores import RedisFullStores
from batch_gateway.adapters.scratch.function_instances import RedisFunctionInstances
from batch_gateway.adapters.scratch.keys import ScratchKeys
from batch_gateway.adapters.scratch.locks import RedisLocks
from batch_gateway.adapters.scratch.queue import RedisQueue
from batch_gateway.adapters.scratch.rate_limits import RedisRateLimiter
from batch_gateway.adapters.scratch.server import ScratchScripts, connect, milliseconds, translated
from batch_gateway.adapters.scratch.slots import RedisSlots
from batch_gateway.adapters.scratch.throughput import RedisThroughput
from batch_gateway.core.ids import TenantId
from batch_gateway.settings import LimitSettings

__all__ = ["RedisScratchStore", "open_scratch"]


class RedisScratchStore:
    """All parts on one client; ``url`` again for the subscriptions' own connections.

    ``limits`` and ``weights`` are called at the first use: not every function has these settings.
    """

    def __init__(
        self,
        client: "Redis",
        url: str,
        *,
        keys: ScratchKeys,
        limits: Callable[[], LimitSettings],
        weights: Callable[[], Mapping[TenantId, float]],
    ) -> None:
        self._scripts = scripts = ScratchScripts(client)
        self._client = client
        self._limits = limits
        self._keys = keys
        self.prefix = keys.prefix
        self._generation = scripts.load("generation")
        self._rebuild_begin = scripts.load("rebuild_begin")
        self._rebuild_end = scripts.load("rebuild_end")
        self.queue = RedisQueue(scripts, keys.queue, weights)
        self.activations = RedisActivations(client, scripts, keys)
        self.batch_changes = RedisBatchChanges(client, url, keys.prefix, keys.control)
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
) -> RedisScratchStore:
    """The scratch server at ``url`` (see redis_locator); connects on first use.

    ``weights``: shares of tenants in the fair lane; 1 for a tenant without one. ``limits`` and
    ``weights`` are called at the first use.
    """
    client = connect(url, tag=prefix)
    return RedisScratchStore(client, url, keys=ScratchKeys(prefix), limits=limits, weights=weights)
