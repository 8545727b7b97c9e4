"""A row that cannot be decoded is skipped, logged once and shown; all others continue."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa
from fixtures.metadata import (
    ALICE,
    FAR_AHEAD,
    LONG_AGO,
    SECOND,
    T0,
    a_batch,
    a_tally,
    claimed,
    planned,
)

from batch_gateway import meters
from batch_gateway.adapters.redis_metadata.store import RedisMetadata
from batch_gateway.core.errors import CorruptRow
from batch_gateway.core.ids import ActivationId, shard_id
from batch_gateway.core.model import Batch, BatchStatus
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.services.verify.findings import StorageProblem
from batch_gateway.services.verify.verifier import StorageConsistencyVerifier

#: Column and value, as SQL has it and as Redis has it (None: no field).
DAMAGES = {
    "options are a list": ("options", "[]", "[]"),
    "options are null": ("options", "null", None),
    "errors are an object": ("errors", '{"a": 1}', '{"a": 1}'),
    "unknown status": ("status", "lost", "lost"),
    "unknown ending": ("ending", "lost", "lost"),
}


@pytest.fixture(params=DAMAGES)
def damage(request: pytest.FixtureRequest) -> tuple[str, str, str | None]:
    return DAMAGES[request.param]


async def damaged(store: Any, batch: Batch, column: str, sql: str, redis: str | None) -> None:
    """Write directly what no release of this software writes."""
    if isinstance(store, RedisMetadata):
        key = store._keys.batch(batch.id)
        client = store._redis
        await (client.hdel(key, column) if redis is None else client.hset(key, column, redis))
        return
    cast = "CAST(:value AS JSON)" if column in ("options", "errors") else ":value"
    async with store._database.writing() as connection:
        if connection.dialect.name == "sqlite":
            cast = ":value"
        await connection.execute(
            sa.text(f"UPDATE batches SET {column} = {cast} WHERE id = :id"),
            {"value": sql, "id": batch.id},
        )


Sweep = Callable[[MetadataStore], Awaitable[Any]]

SWEEPS: dict[str, Sweep] = {
    "running": lambda store: store.batches.running(limit=1),
    "unfinished": lambda store: store.batches.unfinished(
        [BatchStatus.IN_PROGRESS], before=FAR_AHEAD, limit=1
    ),
    "overdue": lambda store: store.batches.overdue(1),
}


async def two_batches(store: MetadataStore, damage: Any) -> tuple[Batch, Batch]:
    """A broken one that comes first, and a whole one."""
    broken = await planned(store, deadline=LONG_AGO)
    whole = await planned(store, deadline=LONG_AGO + SECOND)
    await damaged(store, broken, *damage)
    return broken, whole


@pytest.mark.parametrize("sweep", SWEEPS)
async def test_sweeps_find_what_is_behind_a_broken_row(metadata, damage, sweep):
    _, whole = await two_batches(metadata, damage)

    assert [batch.id for batch in await SWEEPS[sweep](metadata)] == [whole.id]


async def test_a_list_leaves_it_out_and_fills_its_page(metadata, damage):
    oldest = await planned(metadata, created_at=T0)
    broken = await planned(metadata, created_at=T0 + SECOND)
    newest = await planned(metadata, created_at=T0 + 2 * SECOND)
    await damaged(metadata, broken, *damage)

    first = await metadata.batches.list(ALICE, limit=1)
    both = await metadata.batches.list(ALICE, limit=2)
    second = await metadata.batches.list(ALICE, limit=1, after=newest.id)
    of_all = await metadata.batches.list_all(limit=2)

    assert ([batch.id for batch in first.items], first.more) == ([newest.id], True)
    assert ([batch.id for batch in both.items], both.more) == ([newest.id, oldest.id], False)
    assert ([batch.id for batch in second.items], second.more) == ([oldest.id], False)
    assert ([batch.id for batch in of_all.items], of_all.more) == ([newest.id, oldest.id], False)


async def test_reading_it_alone_names_it(metadata, damage):
    broken, _ = await two_batches(metadata, damage)

    with pytest.raises(CorruptRow) as caught:
        await metadata.batches.get(ALICE, broken.id)

    assert (caught.value.kind, caught.value.id) == ("batch", broken.id)


async def test_it_is_logged_once_and_counted_at_each_read(metadata, caplog):
    broken, _ = await two_batches(metadata, DAMAGES["options are a list"])
    counter = meters.CORRUPT_ROWS.labels("batch")
    before = counter._value.get()

    with caplog.at_level(logging.ERROR):
        await metadata.batches.running(limit=10)
        await metadata.batches.running(limit=10)

    assert counter._value.get() == before + 2
    assert [r.message for r in caplog.records if broken.id in r.message] == [
        f"the database row of batch {broken.id} cannot be decoded: "
        + caplog.records[0].message.partition("decoded: ")[2]
    ]


async def test_counts_of_other_batches_are_recorded_beside_it(metadata):
    broken, whole = await planned(metadata), await planned(metadata)
    leases = [await claimed(metadata, batch, 0) for batch in (broken, whole)]
    await damaged(metadata, broken, *DAMAGES["options are a list"])

    changed = await metadata.shards.checkpoint({lease.ref: a_tally() for lease in leases})

    assert [(batch.id, batch.counts.completed) for batch in changed] == [(whole.id, 10)]


async def test_a_claim_of_its_shard_names_it_and_others_are_granted(metadata):
    broken, whole = await two_batches(metadata, DAMAGES["options are a list"])

    with pytest.raises(CorruptRow):
        await metadata.shards.claim(
            shard_id(broken.id, 0), holder=ActivationId("me"), token="t", now=T0
        )

    assert (await claimed(metadata, whole, 0)).shard.batch == whole.id


class NoFiles:
    async def list(self, prefix, **_):
        for nothing in ():
            yield nothing


async def test_verify_shows_it(metadata, damage):
    whole = a_batch()
    await metadata.batches.create(whole, [])
    broken = a_batch()
    await metadata.batches.create(broken, [])
    await damaged(metadata, broken, *damage)
    verifier = StorageConsistencyVerifier(metadata, NoFiles())

    found = [finding async for finding in verifier.findings()]

    assert [(f.problem, f.kind, f.key) for f in found] == [(StorageProblem.ROW, "batch", broken.id)]
    assert verifier.summary.damaged == 1
