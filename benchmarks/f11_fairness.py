"""F11: the effect of one huge batch on small batches of other tenants, and on deadlines.

One executor, 64 slots that are known from the beginning, answers after half a second.

- a batch of 200 requests alone, and behind one of 20,000 requests of another tenant, from the
  queue to the last answer;
- four tenants with equal batches: Jain's index of what each has got when half of all is done;
- an urgent batch whose deadline would be missed in the fair lane, behind the same huge one;
- how far the estimated end of a batch is off when half of it is done.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta

from batch_gateway.core.model import Batch
from batch_gateway.services.batches.completion_estimates import CompletionEstimates
from batch_gateway.services.routing import SingleEndpointRouteProvider
from benchmarks.figure import Figure
from benchmarks.stage import chat_lines
from benchmarks.workshop import Workshop, workshop

SLOTS = 64
LATENCY_MS = 500
SETTINGS = {
    "limits": {"start": SLOTS, "ceiling": SLOTS},
    "execution": {"heartbeat_s": 1, "idle_exit_s": 1},
}
HUGE, SMALL, EQUAL, TENANTS = 20_000, 200, 1500, 4
URGENT, URGENT_S = 2000, 40  # alone: 16 s; with half of the slots: 31 s, and it comes late


async def executed(shop: Workshop, batch: Batch) -> None:
    """Wait until its last request was answered."""
    while (found := await shop.reload(batch)).open_shards:
        await asyncio.sleep(0.05)
    assert found.counts.completed == found.counts.total, found


async def live(shop: Workshop, batches: Sequence[Batch]) -> list[int]:
    return [(await shop.reload(batch)).counts.completed for batch in batches]


async def begun(shop: Workshop, batch: Batch) -> None:
    """Wait until the executor is well into it."""
    while (await live(shop, [batch]))[0] < 5 * SLOTS:
        await asyncio.sleep(0.1)


async def behind_a_huge_one() -> tuple[float, float]:
    async with workshop(LATENCY_MS, SETTINGS) as shop:
        await shop.submit(chat_lines(SMALL), tenant="b")
        alone = (await shop.work()).wall_s  # without the start of its process
    async with workshop(LATENCY_MS, SETTINGS) as shop:
        huge = await shop.submit(chat_lines(HUGE), tenant="a")
        working = asyncio.create_task(shop.work())
        await begun(shop, huge)
        batch = await shop.submit(chat_lines(SMALL), tenant="b")
        queued = time.monotonic()
        await executed(shop, batch)
        crowded = time.monotonic() - queued
        working.cancel()
        await asyncio.wait([working])
    return alone, crowded


async def jain() -> float:
    async with workshop(LATENCY_MS, SETTINGS) as shop:
        batches = [await shop.submit(chat_lines(EQUAL), tenant=f"t{n}") for n in range(TENANTS)]
        working = asyncio.create_task(shop.work())
        while sum(got := await live(shop, batches)) < TENANTS * EQUAL / 2:
            await asyncio.sleep(0.1)
        working.cancel()
        await asyncio.wait([working])
    return sum(got) ** 2 / (TENANTS * sum(one * one for one in got))


async def urgent() -> bool:
    async with workshop(LATENCY_MS, SETTINGS) as shop:
        huge = await shop.submit(chat_lines(HUGE), tenant="a")
        working = asyncio.create_task(shop.work())
        await begun(shop, huge)
        window = timedelta(seconds=URGENT_S)
        batch = await shop.submit(chat_lines(URGENT), tenant="b", window=window)
        while (found := await shop.reload(batch)).open_shards:
            await asyncio.sleep(0.05)
        working.cancel()
        await asyncio.wait([working])
    return found.counts.completed == URGENT


async def estimate_error() -> float:
    """Of the estimated end at half of a batch, as a share of the whole time."""
    lines = 2000
    async with workshop(LATENCY_MS, SETTINGS) as shop:
        runtime = shop.runtime
        routes = SingleEndpointRouteProvider(runtime.settings.inference)
        estimates = CompletionEstimates(runtime.coordination, routes, runtime.clock, ceiling=SLOTS)
        batch = await shop.submit(chat_lines(lines))
        working = asyncio.create_task(shop.work())
        began = time.monotonic()
        while (await live(shop, [batch]))[0] < lines / 2:
            await asyncio.sleep(0.05)
        [foreseen] = await estimates.add([await shop.reload(batch)])
        await executed(shop, batch)
        took, ended = time.monotonic() - began, runtime.clock.now()
        await working
    assert foreseen.estimated_completion_at is not None
    return abs((foreseen.estimated_completion_at - ended).total_seconds()) / took


async def measure() -> Figure:
    alone, crowded = await behind_a_huge_one()
    values: dict[str, float | bool] = {
        "alone_s": alone,
        "behind_20000_s": crowded,
        "ratio": crowded / alone,
        "jain_index": await jain(),
        "urgent_met": await urgent(),
        "estimate_error_at_half": await estimate_error(),
    }
    return Figure(
        name="F11",
        title="fairness between tenants, deadlines, estimates",
        values=values,
        mark={
            "ratio": "<= 2.0",
            "jain_index": ">= 0.95",
            "urgent_met": "True",
            "estimate_error_at_half": "<= 0.20",
        },
        met=values["ratio"] <= 2.0
        and values["jain_index"] >= 0.95
        and bool(values["urgent_met"])
        and values["estimate_error_at_half"] <= 0.2,
    )
