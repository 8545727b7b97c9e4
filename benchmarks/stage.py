"""The setup of a measurement: the embedded platform, its own simulator, and a client.

Both servers are processes other than the one that measures, except for the platform's activator:
a measurement whose requests must not pass through it uses ``direct_url`` of a function.
"""

import asyncio
import json
import math
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from openai import AsyncOpenAI
from openai.types import Batch

from batch_gateway.local.platform import LocalPlatform, PlatformOptions

CHAT = "/v1/chat/completions"
TERMINAL = frozenset({"completed", "failed", "expired", "cancelled"})
MIB = 1024 * 1024

#: A simulator that answers at once; each figure sets the latency that it needs.
INSTANT = {"ttft_ms": 0, "tpot_ms": 0, "prefill_us_per_token": 0}

#: For thousands of requests from one client.
_PATIENT = httpx.Limits(max_connections=1000, max_keepalive_connections=1000)


@dataclass(frozen=True)
class Model:
    """A running simulator, seen from outside."""

    url: str  # without /v1
    pid: int

    async def configure(self, **changes: Any) -> None:
        """Change fields of its ``Config``."""
        await self._post("/_sim/config", changes)

    async def reset(self) -> None:
        """Forget what has arrived."""
        await self._post("/_sim/reset", {})

    async def arrivals(self, *, since: int = 0) -> list[dict[str, Any]]:
        """The journal's entries after request number ``since``, in order of arrival."""
        async with httpx.AsyncClient(base_url=self.url, timeout=60) as http:
            found = (await http.get("/_sim/requests", params={"since": since})).json()
        assert isinstance(found, list)
        return found

    async def stats(self) -> dict[str, Any]:
        async with httpx.AsyncClient(base_url=self.url, timeout=60) as http:
            found = (await http.get("/_sim/stats")).json()
        assert isinstance(found, dict)
        return found

    async def _post(self, path: str, body: dict[str, Any]) -> None:
        async with httpx.AsyncClient(base_url=self.url, timeout=60) as http:
            (await http.post(path, json=body)).raise_for_status()


@dataclass(frozen=True)
class Stage:
    """A running platform, what it sends its requests to, and a client of its API."""

    platform: LocalPlatform
    model: Model
    client: AsyncOpenAI

    def direct_url(self, service: str) -> str:
        """Where a process of the Service listens, past the activator; one must be running."""
        return f"http://127.0.0.1:{self.platform.ports(service)[0]}"

    async def submit(
        self,
        lines: Iterable[dict[str, Any]] | bytes | Path,
        *,
        endpoint: str = CHAT,
        completion_window: str = "24h",
        **extensions: Any,
    ) -> Batch:
        """Upload the lines and create a batch of them."""
        return await self.create(await self.upload(lines), endpoint, completion_window, extensions)

    async def upload(self, lines: Iterable[dict[str, Any]] | bytes | Path) -> str:
        """The id of a new input file."""
        content = lines if isinstance(lines, bytes | Path) else encoded(lines)
        file = content if isinstance(content, Path) else ("input.jsonl", content)
        return (await self.client.files.create(file=file, purpose="batch")).id

    async def create(
        self,
        input_file_id: str,
        endpoint: str = CHAT,
        completion_window: str = "24h",
        extensions: dict[str, Any] | None = None,
    ) -> Batch:
        return await self.client.batches.create(
            input_file_id=input_file_id,
            endpoint=endpoint,  # type: ignore[arg-type]
            completion_window=completion_window,  # type: ignore[arg-type]
            extra_body=extensions,
        )

    async def ended(self, batch: Batch, *, every_s: float = 0.05, within_s: float = 900) -> Batch:
        """The batch once it has ended, asked for every ``every_s``."""
        async with asyncio.timeout(within_s):
            while batch.status not in TERMINAL:
                await asyncio.sleep(every_s)
                batch = await self.client.batches.retrieve(batch.id)
        return batch

    async def halfway(self, batch: Batch, *, done: int, every_s: float = 0.02) -> Batch:
        """The batch as soon as ``done`` of its lines have results, or it has ended."""
        while batch.status not in TERMINAL and batch.request_counts.completed < done:  # type: ignore[union-attr]
            await asyncio.sleep(every_s)
            batch = await self.client.batches.retrieve(batch.id)
        return batch

    async def results(self, batch: Batch) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Lines of the output and of the error file."""
        found = []
        for name in (batch.output_file_id, batch.error_file_id):
            text = "" if name is None else (await self.client.files.content(name)).text
            found.append([json.loads(line) for line in text.splitlines()])
        return found[0], found[1]


@asynccontextmanager
async def stage(
    *,
    simulator: dict[str, Any] | None = None,
    settings: dict[str, dict[str, Any]] | None = None,
    data: Path | None = None,
    **options: Any,
) -> AsyncIterator[Stage]:
    """Start a simulator and the platform on it.

    ``simulator`` are fields of its command line, on top of ``INSTANT``; ``settings`` groups of the
    gateway's settings; ``options`` further ones of the platform, such as ``speed_up``.
    """
    with TemporaryDirectory(prefix="batch-gateway-stage-") as temporary:
        async with (
            model(**(simulator or {})) as behind,
            LocalPlatform(
                PlatformOptions(
                    port=0,
                    data=data or Path(temporary),
                    inference_url=behind.url,
                    settings=settings or {},
                    **options,
                )
            ) as platform,
            httpx.AsyncClient(limits=_PATIENT, timeout=600) as http,
            AsyncOpenAI(
                base_url=platform.base_url, api_key="any", max_retries=5, http_client=http
            ) as client,
        ):
            yield Stage(platform, behind, client)


@asynccontextmanager
async def model(**options: Any) -> AsyncIterator[Model]:
    """A simulator process; options are those of its command, a list gives one several times."""
    words = [
        word
        for name, given in {**INSTANT, **options}.items()
        for value in (given if isinstance(given, list) else [given])
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]
    async with process(
        [sys.executable, "-m", "batch_gateway.simulator", "--port", "0", *words]
    ) as (
        child,
        line,
    ):
        yield Model(line.split(" at ")[1].split("/v1")[0], child.pid)


@asynccontextmanager
async def process(
    argv: Sequence[str], *, environment: dict[str, str] | None = None
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A server process and the first line that it prints, stopped at the end."""
    child = await asyncio.create_subprocess_exec(
        *argv,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
    )
    try:
        assert child.stdout is not None
        line = (await child.stdout.readline()).decode()
        if not line:
            raise RuntimeError(f"{argv} did not start")
        yield child, line
    finally:
        if child.returncode is None:
            child.send_signal(signal.SIGTERM)
        await child.wait()


def encoded(lines: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def chat_lines(
    count: int, *, model: str = "sim-large", max_tokens: int = 4, body_bytes: int = 0
) -> Iterable[dict[str, Any]]:
    """Chat requests ``line-1`` and so on, each padded to about ``body_bytes`` of text."""
    padding = "word " * (body_bytes // 5)
    for n in range(1, count + 1):
        yield {
            "custom_id": f"line-{n}",
            "method": "POST",
            "url": CHAT,
            "body": {
                "model": model,
                "max_tokens": max_tokens,
                "messages": [{"role": "user", "content": f"Question {n}? {padding}"}],
            },
        }


def input_file(path: Path, *, lines: int, size: int) -> Path:
    """Write a JSONL file of that many lines and, to within a line or two, that many bytes."""
    (sample,) = chat_lines(1)
    padding = max(0, size // lines - len(json.dumps(sample)) - len(str(lines)))
    with path.open("w") as file:
        for line in chat_lines(lines, body_bytes=padding):
            file.write(json.dumps(line) + "\n")
    return path


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that ``share`` of all do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]
