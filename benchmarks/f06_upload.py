"""F6: how fast a file comes in, straight to the API's process, and what memory that takes.

The client writes one prepared form with ``sendfile``, so that it costs as little as a client can;
the two processor cores are the API's and the client's. For comparison the same through the
embedded platform's activator, which a cluster does not have. Down again: ``download_1g``.
"""

import asyncio
import socket
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import httpx
from fixtures.s3 import seaweedfs

from benchmarks.figure import Figure
from benchmarks.processes import forget_peak, memory_mib, peak_mib
from benchmarks.stage import MIB, Stage, input_file, stage

LINES, SIZE = 50_000, 200 * MIB
RUNS = 3
LIMITS = {"max_lines": 1_000_000, "max_file_bytes": 2048 * MIB}
_BEGIN = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="in.jsonl"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n"
)
_END = b"\r\n--b--\r\n"


async def measure() -> Figure:
    with TemporaryDirectory(prefix="batch-gateway-f6-") as folder:
        small = input_file(Path(folder) / "200m.jsonl", lines=LINES, size=SIZE)
        large = input_file(Path(folder) / "1g.jsonl", lines=5 * LINES, size=1024 * MIB)
        values = {f"disk_{name}": value for name, value in (await to(small, large)).items()}
        s3 = Path(folder) / "s3"
        s3.mkdir()
        with seaweedfs(s3) as server:
            found = await to(small, large, files=server.settings)
            values |= {f"s3_{name}": value for name, value in found.items()}
    memory = ("disk_200m_mib", "disk_1g_mib", "s3_200m_mib", "s3_1g_mib", "disk_download_1g_mib")
    return Figure(
        name="F6",
        title="upload of 200 MB (50,000 lines) and of 1 GB",
        values=values,
        mark={"disk_mb_per_s": ">= 250", "s3_mb_per_s": ">= 80", **dict.fromkeys(memory, "<= 40")},
        met=values["disk_mb_per_s"] >= 250
        and values["s3_mb_per_s"] >= 80
        and all(values[name] <= 40 for name in memory),
    )


async def to(small: Path, large: Path, **groups: Any) -> dict[str, float]:
    """What it takes to bring both files into the store that the settings name."""
    async with stage(settings={"api": LIMITS, **groups}, speed_up=0.05) as on:
        (pid,) = on.platform.pids("api")
        direct = on.direct_url("api")
        await upload(direct, small)
        values: dict[str, float] = {}
        seconds, values["200m_mib"], _ = await measured(pid, RUNS, direct, small)
        values["mb_per_s"] = small.stat().st_size / 1e6 / seconds
        values["lines_per_s"] = LINES / seconds
        seconds, values["1g_mib"], name = await measured(pid, 1, direct, large)
        values["1g_mb_per_s"] = large.stat().st_size / 1e6 / seconds
        values |= await download(on, pid, name)
        seconds, _, _ = await measured(pid, 1, on.platform.url, small)
        values["through_activator_mb_per_s"] = small.stat().st_size / 1e6 / seconds
    return values


async def measured(pid: int, runs: int, url: str, path: Path) -> tuple[float, float, str]:
    """Median seconds of some uploads, the process's extra memory at its peak, the last file."""
    forget_peak(pid)
    before = memory_mib(pid)
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        name = await upload(url, path)
        times.append(time.perf_counter() - started)
    return sorted(times)[runs // 2], peak_mib(pid) - before, name


async def upload(url: str, path: Path) -> str:
    """The id of the new file."""
    return await asyncio.to_thread(_upload, url, path)


def _upload(url: str, path: Path) -> str:
    address = urlsplit(url)
    length = len(_BEGIN) + path.stat().st_size + len(_END)
    head = (
        f"POST /v1/files HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {length}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(head.encode() + _BEGIN)
        with path.open("rb") as file:
            connection.sendfile(file)
        connection.sendall(_END)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(answer.decode())
    return answer.partition(b'"id":"')[2].partition(b'"')[0].decode()


async def download(on: Stage, pid: int, name: str) -> dict[str, float]:
    """A whole download, as fast as the client takes it."""
    forget_peak(pid)
    before = memory_mib(pid)
    started = time.perf_counter()
    size = 0
    async with (
        httpx.AsyncClient(base_url=on.direct_url("api"), timeout=600) as http,
        http.stream("GET", f"/v1/files/{name}/content") as answer,
    ):
        async for chunk in answer.aiter_raw():
            size += len(chunk)
    seconds = time.perf_counter() - started
    return {
        "download_1g_mb_per_s": size / 1e6 / seconds,
        "download_1g_mib": peak_mib(pid) - before,
    }
