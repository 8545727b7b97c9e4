"""F20: what lists, a sweep and the service's state cost beside 100,000 finished batches.

The same with a tenth of them shows what grows. Half of the batches are one tenant's, who asks for
the lists. On SQLite and on PostgreSQL; processor time is that of this process (SQLite included),
of Redis and of PostgreSQL. ``BATCHES`` in the environment changes the larger number.
"""

import os

from batch_gateway.core.ids import TenantId
from batch_gateway.core.model import BatchStatus
from batch_gateway.local.configuration import Groups
from batch_gateway.ports.batches import ALL_BATCHES, BatchFilter
from batch_gateway.services.maintenance.rebuild import ensure_generation
from batch_gateway.services.state_snapshot import StateReader
from batch_gateway.wiring.janitor import make_janitor
from benchmarks.databases import KINDS, Database, database
from benchmarks.figure import Figure, Value
from benchmarks.steps import Steps
from benchmarks.stored_batches import finished_batches, store_finished
from benchmarks.workshop import Workshop, workshop

BATCHES = int(os.environ.get("BATCHES", "100000"))
TENANTS = 200
OWNER = TenantId("tenant-0")
ROUNDS = 5
LISTS = 20  # of a round
MARKED = ("list", "list_deep")
MOST_MS = 30.0
FILTERS = {
    "list": ALL_BATCHES,
    "list_model": BatchFilter(model="m"),
    "list_failed": BatchFilter(status=BatchStatus.FAILED),
    "list_metadata": BatchFilter(metadata={"number": "7"}),
}


async def measure() -> Figure:
    values: dict[str, Value] = {}
    for kind in KINDS:
        for count in (BATCHES // 10, BATCHES):
            values |= await beside(kind, count)
    marked = [f"{kind}_{BATCHES}_{name}_ms" for kind in KINDS for name in MARKED]
    return Figure(
        name="F20",
        title=f"beside {BATCHES:,} finished batches, half of them one tenant's",
        values=values,
        mark=dict.fromkeys(marked, f"<= {MOST_MS:g}"),
        met=all(float(values[name] or 0) <= MOST_MS for name in marked),
    )


def _settings(on: Database) -> Groups:
    return {"sweep": {"interval_s": 0.001}, "metadata": {"url": on.url}}


async def beside(kind: str, count: int) -> dict[str, Value]:
    prefix = f"{kind}_{count}_"
    async with database(kind) as on, workshop(0, _settings(on)) as shop:
        await store_finished(on.url, made := list(finished_batches(count, tenants=TENANTS)))
        own = [batch.id for batch, _ in made if batch.tenant == OWNER]
        lists = Steps(shop, on)
        for _ in range(ROUNDS):
            for name, only in FILTERS.items():
                async with lists.step(name):
                    await _list(shop, only, None)
            async with lists.step("list_deep"):
                await _list(shop, ALL_BATCHES, own[len(own) // 2])
        values = lists.values(prefix, each=LISTS)
        steps = Steps(shop, on)
        await ensure_generation(shop.runtime.metadata, shop.runtime.coordination)
        janitor = make_janitor(shop.runtime)
        async with steps.step("first_sweep"):  # does what is done once a day too
            await janitor.sweep()
        for _ in range(ROUNDS):
            async with steps.step("sweep"):
                await janitor.sweep()
            reader = StateReader(
                shop.runtime.metadata, shop.runtime.coordination, shop.runtime.clock
            )
            async with steps.step("state"):
                assert (await reader.state()).stored is not None
    return {**values, **steps.values(prefix)}


async def _list(shop: Workshop, only: BatchFilter, after: object) -> None:
    for _ in range(LISTS):
        page = await shop.runtime.metadata.batches.list(
            OWNER,
            limit=20,
            after=after,  # type: ignore[arg-type]
            only=only,
        )
        assert page is not None
