"""F9: from POST cancel to the last request that leaves for the endpoint, and to `cancelled`.

A batch of 20,000 lines is in full swing: 64 calls of a tenth to four tenths of a second in flight,
a new one every four milliseconds, and shards leased, queued and half done. (Were all equally long,
they would come in bunches, and a cancel between two of them would look as if it took no time.) The
clock starts before the POST is sent; requests are dated by the endpoint as they arrive. Calls in
flight are given up, so none keeps the batch waiting.
"""

import asyncio
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

from benchmarks.figure import Figure
from benchmarks.stage import Stage, chat_lines, stage

LINES, DONE, RUNS = 20_000, 500, 7
LENGTHS = 16  # output tokens of a line, from 1 on
SIMULATOR = {"ttft_ms": 100, "tpot_ms": 20, "slots": 64}
SETTINGS = {"limits": {"start": 64, "ceiling": 64}}


async def measure() -> Figure:
    async with stage(simulator=SIMULATOR, settings=SETTINGS) as on:
        file = await on.upload(lines())
        await cancel(on, file)
        found = [await cancel(on, file) for _ in range(RUNS)]
    last_ms, over_ms = zip(*found, strict=True)
    values = {
        "last_request_p50_ms": median(last_ms),
        "last_request_max_ms": max(last_ms),
        "cancelled_p50_s": median(over_ms) / 1000,
        "cancelled_max_s": max(over_ms) / 1000,
    }
    return Figure(
        name="F9",
        title=f"cancel of a batch of {LINES:,} lines in full swing",
        values=values,
        mark={"last_request_max_ms": "<= 250", "cancelled_max_s": "<= 2"},
        met=values["last_request_max_ms"] <= 250 and values["cancelled_max_s"] <= 2,
    )


def lines() -> Iterator[dict[str, Any]]:
    for n, line in enumerate(chat_lines(LINES)):
        line["body"] |= {"max_tokens": 1 + n % LENGTHS, "ignore_eos": True}
        yield line


async def cancel(on: Stage, file: str) -> tuple[float, float]:
    """Milliseconds until the last request has arrived, and until the batch is cancelled."""
    await on.model.reset()
    batch = await on.halfway(await on.create(file), done=DONE, every_s=0.1)
    started = time.time()
    batch = await on.client.batches.cancel(batch.id)
    batch = await on.ended(batch, every_s=0.01)
    over = time.time()
    assert batch.status == "cancelled", batch
    await asyncio.sleep(1)  # what would leave too late must not be missed
    last = max(entry["arrived_at"] for entry in await on.model.arrivals())
    return max(0.0, last - started) * 1000, (over - started) * 1000
