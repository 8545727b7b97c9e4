"""``batch-gateway up`` as a process of its own, and what all of its processes cost.

Processor time and memory are those of the whole system: platform, broker, both Redis servers and
all functions. The database is SQLite, or the one that ``METADATA_URL`` names (its server is then
not counted).
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.processes import cpu_s, proportional_mib, tree
from benchmarks.stage import CHAT, TERMINAL, process


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

    async def ended(self, batches: set[str], *, every_s: float = 0.02) -> None:
        """Wait until all batches are completed, asked for by lists of a hundred."""
        while batches:
            await asyncio.sleep(every_s)
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


@asynccontextmanager
async def system(latency_ms: float, **settings: str) -> AsyncIterator[System]:
    """Open while the context is; ``settings`` are environment variables without their prefix."""
    async with AsyncExitStack() as stack:
        data = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-up-"))
        _, url = await stack.enter_async_context(
            process([sys.executable, "-m", "benchmarks.endpoint", str(latency_ms)])
        )
        given = {"QUOTA__BATCHES_PER_HOUR": "0", "QUOTA__UPLOADS_PER_MINUTE": "0", **settings}
        if metadata := os.environ.get("METADATA_URL"):
            given["METADATA__URL"] = metadata
        child, line = await stack.enter_async_context(
            process(
                [
                    *(sys.executable, "-m", "batch_gateway", "up", "--port", "0"),
                    *("--data", str(Path(data) / "up"), "--inference-url", url.strip()),
                ],
                environment={f"BATCH_GATEWAY_{name}": value for name, value in given.items()},
            )
        )
        base = line.rsplit(" ", 1)[1].strip()
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=base, limits=limits, timeout=120)
        )
        yield System(http=http, pid=child.pid)


@dataclass(kw_only=True)
class Usage:
    """What the processes of a system cost while they were watched, by what each of them is."""

    cpu_s: dict[str, float] = field(default_factory=dict)  # processor time
    peak_mib: dict[str, float] = field(default_factory=dict)  # the highest proportional memory
    total_peak_mib: float = 0.0  # of all processes at one time


@asynccontextmanager
async def watched(on: System, *, every_s: float = 0.1) -> AsyncIterator[Usage]:
    """Watch the processes of ``on`` while the context is open; the usage is whole at its end.

    What a process does between the last look at it and its end is not counted.
    """
    usage = Usage()
    names = {pid: name_of(pid, root=on.pid) for pid in tree(on.pid)}
    before = {pid: cpu_s(pid) for pid in names}
    latest = dict(before)

    def look(*, memory: bool) -> None:
        shares: dict[str, float] = {}
        for pid in tree(on.pid):
            try:
                if pid not in names:
                    names[pid] = name_of(pid, root=on.pid)
                latest[pid] = cpu_s(pid)
                if memory:
                    name = names[pid]
                    shares[name] = shares.get(name, 0.0) + proportional_mib(pid)
            except (FileNotFoundError, ProcessLookupError, LookupError):  # it ended just now
                continue
        for name, share in shares.items():
            usage.peak_mib[name] = max(share, usage.peak_mib.get(name, 0.0))
        usage.total_peak_mib = max(usage.total_peak_mib, sum(shares.values()))

    async def keep_looking() -> None:
        while True:
            look(memory=True)
            await asyncio.sleep(every_s)

    looking = asyncio.create_task(keep_looking())
    try:
        yield usage
    finally:
        looking.cancel()
        look(memory=False)
        for pid, seconds in latest.items():
            name = names[pid]
            used = seconds - before.get(pid, 0.0)
            usage.cpu_s[name] = usage.cpu_s.get(name, 0.0) + used


def name_of(pid: int, *, root: int) -> str:
    """What a process of the system is: a function, or a part of the platform."""
    if pid == root:
        return "platform"
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    if "batch_gateway.web.serve" in words:
        return words[words.index("batch_gateway.web.serve") + 1]
    if "batch_gateway.local.fork_server" in words:
        return "fork_server"
    if "batch_gateway.local.broker" in words:
        return "broker"
    return "redis"
