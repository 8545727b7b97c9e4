"""F18: one batch of a million requests, from the upload to the downloaded output.

``batch-gateway up`` on SQLite is a process of its own, and so is the endpoint, whose processor time
is not counted. For each function, broker, platform and both Redis servers: processor time of all
its processes, and the most memory that they had together (proportional: shared pages count in
parts). What is stored is looked at every few seconds. ``LINES`` in the environment changes the
number of lines.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import msgspec

from benchmarks.compared_systems import PATIENCE_S, Running, gateway
from benchmarks.figure import Figure, Value
from benchmarks.processes import cpu_s, proportional_mib, tree
from benchmarks.stage import CHAT, MIB, TERMINAL, input_file, process

LINES = int(os.environ.get("LINES", "1000000"))
LINE_BYTES = 350
CALLS = 256
POLL_S = 0.5
OBJECTS_S = 5.0
#: The program of a process -> what it is; a function is told by the last of its words.
ROLES = {
    b"batch_gateway.local.broker": "broker",
    b"batch_gateway.local.fork_server": "fork_server",
    b"batch_gateway.web.serve": "",
}


@dataclass
class Watched:
    """What was seen of the whole system; memory and sizes at their highest."""

    peak_mib: float = 0.0
    memory_mib: dict[str, float] = field(default_factory=dict)  # by role
    cpu_s: dict[int, tuple[str, float]] = field(default_factory=dict)  # by process, until now
    before: dict[int, float] = field(default_factory=dict)  # of those that ran at the beginning
    objects: int = 0
    objects_mib: float = 0.0
    database_mib: float = 0.0

    def look(self, on: Running) -> None:
        now: dict[str, float] = {}
        for pid in tree(on.pid):
            with suppress(FileNotFoundError, ProcessLookupError, LookupError):  # it ended just now
                role = _role(pid)
                now[role] = now.get(role, 0.0) + proportional_mib(pid)
                self.cpu_s[pid] = role, cpu_s(pid)
        for role, mib in now.items():
            self.memory_mib[role] = max(mib, self.memory_mib.get(role, 0.0))
        self.peak_mib = max(self.peak_mib, sum(now.values()))

    def begin(self, on: Running) -> None:
        self.before = {pid: cpu_s(pid) for pid in tree(on.pid)}

    def look_at_objects(self, on: Running) -> None:
        sizes = list(_sizes(on.data / "files"))
        self.objects = max(self.objects, len(sizes))
        self.objects_mib = max(self.objects_mib, sum(sizes) / MIB)
        database = sum(path.stat().st_size for path in on.data.glob("metadata.db*"))
        self.database_mib = max(self.database_mib, database / MIB)

    def values(self) -> dict[str, Value]:
        cpu: dict[str, float] = {}
        for pid, (role, seconds) in self.cpu_s.items():
            cpu[role] = cpu.get(role, 0.0) + seconds - self.before.get(pid, 0.0)
        return {
            **{f"{role}_cpu_s": seconds for role, seconds in sorted(cpu.items())},
            **{f"{role}_peak_mib": mib for role, mib in sorted(self.memory_mib.items())},
            "cpu_s_per_1000": 1000 * sum(cpu.values()) / LINES,
            "peak_mib": self.peak_mib,
            "most_objects": self.objects,
            "most_objects_mib": self.objects_mib,
            "database_mib": self.database_mib,
        }


async def measure() -> Figure:
    serving = process([sys.executable, "-m", "benchmarks.endpoint", "0"])
    async with serving as (_, url), gateway(url.strip(), CALLS) as on:
        watched = Watched()
        watched.begin(on)
        async with _watching(on, watched):
            phases = await _done(on)
        return Figure(
            name="F18",
            title=f"one batch of {LINES:,} requests at zero latency, {CALLS} at once",
            values={**phases, **watched.values(), "load": os.getloadavg()[0]},
            mark={"lost": "0", "doubled": "0", "peak_mib": "<= 600"},
            met=not phases["lost"] and not phases["doubled"] and watched.peak_mib <= 600,
        )


async def _done(on: Running) -> dict[str, float]:
    """Seconds of each phase, and lines lost and doubled."""
    seconds: dict[str, float] = {}
    clock = time.monotonic
    async with httpx.AsyncClient(base_url=on.base_url, timeout=PATIENCE_S) as http:
        with TemporaryDirectory(prefix="bench-f18-") as folder:
            path = input_file(Path(folder) / "in.jsonl", lines=LINES, size=LINES * LINE_BYTES)
            began = clock()
            with path.open("rb") as file:
                form = {"purpose": (None, "batch"), "file": ("in.jsonl", file)}
                uploaded = (await http.post("files", files=form)).raise_for_status().json()
            seconds["upload_s"] = clock() - began
        new = {"input_file_id": uploaded["id"], "endpoint": CHAT, "completion_window": "24h"}
        began = clock()
        batch = (await http.post("batches", json=new)).raise_for_status().json()
        for status, name in (
            ("validating", "plan_s"),
            ("in_progress", "execute_s"),
            ("finalizing", "finalize_s"),
        ):
            since = clock()
            while batch["status"] == status:
                await asyncio.sleep(POLL_S)
                batch = (await http.get(f"batches/{batch['id']}")).raise_for_status().json()
            seconds[name] = clock() - since
        assert batch["status"] in TERMINAL, batch
        assert batch["status"] == "completed", batch
        seconds["create_to_completed_s"] = clock() - began
        began = clock()
        lost, doubled = await _checked(http, batch["output_file_id"])
        seconds["download_s"] = clock() - began
    return {**seconds, "lost": lost, "doubled": doubled}


async def _checked(http: httpx.AsyncClient, output: str) -> tuple[int, int]:
    """Lines without a result, and results too many."""
    found, given, rest = set(), 0, b""
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    async with http.stream("GET", f"files/{output}/content") as answer:
        answer.raise_for_status()
        async for chunk in answer.aiter_bytes(MIB):
            *lines, rest = (rest + chunk).split(b"\n")
            given += len(lines)
            found.update(decode(line)["custom_id"] for line in lines)
    assert not rest
    return LINES - len(found), given - len(found)


@asynccontextmanager
async def _watching(on: Running, watched: Watched) -> AsyncIterator[None]:
    async def again(look: Any, every_s: float) -> None:
        while True:
            await asyncio.to_thread(look, on)
            await asyncio.sleep(every_s)

    tasks = [
        asyncio.create_task(again(watched.look, POLL_S)),
        asyncio.create_task(again(watched.look_at_objects, OBJECTS_S)),
    ]
    try:
        yield
    finally:
        watched.look(on)
        for task in tasks:
            task.cancel()


def _role(pid: int) -> str:
    """What a process of the embedded platform is."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    for program, role in ROLES.items():
        if program in words:
            return role or words[-1].decode()
    return "redis" if b"valkey" in words[0] else "platform"


def _sizes(folder: Path) -> Iterator[int]:
    """Sizes of all files below ``folder``."""
    for directory, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                yield (Path(directory) / name).stat().st_size
