"""F19: what a claim, a sweep and the service's state cost beside 10,000 open batches.

They are those of 200 tenants; each has five shards that wait. The same with a tenth of the batches
shows what grows. On SQLite and on PostgreSQL; processor time is that of this process (SQLite
included), of Redis and of PostgreSQL. ``BATCHES`` in the environment changes the larger number.
"""

import os
import secrets
from datetime import timedelta

from batch_gateway.core.ids import ActivationId
from batch_gateway.local.configuration import Groups
from batch_gateway.services.maintenance.rebuild import ensure_generation
from batch_gateway.services.state_snapshot import StateReader
from batch_gateway.wiring.janitor import make_janitor
from benchmarks.databases import KINDS, Database, database, redis_cost
from benchmarks.figure import Figure, Value
from benchmarks.steps import Steps
from benchmarks.stored_batches import open_batches, store_open
from benchmarks.workshop import Workshop, workshop

BATCHES = int(os.environ.get("BATCHES", "10000"))
TENANTS = 200
SHARDS = 5
CLAIMS = 200  # of a round
ROUNDS = 3
GROWTH = 1.5  # of a claim, where there are ten times as many batches


async def measure() -> Figure:
    values: dict[str, Value] = {}
    mark: dict[str, str] = {}
    for kind in KINDS:
        for count in (BATCHES // 10, BATCHES):
            values |= await beside(kind, count)
        name = f"{kind}_claim_growth"
        values[name] = _growth(values, kind, "claim")
        values[f"{kind}_sweep_growth"] = _growth(values, kind, "sweep")
        mark |= {name: f"<= {GROWTH}"}
    return Figure(
        name="F19",
        title=f"beside {BATCHES:,} open batches of {TENANTS} tenants, {SHARDS} shards each",
        values=values,
        mark=mark,
        met=all(float(values[name] or 0) <= GROWTH for name in mark),
    )


def _growth(values: dict[str, Value], kind: str, step: str) -> float:
    """Processor time of all processes, against that beside a tenth of the batches."""
    small, large = (
        sum(
            float(value or 0)
            for name, value in values.items()
            if name.startswith(f"{kind}_{count}_{step}_") and name.endswith("cpu_ms")
        )
        for count in (BATCHES // 10, BATCHES)
    )
    return large / small


def _settings(on: Database) -> Groups:
    return {"sweep": {"interval_s": 0.001}, "metadata": {"url": on.url}}


async def beside(kind: str, count: int) -> dict[str, Value]:
    prefix = f"{kind}_{count}_"
    async with database(kind) as on, workshop(0, _settings(on)) as shop:
        made = list(open_batches(count, tenants=TENANTS, shards_each=SHARDS))
        await store_open(on.url, made)
        empty = (await redis_cost(shop.scratch_url)).memory_mib
        steps = Steps(shop, on)
        async with steps.step("rebuild"):
            await ensure_generation(shop.runtime.metadata, shop.runtime.coordination)
        full = (await redis_cost(shop.scratch_url)).memory_mib
        await _sweeps(shop, steps)
        values = steps.values(prefix)
        claims, each = Steps(shop, on), min(CLAIMS, count * SHARDS // ROUNDS)
        for _ in range(ROUNDS):
            async with claims.step("claim"):
                for _ in range(each):
                    await claim(shop)
        values |= claims.values(prefix, each=each)
    return {**values, f"{prefix}redis_mib": full - empty}


async def _sweeps(shop: Workshop, steps: Steps) -> None:
    """The first sweep does what is done once a day too."""
    janitor = make_janitor(shop.runtime)
    async with steps.step("first_sweep"):
        await janitor.sweep()
    for _ in range(ROUNDS):
        async with steps.step("sweep"):
            await janitor.sweep()
    for _ in range(ROUNDS):
        reader = StateReader(shop.runtime.metadata, shop.runtime.coordination, shop.runtime.clock)
        async with steps.step("state"):
            assert (await reader.state()).stored is not None


async def claim(shop: Workshop) -> None:
    """What an executor does to get one shard."""
    metadata, queue, now = (
        shop.runtime.metadata,
        shop.runtime.coordination.queue,
        shop.runtime.clock.now(),
    )
    entry = await queue.propose()
    assert entry is not None
    lease = await metadata.shards.claim(
        entry.shard, holder=ActivationId("bench"), token=secrets.token_hex(8), now=now
    )
    assert lease is not None
    await queue.lease(entry, lease.ref, timedelta(minutes=10))
