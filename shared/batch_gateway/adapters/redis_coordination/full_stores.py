"""Flags of full stores on Redis: one key per store, which expires."""

from collections.abc import Sequence
from datetime import timedelta

from redis.asyncio import Redis

from batch_gateway.adapters.redis_coordination.server import milliseconds, translated

_STORES = ("files", "metadata")
SCRATCH = "scratch"


class RedisFullStores:
    def __init__(self, client: "Redis", root: str) -> None:
        self._client = client
        self._root = root

    async def report(self, store: str, ttl: timedelta) -> None:
        if store not in _STORES:
            raise ValueError(f"no such store: {store}")
        async with translated():
            await self._client.set(f"{self._root}:{store}", "1", px=milliseconds(ttl))

    async def stores(self) -> Sequence[str]:
        async with translated():
            pipeline = self._client.pipeline(transaction=False)
            pipeline.mget([f"{self._root}:{store}" for store in _STORES])
            pipeline.info("memory")
            reported, memory = await pipeline.execute()
        found = [store for store, flag in zip(_STORES, reported, strict=True) if flag is not None]
        most = int(memory.get("maxmemory", 0))
        if most and int(memory["used_memory"]) >= most:
            found.append(SCRATCH)
        return found
