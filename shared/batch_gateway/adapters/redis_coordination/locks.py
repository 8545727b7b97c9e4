"""Locks on Redis: one key per lock, which expires unless its holder renews it."""

from datetime import timedelta

from batch_gateway.adapters.redis_coordination.server import CoordinationScripts, milliseconds


class RedisLocks:
    def __init__(self, scripts: CoordinationScripts, root: str) -> None:
        self._root = root
        self._hold = scripts.load("right_hold")
        self._let_go = scripts.load("right_let_go")

    async def acquire(self, name: str, holder: str, ttl: timedelta) -> bool:
        return bool(await self._hold([f"{self._root}:{name}"], [holder, milliseconds(ttl)]))

    async def release(self, name: str, holder: str) -> None:
        await self._let_go([f"{self._root}:{name}"], [holder])
