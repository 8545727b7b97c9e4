"""F4: time from a batch's last answer to its output file, 10,000 lines.

The clock starts when the simulator has answered the last request, and stops when a client that
asks every few milliseconds has read the first bytes of the output file.
"""

import asyncio
import time

from benchmarks.figure import Figure
from benchmarks.stage import Stage, chat_lines, stage

LINES, RUNS = 10_000, 5
SETTINGS = {"limits": {"start": 128}}


async def measure() -> Figure:
    async with stage(simulator={"ttft_ms": 20, "slots": 128}, settings=SETTINGS) as on:
        file = await on.upload(chat_lines(LINES))
        await finalize(on, file)
        found = sorted([await finalize(on, file) for _ in range(RUNS)])
    values = {"p50_ms": found[RUNS // 2], "max_ms": found[-1]}
    return Figure(
        name="F4",
        title="finalize latency: last answer -> output file downloadable, 10,000 lines",
        values=values,
        mark={"p50_ms": "<= 500"},
        met=values["p50_ms"] <= 500,
    )


async def finalize(on: Stage, file: str) -> float:
    """Milliseconds."""
    await on.model.reset()
    batch = await on.create(file)
    batch = await on.halfway(batch, done=LINES * 3 // 4, every_s=0.1)
    batch = await on.ended(batch, every_s=0.005)
    assert batch.output_file_id is not None, batch
    async with on.client.files.with_streaming_response.content(batch.output_file_id) as answer:
        await anext(answer.iter_bytes(1024))
    there = time.time()
    last = max(entry["ended_at"] for entry in await on.model.arrivals(since=LINES // 2))
    await asyncio.sleep(1)  # what follows the answer is no part of the next run
    return (there - last) * 1000
