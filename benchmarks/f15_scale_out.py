"""F15: throughput by the number of executors, and their load on Redis and the database.

Each executor has its slots' worth of the limit; requests take 200 ms each. Ideal is what the slots
could do: N * L / C. Executors, endpoint, Redis and database are processes of their own whose
processor time is counted one by one, so the figure says what more executors cost on any machine;
how long they take says something only while the cores are free: beyond half of them the executors
wait for each other. The last run is on PostgreSQL.

``REQUESTS`` and ``EXECUTORS`` ("1 2 4") in the environment change both.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.databases import Database, database, redis_cost
from benchmarks.figure import Figure, Value
from benchmarks.processes import cpu_s
from benchmarks.stage import chat_lines
from benchmarks.workshop import Work, Workshop, workshop

REQUESTS = int(os.environ.get("REQUESTS", "100000"))
LATENCY_S = 0.2
SLOTS = 64  # of each executor
EXECUTORS = tuple(map(int, os.environ.get("EXECUTORS", "1 2 4 8").split()))
ON_POSTGRES = 4  # executors
BUSY = 0.5  # share of the machine from which on the processor does not allow more
PER_1000 = ("executor_cpu", "redis_cpu", "database_cpu", "endpoint_cpu", "redis", "writes")


@dataclass(frozen=True, kw_only=True)
class Done:
    """One run; processor time in seconds."""

    efficiency: float
    works: Sequence[Work]
    redis_cpu_s: float
    database_cpu_s: float
    endpoint_cpu_s: float

    @property
    def busy(self) -> float:
        """Share of the machine that the executors used."""
        wall = max(work.wall_s for work in self.works)
        return sum(work.cpu_s for work in self.works) / wall / (os.cpu_count() or 1)

    def per_1000(self) -> dict[str, float]:
        thousands = REQUESTS / 1000
        totals = (
            sum(work.cpu_s for work in self.works),
            self.redis_cpu_s,
            self.database_cpu_s,
            self.endpoint_cpu_s,
            sum(work.redis for work in self.works),
            sum(work.writes for work in self.works),
        )
        return {name: total / thousands for name, total in zip(PER_1000, totals, strict=True)}


async def run(executors: int, requests: int, on: Database) -> Done:
    slots = SLOTS * executors
    settings = {
        "limits": {"start": slots, "ceiling": slots},
        "execution": {"max_calls": SLOTS, "max_activations": executors, "idle_exit_s": 2},
        "api": {"max_lines": requests},
        "metadata": {"url": on.url},
    }
    async with workshop(1000 * LATENCY_S, settings) as shop:
        batch = await shop.submit(chat_lines(requests, body_bytes=1000))
        before = await _spent(shop, on)
        began = shop.runtime.clock.now()
        working = [asyncio.create_task(shop.work()) for _ in range(executors)]
        while (found := await shop.reload(batch)).open_shards:
            await asyncio.sleep(0.1)
        took = (shop.runtime.clock.now() - began).total_seconds()
        works = await asyncio.gather(*working)
        after = await _spent(shop, on)
    assert found.counts.completed == requests, found
    redis_s, database_s, endpoint_s = (b - a for a, b in zip(before, after, strict=True))
    return Done(
        efficiency=requests * LATENCY_S / slots / took,
        works=works,
        redis_cpu_s=redis_s,
        database_cpu_s=database_s,
        endpoint_cpu_s=endpoint_s,
    )


async def _spent(shop: Workshop, on: Database) -> tuple[float, float, float]:
    """Processor time of Redis, database and endpoint until now."""
    return (await redis_cost(shop.scratch_url)).cpu_s, on.cpu_s(), cpu_s(shop.endpoint_pid)


async def measure() -> Figure:
    values: dict[str, Value] = {}
    mark: dict[str, str] = {}
    met = True
    for executors in EXECUTORS:
        async with database("sqlite") as on:
            done = await run(executors, REQUESTS, on)
        found = done.per_1000()
        values |= {f"efficiency_{executors}": done.efficiency, f"cpu_share_{executors}": done.busy}
        values |= {f"{name}_per_1000_{executors}": value for name, value in found.items()}
        mark |= {
            f"efficiency_{executors}": ">= 0.9 while the CPU allows",
            f"redis_per_1000_{executors}": "<= 50",
            f"writes_per_1000_{executors}": "<= 5",
        }
        met = met and (done.efficiency >= 0.9 or done.busy > BUSY)
        met = met and found["redis"] <= 50 and found["writes"] <= 5
    async with database("postgres") as on:
        found = (await run(ON_POSTGRES, REQUESTS, on)).per_1000()
    values |= {f"postgres_{name}_per_1000": value for name, value in found.items()}
    values["load"] = os.getloadavg()[0]
    return Figure(
        name="F15",
        title=f"{REQUESTS:,} requests of {LATENCY_S:g} s, {SLOTS} slots for each executor",
        values=values,
        mark=mark,
        met=met,
    )
