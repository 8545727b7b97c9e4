"""``python -m chaos.load``: overload by concurrent requests, over loopback only.

Refusals are fine when they are fair: 429 or 503 that say when to come back. What was accepted is
there afterwards, memory is bounded, and the service answers as before once it is over. Service,
model and clients are processes of their own. A wave ends after ``--minutes`` at the latest; what is
not answered by then counts as wrong.
``--share`` scales all counts; 1 is what ``docs/figures.md`` tells of.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import httpx
from benchmarks.processes import memory_mib, tree
from benchmarks.stage import CHAT, Model, chat_lines, encoded, model, process

WAVES = ("uploads", "slow_connections", "downloads", "creates")
_REFUSED = (429, 503)
#: A pod serves 80 requests at once (containerConcurrency), each download with a chunk or two of
#: 1 MiB; its limit is 1 GiB.
_GROWTH_MIB = 300.0
_LINES = 20


@dataclass
class Wave:
    """What became of the requests of one kind."""

    name: str
    asked: int
    statuses: Counter[int | str] = field(default_factory=Counter)
    accepted: list[str] = field(default_factory=list)  # ids
    unfair: int = 0  # refusals that do not say when to come back
    seconds: float = 0.0
    growth_mib: float = 0.0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.asked} in {self.seconds:.1f} s, {dict(self.statuses)}, "
            f"memory of the API +{self.growth_mib:.0f} MiB"
        )


@dataclass(frozen=True)
class Service:
    """A running ``batch-gateway up``."""

    base_url: str
    pid: int
    model: Model

    def api_pids(self) -> list[int]:
        """The processes of the API."""
        return [pid for pid in tree(self.pid) if _command(pid)[-2:] == _API]


#: The hourly rate would refuse all but 2,000 creates; a tenant may have 10,000 open batches.
_NO_RATES = {"BATCH_GATEWAY_QUOTA__BATCHES_PER_HOUR": "0"}
_API = [b"batch_gateway.web.serve", b"api"]


def _command(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:  # it ended just now
        return []


@asynccontextmanager
async def service() -> AsyncIterator[Service]:
    with TemporaryDirectory(prefix="batch-gateway-load-") as data:
        async with model(slots=64) as behind:
            words = ["--port", "0", "--data", data, "--inference-url", behind.url]
            up = [sys.executable, "-m", "batch_gateway", "up", *words, "--speed-up", "10", "--json"]
            async with process(up, environment=_NO_RATES) as (child, line):
                yield Service(json.loads(line)["url"], child.pid, behind)


class Load:
    def __init__(self, on: Service, share: float, within_s: float) -> None:
        """A wave takes ``within_s`` at most."""
        self._on = on
        self._share = share
        self._within_s = within_s
        self._file = ""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=200)
        self._http = httpx.AsyncClient(
            base_url=on.base_url, limits=limits, timeout=within_s, trust_env=False
        )

    def _count(self, full: int) -> int:
        return max(2, round(full * self._share))

    async def run(self, names: Sequence[str]) -> list[Wave]:
        self._file = await self._upload(encoded(chat_lines(_LINES)))
        waves = []
        for name in names:
            waves.append(await getattr(self, name)())
            print(waves[-1], flush=True)
        await self._http.aclose()
        return waves

    async def _upload(self, content: bytes) -> str:
        form = {"purpose": (None, b"batch"), "file": ("in.jsonl", content)}
        answer = (await self._http.post("files", files=form)).raise_for_status()
        name: str = answer.json()["id"]
        return name

    async def uploads(self) -> Wave:
        """All at once, of 64 KiB."""
        content = encoded(chat_lines(_LINES, body_bytes=3 * 1024))
        form = {"purpose": (None, b"batch"), "file": ("in.jsonl", content)}
        wave = Wave("uploads at once", self._count(500))
        await self._wave(wave, lambda: self._http.post("files", files=form), wave.asked)
        await self._kept(wave, "files")
        return wave

    async def creates(self) -> Wave:
        """As fast as 200 clients can; the batches stay open, because their model is slow."""
        await self._on.model.configure(ttft_ms=60_000)
        body = {"input_file_id": self._file, "endpoint": CHAT, "completion_window": "24h"}
        wave = Wave("creates by 200 clients", self._count(10_000))
        await self._wave(wave, lambda: self._http.post("batches", json=body), 200)
        await self._kept(wave, "batches")
        started = time.monotonic()
        listed = await self._http.get("batches", params={"limit": 100})
        took = time.monotonic() - started
        if listed.status_code != 200 or took > 10:
            wave.problems.append(f"a listing then: {listed.status_code} after {took:.1f} s")
        return wave

    async def slow_connections(self) -> Wave:
        """Connections that send a byte a second; others must not feel them."""
        wave = Wave("slow connections", self._count(200))
        where = urlsplit(self._on.base_url)
        head = (
            b"POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x"
        )

        async def slow() -> None:
            reader, writer = await asyncio.open_connection(where.hostname, where.port)
            try:
                for byte in head:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(1)
                await reader.read()
            finally:
                writer.close()

        open_ones = [asyncio.create_task(slow()) for _ in range(wave.asked)]
        try:
            await self._wave(wave, lambda: self._http.get(f"files/{self._file}"), 1, asked=20)
        finally:
            for one in open_ones:
                one.cancel()
            await asyncio.gather(*open_ones, return_exceptions=True)
        if wave.statuses[200] != 20:
            wave.problems.append("others were not answered")
        return wave

    async def downloads(self) -> Wave:
        """Of one file of 8 MiB, all at once."""
        content = encoded(chat_lines(2_000, body_bytes=4 * 1024))
        name = await self._upload(content)
        wave = Wave("downloads at once", self._count(200))

        async def download() -> httpx.Response:
            async with self._http.stream("GET", f"files/{name}/content") as answer:
                size = 0
                async for chunk in answer.aiter_bytes():
                    size += len(chunk)
            if answer.status_code == 200 and size != len(content):
                wave.problems.append(f"{size} of {len(content)} bytes were sent")
            return answer

        await self._wave(wave, download, wave.asked)
        return wave

    async def _wave(
        self,
        wave: Wave,
        ask: Callable[[], Awaitable[httpx.Response]],
        at_once: int,
        *,
        asked: int | None = None,
    ) -> None:
        places = asyncio.Semaphore(at_once)

        async def one() -> None:
            async with places:
                try:
                    answer = await ask()
                except httpx.HTTPError as error:
                    wave.statuses[type(error).__name__] += 1
                    return
            wave.statuses[answer.status_code] += 1
            if answer.status_code in _REFUSED and "retry-after" not in answer.headers:
                wave.unfair += 1
            if answer.status_code == 200 and answer.request.method == "POST":
                wave.accepted.append(answer.json()["id"])

        async with _memory(self._on, wave):
            started = time.monotonic()
            asking = [asyncio.create_task(one()) for _ in range(asked or wave.asked)]
            _, late = await asyncio.wait(asking, timeout=self._within_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            wave.seconds = time.monotonic() - started
        if late:
            wave.problems.append(f"{len(late)} are not answered after {wave.seconds:.0f} s")
        if wave.unfair:
            wave.problems.append(f"{wave.unfair} refusals without Retry-After")
        if others := wave.statuses.keys() - {200, *_REFUSED}:
            wave.problems.append(f"answered {sorted(map(str, others))}")
        if wave.growth_mib > _GROWTH_MIB:
            wave.problems.append(f"the API grew by {wave.growth_mib:.0f} MiB")

    async def _kept(self, wave: Wave, kind: str) -> None:
        """Look at each thing that was accepted."""
        places, lost = asyncio.Semaphore(20), 0

        async def there(name: str) -> None:
            nonlocal lost
            async with places:
                lost += (await self._http.get(f"{kind}/{name}")).status_code != 200

        await asyncio.gather(*(there(name) for name in wave.accepted))
        if lost:
            wave.problems.append(f"{lost} of {len(wave.accepted)} that were accepted are lost")


@asynccontextmanager
async def _memory(on: Service, wave: Wave) -> AsyncIterator[None]:
    """Measure how much the largest process of the API grows meanwhile."""
    before: dict[int, float] = {}

    async def look() -> None:
        while True:
            for pid in on.api_pids():
                with suppress(OSError, LookupError):
                    now = memory_mib(pid)
                    wave.growth_mib = max(wave.growth_mib, now - before.setdefault(pid, now))
            await asyncio.sleep(0.1)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()


async def play(share: float, names: Sequence[str], within_s: float) -> int:
    async with service() as on:
        waves = await Load(on, share, within_s).run(names)
        problems = [f"{wave.name}: {problem}" for wave in waves for problem in wave.problems]
    for problem in problems:
        print(f"WRONG: {problem}", flush=True)
    return int(bool(problems))


def main() -> int:
    parser = argparse.ArgumentParser(prog="chaos.load", description=__doc__)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--minutes", type=float, default=15, help="that a wave may take at most")
    parser.add_argument("waves", nargs="*", default=WAVES, metavar="WAVE", help=", ".join(WAVES))
    given = parser.parse_args()
    return asyncio.run(play(given.share, given.waves, 60 * given.minutes))


if __name__ == "__main__":
    sys.exit(main())
