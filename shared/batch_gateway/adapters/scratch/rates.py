"""Rates on Redis: one key per bucket, which expires when the bucket is full again."""

from datetime import timedelta

from batch_gateway.adapters.scratch.server import Scripts, milliseconds
from batch_gateway.ports.scratch import Passage


class RedisRates:
    def __init__(self, scripts: Scripts, root: str) -> None:
        self._root = root
        self._take = scripts.load("rate_take")

    async def take(self, name: str, limit: int, window: timedelta) -> Passage:
        passed, remaining, wait, full = await self._take(
            [f"{self._root}:{name}"], [limit, milliseconds(window)]
        )
        return Passage(
            passed=bool(passed),
            remaining=remaining,
            next_in=timedelta(milliseconds=wait),
            full_in=timedelta(milliseconds=full),
        )
