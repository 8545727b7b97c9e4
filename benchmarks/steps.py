"""What single steps cost, all processes that take part in them counted one by one."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import median

from benchmarks.databases import Database, redis_cost
from benchmarks.figure import Value
from benchmarks.workshop import Workshop


@dataclass
class Steps:
    """Milliseconds of each kind of step: how long it took, and processor time of this process (with
    SQLite in it), of Redis and of PostgreSQL."""

    shop: Workshop
    on: Database
    found: dict[str, list[tuple[float, float, float, float]]] = field(default_factory=dict)

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[None]:
        before = await self._spent()
        yield
        after = await self._spent()
        took = [1000 * (b - a) for a, b in zip(before, after, strict=True)]
        self.found.setdefault(name, []).append((took[0], took[1], took[2], took[3]))

    def values(self, prefix: str, *, each: int = 1) -> dict[str, Value]:
        """Medians; of steps that did ``each`` things at once, for one thing."""
        values: dict[str, Value] = {}
        for name, rounds in self.found.items():
            wall, own, redis, server = (median(one) / each for one in zip(*rounds, strict=True))
            values[f"{prefix}{name}_ms"] = wall
            values[f"{prefix}{name}_cpu_ms"] = own
            values[f"{prefix}{name}_redis_cpu_ms"] = redis
            if self.on.server is not None:
                values[f"{prefix}{name}_database_cpu_ms"] = server
        return values

    async def _spent(self) -> tuple[float, float, float, float]:
        redis = (await redis_cost(self.shop.scratch_url)).cpu_s
        return time.perf_counter(), time.process_time(), redis, self.on.cpu_s()
