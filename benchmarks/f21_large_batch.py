"""F21: the cost of a large batch: 20,000 lines of 2 KB at an endpoint without latency.

``batch-gateway up`` is a process of its own that has completed a small batch before, so all that is
needed runs. Processor time and memory are those of all its processes, told for each of them.
"""

import time
from statistics import median

from benchmarks.figure import Figure
from benchmarks.stage import chat_lines, encoded
from benchmarks.whole_system import System, Usage, system, watched

LINES, BODY_BYTES, ROUNDS = 20_000, 2000, 3


async def measure() -> Figure:
    content = encoded(chat_lines(LINES, body_bytes=BODY_BYTES))
    async with system(0) as on:
        await on.ended({(await on.create(await on.upload(encoded(chat_lines(100)))))[0]})
        rounds = [await run(on, content) for _ in range(ROUNDS)]
    per_thousand = LINES / 1000
    names = sorted({name for _, usage in rounds for name in usage.cpu_s})
    values = {
        "wall_s": median(seconds for seconds, _ in rounds),
        "cpu_s_per_1000": median(sum(u.cpu_s.values()) for _, u in rounds) / per_thousand,
        "peak_mib": median(u.total_peak_mib for _, u in rounds),
    }
    for name in names:
        used = median(u.cpu_s.get(name, 0.0) for _, u in rounds)
        values[f"{name}_cpu_s_per_1000"] = used / per_thousand
        values[f"{name}_mib"] = median(u.peak_mib.get(name, 0.0) for _, u in rounds)
    limits = {"wall_s": 2.3, "cpu_s_per_1000": 0.121, "peak_mib": 300}
    return Figure(
        name="F21",
        title=f"a batch of {LINES:,} lines of {BODY_BYTES} bytes at no latency",
        values=values,
        mark={name: f"<= {limit}" for name, limit in limits.items()},
        met=all(values[name] <= limit for name, limit in limits.items()),
    )


async def run(on: System, content: bytes) -> tuple[float, Usage]:
    """Seconds from creation to completion, and what it took; the upload is not counted."""
    file = await on.upload(content)
    async with watched(on) as usage:
        began = time.perf_counter()
        batch, _ = await on.create(file)
        await on.ended({batch}, every_s=0.1)
        seconds = time.perf_counter() - began
    return seconds, usage
