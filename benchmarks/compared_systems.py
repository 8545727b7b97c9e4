"""Systems that ``make compare`` runs: the naive loop, this gateway, and rivals by their URL.

Each gets the same file and sends its lines to the same endpoint. What came of it is judged from
outside: by the client, by the endpoint's journal, and by what Linux says of the processes.
"""

import asyncio
import hashlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import httpx

from benchmarks.processes import cpu_of_tree_s, memory_of_tree_mib
from benchmarks.recording_endpoint import MODEL
from benchmarks.stage import CHAT, TERMINAL, process

POLL_S = 0.05
MEMORY_S = 0.2
PATIENCE_S = 3600.0
WARM = 100  # lines of the batch before one that is measured


@dataclass(frozen=True, kw_only=True)
class Work:
    """One batch: so many lines, each answered after the same time, so many calls at once."""

    lines: int = 10_000
    latency_ms: float = 0.0
    body_bytes: int = 2000
    calls: int = 256

    @property
    def ideal_s(self) -> float:
        return self.lines * self.latency_ms / 1000 / self.calls

    def requests(self) -> Iterator[tuple[str, bytes]]:
        """custom_id and body of each line.

        The bodies are valid JSON that changes when it is parsed and written again: spaces, an
        escaped letter, 1.0, and an integer that no float holds.
        """
        padding = "word " * (self.body_bytes // 5)
        for number in range(1, self.lines + 1):
            text = f"Question {number}? caf\\u00e9 {padding}"
            body = (
                f'{{ "model":"{MODEL}","max_tokens": 4,"temperature":1.0,"seed":9007199254740993,'
                f'"messages":[{{"role":"user","content":"{text}"}}] }}'
            )
            yield f"line-{number}", body.encode()

    def write(self, path: Path) -> None:
        with path.open("wb") as file:
            for name, body in self.requests():
                head = f'{{"custom_id":"{name}","method":"POST","url":"{CHAT}","body":'
                file.write(head.encode() + body + b"}\n")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one batch. None: there is no such thing, or it was not measured."""

    makespan_s: float  # from the request that creates the batch until it is seen to be completed
    upload_s: float | None = None
    first_request_s: float | None = None  # from the same moment until the endpoint got a request
    efficiency: float | None = None
    cpu_s_per_1000: float | None = None
    peak_mib: float | None = None
    lost: int = 0  # lines without a result
    doubled: int = 0  # results too many
    failed: int = 0  # results that are not an answer of 200
    sent_again: int = 0  # of the endpoint's requests
    bytes_kept: float = 0.0  # share of the bodies that arrived byte for byte
    in_order: bool = False  # results in the order of the input


class System(Protocol):
    @property
    def name(self) -> str: ...

    async def run(self, work: Work, path: Path, endpoint: "Endpoint") -> Outcome:
        """Let the lines of ``path`` be done. Raises RuntimeError when that cannot be."""
        ...


@dataclass(frozen=True)
class Endpoint:
    """The running ``benchmarks.recording_endpoint``."""

    url: str

    async def forget(self) -> None:
        async with httpx.AsyncClient(base_url=self.url, timeout=60) as http:
            (await http.post("/_forget")).raise_for_status()

    async def seen(self) -> dict[str, Any]:
        async with httpx.AsyncClient(base_url=self.url, timeout=60) as http:
            found = (await http.get("/_seen")).raise_for_status().json()
        assert isinstance(found, dict)
        return found


@asynccontextmanager
async def endpoint(port: int, latency_ms: float) -> AsyncIterator[Endpoint]:
    words = [sys.executable, "-m", "benchmarks.recording_endpoint", str(port), str(latency_ms)]
    async with process(words) as (_, line):
        yield Endpoint(line.strip())


class NaiveLoop:
    """``benchmarks.naive_loop``: what one writes by hand."""

    name = "naive loop"

    async def run(self, work: Work, path: Path, endpoint: Endpoint) -> Outcome:
        words = [sys.executable, "-m", "benchmarks.naive_loop", endpoint.url, str(path)]
        began = time.monotonic()
        child = await asyncio.create_subprocess_exec(
            *words, str(work.calls), stdout=asyncio.subprocess.PIPE
        )
        async with peak_memory([child.pid]) as peak:
            said, _ = await child.communicate()
        took = time.monotonic() - began
        if child.returncode:
            raise RuntimeError(f"the naive loop ended with {child.returncode}")
        output = path.with_suffix(".out").read_bytes()
        found = judged(work, [output], await endpoint.seen(), began)
        return replace(
            found,
            makespan_s=took,
            efficiency=work.ideal_s / took if work.ideal_s else None,
            cpu_s_per_1000=1000 * json.loads(said)["cpu_s"] / work.lines,
            peak_mib=peak[0],
        )


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A running service with OpenAI's Files and Batches APIs at ``base_url`` (with /v1).

    ``pids``: of its processes, whose descendants count too; none: CPU and memory are not measured.
    """

    name: str
    base_url: str
    pids: Sequence[int] = ()
    api_key: str = "any"

    async def run(self, work: Work, path: Path, endpoint: Endpoint) -> Outcome:
        """A small batch goes before: functions are up, connections open."""
        headers = {"authorization": f"Bearer {self.api_key}"}
        async with httpx.AsyncClient(
            base_url=self.base_url, headers=headers, timeout=PATIENCE_S, trust_env=False
        ) as http:
            with TemporaryDirectory(prefix="compare-") as folder:
                few = replace(work, lines=min(WARM, work.lines))
                few.write(warm := Path(folder) / "warm.jsonl")
                await _completed(http, await _create(http, await _upload(http, warm)))
            if not (await endpoint.seen())["lines"]:
                raise RuntimeError(f"{self.name} does not send its requests to {endpoint.url}")
            await endpoint.forget()
            return await self._measured(work, path, endpoint, http)

    async def _measured(
        self, work: Work, path: Path, endpoint: Endpoint, http: httpx.AsyncClient
    ) -> Outcome:
        cpu_s = self._cpu_s()
        async with peak_memory(self.pids) as peak:
            began = time.monotonic()
            file = await _upload(http, path)
            uploaded_s = time.monotonic() - began
            began = time.monotonic()
            batch = await _completed(http, await _create(http, file))
            took = time.monotonic() - began
        cpu_s = self._cpu_s() - cpu_s
        files = [
            (await http.get(f"files/{name}/content")).raise_for_status().content
            for name in (batch.get("output_file_id"), batch.get("error_file_id"))
            if name
        ]
        return replace(
            judged(work, files, await endpoint.seen(), began),
            makespan_s=took,
            upload_s=uploaded_s,
            efficiency=work.ideal_s / took if work.ideal_s else None,
            cpu_s_per_1000=1000 * cpu_s / work.lines if self.pids else None,
            peak_mib=peak[0] if self.pids else None,
        )

    def _cpu_s(self) -> float:
        return sum(cpu_of_tree_s(pid) for pid in self.pids)


class ThisGateway:
    """``batch-gateway up`` of this checkout, on SQLite or the database that METADATA_URL names
    (whose server is then not counted). It is started for each batch and stopped afterwards."""

    name = "this gateway"

    async def run(self, work: Work, path: Path, endpoint: Endpoint) -> Outcome:
        async with gateway(endpoint.url, work.calls) as running:
            rival = Rival(name=self.name, base_url=running.base_url, pids=[running.pid])
            return await rival.run(work, path, endpoint)


@dataclass(frozen=True, kw_only=True)
class Running:
    """A running ``batch-gateway up``."""

    base_url: str
    pid: int
    data: Path


@asynccontextmanager
async def gateway(url: str, calls: int) -> AsyncIterator[Running]:
    """A service that makes ``calls`` at once to ``url``, and takes files of any size."""
    environment = {
        "BATCH_GATEWAY_LIMITS__START": str(calls),
        "BATCH_GATEWAY_LIMITS__CEILING": str(calls),
        "BATCH_GATEWAY_API__MAX_LINES": "10000000",
        "BATCH_GATEWAY_API__MAX_FILE_BYTES": str(8 * 1024**3),
    }
    if metadata := os.environ.get("METADATA_URL"):
        environment["BATCH_GATEWAY_METADATA__URL"] = metadata
    async with AsyncExitStack() as stack:
        data = stack.enter_context(TemporaryDirectory(prefix="compare-"))
        words = ["up", "--port", "0", "--data", data, "--inference-url", url, "--json"]
        child, line = await stack.enter_async_context(
            process([sys.executable, "-m", "batch_gateway", *words], environment=environment)
        )
        base_url = f"{json.loads(line)['url'].rstrip('/')}/"
        yield Running(base_url=base_url, pid=child.pid, data=Path(data))


def judged(work: Work, files: Sequence[bytes], seen: Mapping[str, Any], began: float) -> Outcome:
    """What files of result lines and the endpoint's journal show."""
    place = {name: number for number, (name, _) in enumerate(work.requests())}
    found = [[json.loads(line) for line in results.splitlines()] for results in files]
    places = [[place.get(one["custom_id"], -1) for one in lines] for lines in found]
    of_lines = Counter(one["custom_id"] for lines in found for one in lines)
    arrived = set(seen["bodies"])
    kept = sum(hashlib.sha256(body).hexdigest() in arrived for _, body in work.requests())
    return Outcome(
        makespan_s=0.0,
        first_request_s=None if seen["first_at"] is None else seen["first_at"] - began,
        lost=sum(name not in of_lines for name in place),
        doubled=of_lines.total() - len(of_lines),
        failed=sum(
            (one.get("response") or {}).get("status_code") != 200
            for lines in found
            for one in lines
        ),
        sent_again=sum(times - 1 for times in seen["lines"].values()),
        bytes_kept=kept / work.lines,
        in_order=all(of_file == sorted(of_file) for of_file in places),
    )


@asynccontextmanager
async def peak_memory(pids: Sequence[int]) -> AsyncIterator[list[float]]:
    """The highest proportional memory of the processes and their descendants, in MiB."""
    highest = [0.0]

    async def watch() -> None:
        while True:
            with suppress(FileNotFoundError, ProcessLookupError):  # one ended just now
                highest[0] = max(highest[0], sum(map(memory_of_tree_mib, pids)))
            await asyncio.sleep(MEMORY_S)

    watching = asyncio.create_task(watch())
    try:
        yield highest
    finally:
        watching.cancel()


async def _upload(http: httpx.AsyncClient, path: Path) -> str:
    with path.open("rb") as file:
        form = {"purpose": (None, "batch"), "file": ("input.jsonl", file)}
        return str(_json(await http.post("files", files=form))["id"])


async def _create(http: httpx.AsyncClient, file: str) -> dict[str, Any]:
    new = {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"}
    return _json(await http.post("batches", json=new))


async def _completed(http: httpx.AsyncClient, batch: dict[str, Any]) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        while batch["status"] not in TERMINAL:
            await asyncio.sleep(POLL_S)
            batch = _json(await http.get(f"batches/{batch['id']}"))
    if batch["status"] != "completed":
        raise RuntimeError(f"a batch of {http.base_url} has {batch['status']}: {batch}")
    return batch


def _json(answer: httpx.Response) -> dict[str, Any]:
    if answer.is_error:
        raise RuntimeError(f"{answer.request.url} answered {answer.status_code}: {answer.text}")
    found = answer.json()
    assert isinstance(found, dict)
    return found
