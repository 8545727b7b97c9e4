"""F3: from the creation of a batch to its first request at the endpoint.

Warm: all functions run, but no activation is open; the batch before has ended. Cold: every
function, the API too, is at zero when the request to create arrives. ``kept``: as cold, but some
functions have a process, as ``min-scale`` 1 would have it.
"""

import asyncio
import time
from collections.abc import Sequence
from statistics import median

from benchmarks.figure import Figure
from benchmarks.stage import Stage, chat_lines, encoded, percentile, stage

WARM, COLD = 15, 5
IDLE_EXIT_S = 0.5  # an activation without work ends soon, so that the next batch has to open one
CONTENT = encoded(chat_lines(10))
#: name of the value -> functions that are kept
KEPT = {
    "kept_api": ("api",),
    "kept_api_planner": ("api", "planner"),
    "kept_api_executor": ("api", "executor"),
    "kept_all_three": ("api", "planner", "executor"),
}


async def measure() -> Figure:
    settings = {"execution": {"idle_exit_s": IDLE_EXIT_S}}
    async with stage(settings=settings) as on:
        await start_latency(on)
        warm_ms = [await start_latency(on, pause_s=IDLE_EXIT_S + 0.5) for _ in range(WARM)]
        cold_ms = [await from_zero(on) for _ in range(COLD)]
        kept_ms = {
            name: [await from_zero(on, kept=kept) for _ in range(COLD)]
            for name, kept in KEPT.items()
        }
    values = {
        "warm_p50_ms": median(warm_ms),
        "warm_p90_ms": percentile(warm_ms, 0.9),
        "cold_p50_s": median(cold_ms) / 1000,
        "cold_max_s": max(cold_ms) / 1000,
        **{f"{name}_p50_s": median(found) / 1000 for name, found in kept_ms.items()},
    }
    return Figure(
        name="F3",
        title="start latency: create -> first request at the endpoint",
        values=values,
        mark={"warm_p50_ms": "<= 150", "cold_p50_s": "<= 3.0"},
        met=values["warm_p50_ms"] <= 150 and values["cold_p50_s"] <= 3.0,
    )


async def start_latency(on: Stage, *, pause_s: float = 0) -> float:
    """Milliseconds from the request that creates a batch to its first line at the model."""
    file = await on.upload(CONTENT)
    await asyncio.sleep(pause_s)
    return await first_arrival(on, file)


async def from_zero(on: Stage, *, kept: Sequence[str] = ()) -> float:
    """The same when every function has ended before, except those that are ``kept``."""
    file = await on.upload(CONTENT)
    for name in on.platform.services:
        while on.platform.pids(name):
            on.platform.terminate(name)
            await asyncio.sleep(0.2)
    for name in kept:
        await on.platform.warm(name)
    return await first_arrival(on, file)


async def first_arrival(on: Stage, file: str) -> float:
    await on.model.reset()
    started = time.time()
    batch = await on.create(file)
    await on.ended(batch)
    arrived = min(entry["arrived_at"] for entry in await on.model.arrivals())
    return (arrived - started) * 1000
