"""F10: an endpoint that serves 32 at a time and answers 429 beyond, and how well it is used.

The oracle knows the 32 and keeps to them: a start, floor and ceiling of 32 slots. The controller
starts with what it starts with and is told nothing but 429. Metrics and probes are off: a rate
limiter shows neither. Goodput is answers per second of the whole activation, so slow start counts.
Calls in flight are counted at the endpoint, grants at the slots; both several times a second.
"""

import asyncio
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from batch_gateway.simulator.config import SimulatorConfig
from batch_gateway.simulator.server import serving
from benchmarks.figure import Figure
from benchmarks.stage import chat_lines
from benchmarks.workshop import workshop

SLOTS = 32
LATENCY_S = 0.5
REQUESTS = 3000
ROUNDS = 3
UNWATCHED = {"metrics": False, "probe": False}


@dataclass(frozen=True, kw_only=True)
class Run:
    answers_per_s: float
    refused: float  # share of the calls sent
    over: int  # calls in flight beyond the slots lent or in use, at most


async def run(limits: dict[str, Any]) -> Run:
    config = SimulatorConfig.checked(
        slots=SLOTS, queue=0, ttft_ms=1000 * LATENCY_S, tpot_ms=0, prefill_us_per_token=0
    )
    async with serving(config) as here:
        settings = {
            "inference": {"url": here.url},
            "limits": limits,
            "watching": UNWATCHED,
            "retry": {"backoff_s": 0.2},
        }
        async with workshop(0, settings) as shop:
            await shop.submit(lines())
            over = [0]

            async def compare() -> None:
                while True:
                    pools = await shop.runtime.coordination.slots.pools()
                    lent = sum(max(pool.granted, pool.in_use) for pool in pools)
                    over.append(here.simulator.journal.open - lent)
                    await asyncio.sleep(0.05)

            watching = asyncio.create_task(compare())
            await shop.work()
            watching.cancel()
        journal = here.simulator.journal
        entries = journal.since(0)
    first = min(entry.arrived_at for entry in entries)
    last = max(entry.ended_at or 0.0 for entry in entries)
    return Run(
        answers_per_s=journal.by_status[200] / (last - first),
        refused=journal.by_status[429] / journal.requests,
        over=max(over),
    )


def lines() -> Iterator[dict[str, Any]]:
    yield from chat_lines(REQUESTS)


async def measure() -> Figure:
    ratios, refused, over = [], [], 0
    for _ in range(ROUNDS):
        oracle = await run({"start": SLOTS, "floor": SLOTS, "ceiling": SLOTS})
        ours = await run({"start": 8, "floor": 0, "ceiling": 256})
        ratios.append(ours.answers_per_s / oracle.answers_per_s)
        refused.append(ours.refused)
        over = max(over, ours.over)
    goodput, share = statistics.median(ratios), statistics.median(refused)
    return Figure(
        name="F10",
        title=f"overload: {SLOTS} at a time and 429 beyond, {REQUESTS} requests of {LATENCY_S} s",
        values={
            "goodput_of_oracle": goodput,
            "refused_of_sent": share,
            "in_flight_beyond_grants": over,
            "rounds": ", ".join(f"{ratio:.3f}" for ratio in ratios),
        },
        mark={
            "goodput_of_oracle": ">= 0.95",
            "refused_of_sent": "<= 0.02",
            "in_flight_beyond_grants": "<= 0",
        },
        met=goodput >= 0.95 and share <= 0.02 and over <= 0,
    )
