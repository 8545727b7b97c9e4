"""F17: bursts of small batches, from the first request that creates one until all are completed.

``batch-gateway up`` is a process of its own; its processor time and memory are those of the whole
system: platform, broker, Redis and all functions, those that have ended included. Input files are
uploaded before. Warm: one burst of the same size has passed, and its functions still run. The
database is SQLite, or the one that ``METADATA_URL`` names (its server is then not counted).
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx

from benchmarks.figure import Figure
from benchmarks.processes import cpu_of_tree_s, memory_of_tree_mib
from benchmarks.stage import CHAT, TERMINAL, chat_lines, encoded, percentile, process

LATENCY_MS = 50
FROM_ZERO = 3
POLL_S = 0.02
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


@dataclass(frozen=True, kw_only=True)
class System:
    """A running system and a client of its API."""

    http: httpx.AsyncClient
    pid: int  # of ``up``

    async def upload(self, content: bytes) -> str:
        answer = await self.http.post(
            "/files", data={"purpose": "batch"}, files={"file": ("burst.jsonl", content)}
        )
        answer.raise_for_status()
        return str(answer.json()["id"])

    async def create(self, file: str) -> tuple[str, float]:
        """The id of a new batch, and how long the answer took in ms."""
        began = time.perf_counter()
        answer = await self.http.post(
            "/batches",
            json={"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"},
        )
        answer.raise_for_status()
        return str(answer.json()["id"]), (time.perf_counter() - began) * 1000

    async def ended(self, batches: set[str]) -> None:
        """Wait until all batches are completed, asked for by lists of a hundred."""
        while batches:
            await asyncio.sleep(POLL_S)
            after = None
            while True:
                query = {"limit": 100, **({"after": after} if after else {})}
                page = (await self.http.get("/batches", params=query)).raise_for_status().json()
                for batch in page["data"]:
                    if batch["id"] in batches and batch["status"] in TERMINAL:
                        assert batch["status"] == "completed", batch
                        batches.discard(batch["id"])
                after = page.get("last_id")
                if not page["has_more"] or not batches:
                    break


async def measure() -> Figure:
    async with system() as on:
        warm = {}
        for burst in BURSTS:
            await run(on, burst)
            warm[burst] = [await run(on, burst) for _ in range(burst.rounds)]
    from_zero = []
    for _ in range(FROM_ZERO):
        async with system() as on:
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


@asynccontextmanager
async def system() -> AsyncIterator[System]:
    async with AsyncExitStack() as stack:
        data = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-f17-"))
        _, url = await stack.enter_async_context(
            process([sys.executable, "-m", "benchmarks.endpoint", str(LATENCY_MS)])
        )
        environment = {
            "BATCH_GATEWAY_QUOTA__BATCHES_PER_HOUR": "0",
            "BATCH_GATEWAY_QUOTA__UPLOADS_PER_MINUTE": "0",
        }
        if metadata := os.environ.get("METADATA_URL"):
            environment["BATCH_GATEWAY_METADATA__URL"] = metadata
        child, line = await stack.enter_async_context(
            process(
                [
                    *(sys.executable, "-m", "batch_gateway", "up", "--port", "0"),
                    *("--data", str(Path(data) / "up"), "--inference-url", url.strip()),
                ],
                environment=environment,
            )
        )
        base = line.rsplit(" ", 1)[1].strip()
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=base, limits=limits, timeout=120)
        )
        yield System(http=http, pid=child.pid)
