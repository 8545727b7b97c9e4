"""F7: planning a batch, from its creation to ``in_progress``, and what memory that takes.

Once with the largest file that OpenAI takes (200 MB of 50,000 lines), once with a million short
lines. The planner is a process of its own that has planned before; the model does not answer, so
that no executor competes with it.
"""

import asyncio
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.figure import Figure
from benchmarks.processes import forget_peak, memory_mib, peak_mib
from benchmarks.stage import MIB, Stage, chat_lines, input_file, stage

#: name -> lines, bytes, runs
INPUTS = {"50k": (50_000, 200 * MIB, 3), "1m": (1_000_000, 250 * MIB, 1)}
LIMITS = {"max_lines": 1_000_000, "max_file_bytes": 8 * 1024 * MIB}


async def measure() -> Figure:
    values: dict[str, float] = {}
    with TemporaryDirectory(prefix="batch-gateway-f7-") as folder:
        async with stage(simulator={"ttft_ms": 600_000}, settings={"api": LIMITS}) as on:
            await plan(on, await on.upload(chat_lines(10)))
            for name, (lines, size, runs) in INPUTS.items():
                path = input_file(Path(folder) / f"{name}.jsonl", lines=lines, size=size)
                found = [await plan(on, await on.upload(path)) for _ in range(runs)]
                values[f"{name}_s"] = sorted(seconds for seconds, _ in found)[runs // 2]
                values[f"{name}_mib"] = max(extra for _, extra in found)
    return Figure(
        name="F7",
        title="planning: 200 MB of 50,000 lines, and 1,000,000 lines",
        values=values,
        mark={"50k_s": "<= 3", "50k_mib": "<= 150", "1m_mib": "<= 400"},
        met=values["50k_s"] <= 3 and values["50k_mib"] <= 150 and values["1m_mib"] <= 400,
    )


async def plan(on: Stage, file: str) -> tuple[float, float]:
    """Seconds until the batch is in progress, and the planner's extra memory at its peak."""
    before: dict[int, float] = {}
    for pid in on.platform.pids("planner"):
        forget_peak(pid)
        before[pid] = memory_mib(pid)
    started = time.perf_counter()
    batch = await on.create(file)
    while batch.status == "validating":
        await asyncio.sleep(0.02)
        batch = await on.client.batches.retrieve(batch.id)
    seconds = time.perf_counter() - started
    assert batch.status == "in_progress", batch
    extra = max(peak_mib(pid) - before.get(pid, 0) for pid in on.platform.pids("planner"))
    await on.client.batches.cancel(batch.id)
    await on.ended(batch)
    return seconds, extra
