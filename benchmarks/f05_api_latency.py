"""F5: how long the API takes to create, get and list batches when 10,000 of 50 tenants are stored.

One request at a time, as one user feels it, straight to the function's process; and the same with
eight clients at once, each of which does all three in turn. Then a client polls one batch: what the
API's process takes for that.
"""

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from batch_gateway.adapters.sql import open_sql
from batch_gateway.adapters.sql.rows import batch_columns
from batch_gateway.adapters.sql.schema import batches
from batch_gateway.core.ids import FileId, TenantId, batch_id
from batch_gateway.core.model import Batch, BatchStatus
from benchmarks.figure import Figure
from benchmarks.processes import cpu_s
from benchmarks.stage import Stage, percentile, stage

BATCHES, TENANTS = 10_000, 50
ROUNDS, CLIENTS, POLLS = 300, 8, 2000
SECRET = "only-here"
SETTINGS = {
    "auth": {"kind": "trusted-header", "secret": SECRET},
    "quota": {"batches_per_hour": 0},
}
NEW = {
    "input_file_id": "file-none",
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
}

Times = dict[str, list[float]]


async def measure() -> Figure:
    with TemporaryDirectory(prefix="batch-gateway-f5-") as folder:
        known = await fill(Path(folder))
        # Requests past the activator do not keep the function awake: its idle window must be long.
        running = stage(data=Path(folder), settings=SETTINGS, speed_up=0.05)
        async with running as on, clients(on) as http:
            await visit(http, known, rounds=20)
            alone = await visit(http, known, rounds=ROUNDS)
            many: Times = {}
            visits = (visit(http, known, rounds=ROUNDS // CLIENTS) for _ in range(CLIENTS))
            for times in await asyncio.gather(*visits):
                for name, found in times.items():
                    many.setdefault(name, []).extend(found)
            poll_cpu_ms = await poll(http, known, on.platform.pids("api"))
    values = {
        f"{name}_{label}_ms": percentile(times, share)
        for name, times in alone.items()
        for label, share in (("p50", 0.5), ("p99", 0.99))
    }
    values |= {f"{name}_p99_of_8_ms": percentile(times, 0.99) for name, times in many.items()}
    values["poll_cpu_ms"] = poll_cpu_ms
    mark = {f"{name}_p99_ms": 30.0 for name in alone} | {"poll_cpu_ms": 1.5}
    return Figure(
        name="F5",
        title="API latency with 10,000 batches of 50 tenants",
        values=values,
        mark={name: f"<= {most:g}" for name, most in mark.items()},
        met=all(values[name] <= most for name, most in mark.items()),
    )


async def fill(folder: Path) -> dict[str, list[str]]:
    """Store ended batches of many tenants, all at once; the ids of each."""
    url = f"sqlite+aiosqlite:///{folder}/metadata.db"
    await (await open_sql(url, pool_size=1, migrate=True)).close()  # makes the tables
    now = datetime.now(UTC)
    made = [
        Batch(
            id=batch_id(secrets.token_bytes(16)),
            tenant=TenantId(f"tenant-{number % TENANTS}"),
            status=BatchStatus.FAILED,
            endpoint=NEW["endpoint"],
            input_file_id=FileId("file-none"),
            completion_window="24h",
            deadline=now + timedelta(days=1),
            created_at=now - timedelta(seconds=BATCHES - number),
            failed_at=now,
            metadata={"number": str(number)},
        )
        for number in range(BATCHES)
    ]
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.execute(sa.insert(batches), [batch_columns(batch) for batch in made])
    await engine.dispose()
    known: dict[str, list[str]] = {}
    for batch in made:
        known.setdefault(batch.tenant, []).append(batch.id)
    return known


@asynccontextmanager
async def clients(on: Stage) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API's own process."""
    headers = {"x-gateway-secret": SECRET}
    async with httpx.AsyncClient(
        base_url=on.direct_url("api"), headers=headers, timeout=60
    ) as http:
        yield http


async def poll(http: httpx.AsyncClient, known: dict[str, list[str]], pids: Sequence[int]) -> float:
    """Milliseconds of processor time of the API's processes for one status poll."""
    tenant, batches = next(iter(known.items()))
    before = sum(map(cpu_s, pids))
    for _ in range(POLLS):
        headers = {"x-gateway-tenant": tenant}
        (await http.get(f"/v1/batches/{batches[0]}", headers=headers)).raise_for_status()
    return 1000 * (sum(map(cpu_s, pids)) - before) / POLLS


async def visit(http: httpx.AsyncClient, known: dict[str, list[str]], *, rounds: int) -> Times:
    """Milliseconds of each request, by what it does."""
    times: Times = {"create": [], "get": [], "list": []}
    for _ in range(rounds):
        tenant = random.choice([*known])
        own = {"x-gateway-tenant": tenant}
        asked = {
            "create": ("POST", "/v1/batches", {"json": NEW}),
            "get": ("GET", f"/v1/batches/{random.choice(known[tenant])}", {}),
            "list": ("GET", "/v1/batches", {"params": {"limit": 20}}),
        }
        for name, (method, path, options) in asked.items():
            started = time.perf_counter()
            answer = await http.request(method, path, headers=own, **options)  # type: ignore[arg-type]
            times[name].append((time.perf_counter() - started) * 1000)
            answer.raise_for_status()
    return times
