"""F17: bursts of small batches, from the first request that creates one until all are completed.

``batch-gateway up`` is a process of its own; its processor time and memory are those of the whole
system: platform, broker, Redis and all functions, those that have ended included. Input files are
uploaded before. Warm: one burst of the same size has passed, and its functions still run. The
database is SQLite, or the one that ``METADATA_URL`` names (its server is then not counted).
"""

import asyncio
import time
from dataclasses import dataclass
from statistics import median

from benchmarks.figure import Figure
from benchmarks.processes import cpu_of_tree_s, memory_of_tree_mib
from benchmarks.stage import chat_lines, encoded, percentile
from benchmarks.whole_system import System, system

LATENCY_MS = 50
FROM_ZERO = 3
MEMORY_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Burst:
    batches: int
    lines: int
    rounds: int

    @property
    def name(self) -> str:
        return f"b{self.batches}x{self.lines}"


BURSTS = (
    Burst(batches=50, lines=20, rounds=3),
    Burst(batches=500, lines=2, rounds=1),
    Burst(batches=1, lines=1, rounds=5),
)


@dataclass(frozen=True, kw_only=True)
class Round:
    """One burst, measured."""

    created_s: float  # until the last answer to a create
    completed_s: float  # until all are seen to be completed
    create_p95_ms: float
    cpu_s: float
    peak_mib: float


async def measure() -> Figure:
    async with system(LATENCY_MS) as on:
        warm = {}
        for burst in BURSTS:
            await run(on, burst)
            warm[burst] = [await run(on, burst) for _ in range(burst.rounds)]
    from_zero = []
    for _ in range(FROM_ZERO):
        async with system(LATENCY_MS) as on:
            from_zero.append(await run(on, BURSTS[0]))
    values: dict[str, float] = {}
    for burst, rounds in warm.items():
        for field in Round.__dataclass_fields__:
            values[f"{burst.name}_{field}"] = median(getattr(one, field) for one in rounds)
    values["from_zero_completed_s"] = median(one.completed_s for one in from_zero)
    values["from_zero_cpu_s"] = median(one.cpu_s for one in from_zero)
    name = BURSTS[0].name
    limits = {
        f"{name}_completed_s": 0.7,
        f"{name}_cpu_s": 1.0,
        f"{name}_peak_mib": 300,
        f"{name}_create_p95_ms": 20,
        "from_zero_completed_s": 3.0,
    }
    return Figure(
        name="F17",
        title=f"small batches at {LATENCY_MS} ms, created at once",
        values=values,
        mark={name: f"<= {limit}" for name, limit in limits.items()},
        met=all(values[name] <= limit for name, limit in limits.items()),
    )


async def run(on: System, burst: Burst) -> Round:
    content = encoded(chat_lines(burst.lines))
    files = [await on.upload(content) for _ in range(burst.batches)]
    await asyncio.sleep(0.5)  # what uploading leaves to be done is not counted
    cpu_s, began = cpu_of_tree_s(on.pid), time.perf_counter()
    peaks: list[float] = [0.0]
    peak = asyncio.create_task(_watch_memory(on, peaks))
    created = await asyncio.gather(*map(on.create, files))
    created_s = time.perf_counter() - began
    await on.ended({name for name, _ in created})
    completed_s = time.perf_counter() - began
    peak.cancel()
    return Round(
        created_s=created_s,
        completed_s=completed_s,
        create_p95_ms=percentile([ms for _, ms in created], 0.95),
        cpu_s=cpu_of_tree_s(on.pid) - cpu_s,
        peak_mib=max(peaks),
    )


async def _watch_memory(on: System, found: list[float]) -> None:
    while True:
        found.append(memory_of_tree_mib(on.pid))
        await asyncio.sleep(MEMORY_S)
