"""Rate limits on Redis: one key per bucket, which expires when the bucket is full again."""

from datetime import timedelta

from batch_gateway.adapters.redis_coordination.server import CoordinationScripts, milliseconds
from batch_gateway.ports.coordination import RateDecision


class RedisRateLimiter:
    def __init__(self, scripts: CoordinationScripts, root: str) -> None:
        self._root = root
        self._take = scripts.load("rate_take")
        self._give_back = scripts.load("rate_give_back")

    async def take(self, name: str, limit: int, window: timedelta) -> RateDecision:
        passed, remaining, wait, full = await self._take(
            [f"{self._root}:{name}"], [limit, milliseconds(window)]
        )
        return RateDecision(
            passed=bool(passed),
            remaining=remaining,
            next_in=timedelta(milliseconds=wait),
            full_in=timedelta(milliseconds=full),
        )

    async def give_back(self, name: str, limit: int, window: timedelta) -> None:
        await self._give_back([f"{self._root}:{name}"], [limit, milliseconds(window)])
