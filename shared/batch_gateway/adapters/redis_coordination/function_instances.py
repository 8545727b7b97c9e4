"""Instances of functions on Redis: one sorted set.

A member is an instance with its start; its score is when its heartbeat runs out, or the instant at
which it left. So nothing has to be removed when an instance dies: its score passes.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from batch_gateway.adapters.redis_coordination.server import CoordinationScripts, milliseconds
from batch_gateway.core.function_instances import FunctionInstance

KEPT = timedelta(hours=1)  # after the end of an instance
_MOST = 5000  # instances that are remembered: a script blocks the server while it runs


class RedisFunctionInstances:
    def __init__(self, scripts: CoordinationScripts, key: str) -> None:
        self._key = key
        self._report = scripts.load("instances_report")
        self._list = scripts.load("instances_list")

    async def report(
        self, function: str, instance: str, *, started_at: datetime | None, lifetime: timedelta
    ) -> datetime:
        started = "" if started_at is None else round(started_at.timestamp() * 1000)
        words = [milliseconds(lifetime), milliseconds(KEPT), _MOST, function, instance, started]
        return _instant(int(await self._report([self._key], words)))

    async def leave(self, function: str, instance: str, *, started_at: datetime) -> None:
        await self.report(function, instance, started_at=started_at, lifetime=timedelta(0))

    async def list(self) -> Sequence[FunctionInstance]:
        now, words = await self._list([self._key], [milliseconds(KEPT)])
        found = []
        for member, score in zip(words[::2], words[1::2], strict=True):
            function, instance, started = member.split(" ")
            until = int(float(score))
            found.append(
                FunctionInstance(
                    id=instance,
                    function=function,
                    started_at=_instant(int(started)),
                    ended_at=None if until > now else _instant(until),
                )
            )
        return found


def _instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
