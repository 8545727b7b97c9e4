"""Stores, an endpoint and executors of one benchmark, each server in a process of its own.

For figures that measure executors and not the way a batch comes to them: batches are put into the
stores and planned here, and then executor processes work until nothing is left.
"""

import asyncio
import json
import os
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from batch_gateway.core.events import EventType, internal_event
from batch_gateway.core.ids import TenantId, batch_id, file_id
from batch_gateway.core.layout import file_key
from batch_gateway.core.model import Batch, BatchStatus, File
from batch_gateway.local.configuration import Groups, local_defaults, variables
from batch_gateway.local.servers import ValkeyServer
from batch_gateway.settings import Settings
from batch_gateway.wiring.planner import make_planner
from batch_gateway.wiring.runtime import FunctionRuntime, open_runtime
from benchmarks.stage import CHAT, encoded, process


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one executor process did."""

    cpu_s: float
    wall_s: float
    redis: int  # round trips
    writes: int  # transactions that wrote to the database


@dataclass(frozen=True, kw_only=True)
class Workshop:
    runtime: FunctionRuntime
    environment: dict[str, str]  # of the executor processes
    endpoint: str  # URL of the model
    endpoint_pid: int
    scratch_url: str

    async def submit(
        self, lines: Iterable[dict[str, Any]], *, tenant: str = "t", window: timedelta | None = None
    ) -> Batch:
        """A batch that is planned and queued."""
        content = encoded(lines)
        runtime, now = self.runtime, self.runtime.clock.now()
        name = file_id(secrets.token_bytes(12))
        await runtime.files.put(file_key(name), content)
        await runtime.metadata.files.add(
            File(
                id=name,
                tenant=TenantId(tenant),
                purpose="batch",
                filename="input.jsonl",
                size=len(content),
                lines=content.count(b"\n"),
                sha256="",
                key=file_key(name),
                created_at=now,
                expires_at=None,
            )
        )
        batch = Batch(
            id=batch_id(secrets.token_bytes(16)),
            tenant=TenantId(tenant),
            status=BatchStatus.VALIDATING,
            endpoint=CHAT,
            input_file_id=name,
            completion_window="24h",
            deadline=now + (window or timedelta(hours=24)),
            created_at=now,
        )
        await runtime.metadata.batches.create(
            batch, [internal_event(EventType.BATCH_CREATED, batch.id)]
        )
        await make_planner(runtime).plan(batch.id)
        return await self.reload(batch)

    async def reload(self, batch: Batch) -> Batch:
        found = await self.runtime.metadata.batches.load(batch.id)
        assert found is not None
        return found

    async def work(self, *, profile: Path | None = None) -> Work:
        """One activation in a process of its own."""
        words = [
            sys.executable,
            "-m",
            "benchmarks.one_activation",
            *([str(profile)] if profile else []),
        ]
        process = await asyncio.create_subprocess_exec(
            *words, env=self.environment, stdout=asyncio.subprocess.PIPE
        )
        try:
            said, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode:
            raise ChildProcessError(f"an activation ended with {process.returncode}")
        return Work(**json.loads(said))


@asynccontextmanager
async def workshop(latency_ms: float, settings: Groups) -> AsyncIterator[Workshop]:
    """Open while the context is; ``settings`` by group and field, as in a configuration file."""
    async with AsyncExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        (data / "secrets").mkdir()
        (data / "scratch").mkdir()
        valkey = ValkeyServer("scratch", data / "valkey", data / "valkey.log", durable=False)
        await valkey.server.start()
        stack.push_async_callback(valkey.server.stop)
        model, url = await stack.enter_async_context(
            process([sys.executable, "-m", "benchmarks.endpoint", str(latency_ms)])
        )
        url = url.strip()
        environment = {
            **os.environ,
            **local_defaults(data, scratch_url=valkey.url),
            **variables(
                {"inference": {"url": url}, "events": {"sink": url}, "log": {"level": "warning"}}
            ),
            **variables(settings),
        }
        stack.callback(_restore, dict(os.environ))
        os.environ.update(environment)  # where Settings reads
        runtime = await stack.enter_async_context(open_runtime(Settings()))
        yield Workshop(
            runtime=runtime,
            environment=environment,
            endpoint=url,
            endpoint_pid=model.pid,
            scratch_url=valkey.url,
        )


def _restore(environment: dict[str, str]) -> None:
    """Give this process its environment back: what is started later is no part of the workshop."""
    os.environ.clear()
    os.environ.update(environment)
