"""F15: whether more executors do more, and what they ask of Redis and the database.

Each executor has its slots' worth of the limit; requests take 200 ms each. Ideal is what the slots
could do: N * L / C. On two cores the endpoint, Redis and four executors share the processor, so the
figure says too how much of it the executors used; beyond half of it they wait for each other.
"""

import asyncio
import os

from benchmarks.figure import Figure
from benchmarks.stage import chat_lines
from benchmarks.workshop import Work, workshop

REQUESTS = 100_000
LATENCY_S = 0.2
SLOTS = 64  # of each executor
EXECUTORS = (1, 2, 4)
BUSY = 0.5  # share of the machine from which on the processor does not allow more


async def run(executors: int, requests: int) -> tuple[float, list[Work]]:
    """Efficiency against the slots, and what each executor did."""
    slots = SLOTS * executors
    settings = {
        "limits": {"start": slots, "ceiling": slots},
        "execution": {"max_calls": SLOTS, "max_activations": executors, "idle_exit_s": 2},
        "api": {"max_lines": requests},
    }
    async with workshop(1000 * LATENCY_S, settings) as shop:
        batch = await shop.submit(chat_lines(requests, body_bytes=1000))
        began = shop.runtime.clock.now()
        working = [asyncio.create_task(shop.work()) for _ in range(executors)]
        while (found := await shop.reload(batch)).open_shards:
            await asyncio.sleep(0.1)
        took = (shop.runtime.clock.now() - began).total_seconds()
        works = await asyncio.gather(*working)
    assert found.counts.completed == requests, found
    return requests * LATENCY_S / slots / took, list(works)


async def measure() -> Figure:
    values: dict[str, float | bool] = {}
    mark: dict[str, str] = {}
    met = True
    for executors in EXECUTORS:
        efficiency, works = await run(executors, REQUESTS)
        wall = max(work.wall_s for work in works)
        busy = sum(work.cpu_s for work in works) / wall / (os.cpu_count() or 1)
        thousands = REQUESTS / 1000
        redis = sum(work.redis for work in works) / thousands
        writes = sum(work.writes for work in works) / thousands
        values |= {
            f"efficiency_{executors}": efficiency,
            f"cpu_share_{executors}": busy,
            f"redis_per_1000_{executors}": redis,
            f"writes_per_1000_{executors}": writes,
        }
        mark |= {
            f"efficiency_{executors}": ">= 0.9 while the CPU allows",
            f"redis_per_1000_{executors}": "<= 50",
            f"writes_per_1000_{executors}": "<= 5",
        }
        met = met and (efficiency >= 0.9 or busy > BUSY) and redis <= 50 and writes <= 5
    return Figure(
        name="F15",
        title=f"{REQUESTS} requests of {LATENCY_S:g} s, {SLOTS} slots for each executor",
        values=values,
        mark=mark,
        met=met,
    )
