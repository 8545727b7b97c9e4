"""F16: a very large input: uploaded in parts, completed with its MD5, and planned in a dry run.

1 GiB by default, and ``make bench F=F16 LARGE_GIB=8`` for as much as OpenAI's uploads take: 10
million lines then. That takes some minutes and, with S3, disk for four times the input. Parts of
64 MiB go to the API's process four at a time; memory is what a function's process has at its peak
beyond what it had when it was idle. The S3 store holds a dozen parts of 6 MiB for four uploads.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from fixtures.s3 import seaweedfs
from openai import AsyncOpenAI

from benchmarks.figure import Figure
from benchmarks.processes import forget_peak, memory_mib, peak_mib
from benchmarks.stage import CHAT, MIB, Stage, chat_lines, stage

GIB = 1024 * MIB
PART = 64 * MIB
LINES_OF_A_GIB = 1_250_000
AT_ONCE = 4  # parts
FUNCTIONS = ("api", "planner")
ROOM = {"max_lines": 10_000_000, "max_file_bytes": 8 * GIB}


async def measure() -> Figure:
    gib = int(os.environ.get("LARGE_GIB", "1"))
    lines, size = gib * LINES_OF_A_GIB, gib * GIB
    with TemporaryDirectory(prefix="batch-gateway-f16-") as folder:
        values = {f"disk_{k}": v for k, v in (await to(lines, size, Path(folder))).items()}
        s3 = Path(folder) / "s3"
        s3.mkdir()
        with seaweedfs(s3, gib=4 * gib + 4) as server:
            found = await to(lines, size, Path(folder), files=server.settings)
            values |= {f"s3_{name}": value for name, value in found.items()}
    mark = {
        f"{store}_{function}_mib": f"<= {most}"
        for store in ("disk", "s3")
        for function, most in (("api", 130), ("planner", 400))
    }
    return Figure(
        name="F16",
        title=f"an input of {gib} GiB and {lines:,} lines",
        values=values,
        mark=mark,
        met=all(values[name] <= int(most.removeprefix("<= ")) for name, most in mark.items()),
    )


async def to(lines: int, size: int, folder: Path, **groups: Any) -> dict[str, float]:
    """What it takes to bring such a file into the store that the settings name, and to plan it."""
    with TemporaryDirectory(dir=folder) as data:
        settings = {"api": ROOM, **groups}
        async with stage(settings=settings, data=Path(data), speed_up=0.05) as on:
            await plan(on, await on.upload(chat_lines(10)))  # so that both functions run
            async with peaks(on) as highest:
                values = await upload(on, lines, size)
                name = values.pop("file")
                started = time.perf_counter()
                await plan(on, name, total=lines)
                values["plan_s"] = time.perf_counter() - started
            values |= {f"{function}_mib": peak for function, peak in highest.items()}
    return values


async def upload(on: Stage, lines: int, size: int) -> dict[str, Any]:
    """Upload the file in parts; seconds of it, and the file's id."""
    async with (
        httpx.AsyncClient(timeout=600) as http,
        AsyncOpenAI(
            base_url=f"{on.direct_url('api')}/v1", api_key="any", max_retries=0, http_client=http
        ) as client,
    ):
        begun = await client.uploads.create(
            bytes=size, filename="in.jsonl", mime_type="application/jsonl", purpose="batch"
        )
        started = time.perf_counter()
        md5 = hashlib.md5(usedforsecurity=False)
        ids: dict[int, str] = {}
        places = asyncio.Semaphore(AT_ONCE)

        async def send(number: int, content: bytes) -> None:
            try:
                part = await client.uploads.parts.create(begun.id, data=content)
                ids[number] = part.id
            finally:
                places.release()

        made = parts(lines, size)
        async with asyncio.TaskGroup() as group:
            for number in range(-(-size // PART)):
                await places.acquire()
                content = await asyncio.to_thread(next, made)
                await asyncio.to_thread(md5.update, content)
                group.create_task(send(number, content))
        sent = time.perf_counter()
        done = await client.uploads.complete(
            begun.id, part_ids=[ids[number] for number in sorted(ids)], md5=md5.hexdigest()
        )
        assert done.file is not None, done
        assert done.file.bytes == size, done
        completed = time.perf_counter()
    return {
        "parts_s": sent - started,
        "parts_mb_per_s": size / 1e6 / (sent - started),
        "complete_s": completed - sent,
        "file": done.file.id,
    }


def parts(lines: int, size: int) -> Iterator[bytes]:
    """A file of that many lines and exactly that many bytes, cut into parts."""
    head = (
        b'{"custom_id":"line-%d","method":"POST","url":"/v1/chat/completions","body":{"model":'
        b'"sim-large","max_tokens":4,"messages":[{"role":"user","content":"Question %d? '
    )
    tail = b'"}]}}\n'
    padding = b"word " * (2 * size // lines // 5)
    part = bytearray()
    for number in range(1, lines + 1):
        begin = head % (number, number)
        length = size * number // lines - size * (number - 1) // lines
        part += begin + padding[: length - len(begin) - len(tail)] + tail
        if len(part) >= PART:
            yield bytes(part[:PART])
            del part[:PART]
    if part:
        yield bytes(part)


async def plan(on: Stage, file: str, *, total: int = 10) -> None:
    """Plan the file in a dry run."""
    batch = await on.create(file, CHAT, "24h", {"dry_run": True})
    batch = await on.ended(batch, every_s=0.5, within_s=3600)
    assert batch.status == "completed", batch
    assert batch.request_counts is not None, batch
    assert batch.request_counts.total == total, batch


@asynccontextmanager
async def peaks(on: Stage) -> AsyncIterator[dict[str, float]]:
    """By function, the most MiB that a process of it had beyond what was there at the beginning."""
    before: dict[int, float] = {}
    highest = dict.fromkeys(FUNCTIONS, 0.0)

    def look() -> None:
        for function in FUNCTIONS:
            for pid in on.platform.pids(function):
                idle = before.setdefault(pid, memory_mib(pid))
                highest[function] = max(highest[function], peak_mib(pid) - idle)

    async def watch() -> None:
        while True:
            look()
            await asyncio.sleep(0.5)

    for function in FUNCTIONS:
        for pid in on.platform.pids(function):
            forget_peak(pid)
    watching = asyncio.create_task(watch())
    try:
        yield highest
    finally:
        watching.cancel()
        look()
