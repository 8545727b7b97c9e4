"""A shard whose row cannot be decoded is closed, so its batch ends; its siblings continue."""

from typing import Any

import pytest
import sqlalchemy as sa
from fixtures.metadata import (
    SECOND,
    T0,
    a_part,
    a_tally,
    an_event,
    claimed,
    planned,
    unsent_ids,
)

from batch_gateway.adapters.redis_metadata.store import RedisMetadata
from batch_gateway.core.errors import CorruptRow
from batch_gateway.core.ids import ActivationId, shard_id
from batch_gateway.core.model import BatchStatus, ResultTally, ShardState

NOW = T0 + 9 * SECOND

#: Column and value on SQL; field and value on Redis.
DAMAGES = {
    "parts are an object": ("parts", '{"a": 1}', "parts", '{"a": 1}'),
    "a count is no number": ("input_tokens", None, "tally", '{"completed": "many"}'),
    "the plan is cut": ("parts", '"cut"', "plan", '["m","work'),
}


async def damaged(store: Any, shard: str, damage: tuple[str, Any, str, str]) -> None:
    """Write directly what no release of this software writes."""
    column, sql, field, text = damage
    batch, _, index = shard.rpartition(".")
    if isinstance(store, RedisMetadata):
        await store._redis.hset(f"{store._keys.root}:shards:{batch}", f"{index}.{field}", text)
        return
    async with store._database.writing() as connection:
        sqlite = connection.dialect.name == "sqlite"
        value = ":value" if sqlite or column != "parts" else "CAST(:value AS JSON)"
        if sql is None:  # PostgreSQL keeps numbers
            column, sql = ("input_tokens", "many") if sqlite else ("parts", "7")
            value = ":value" if sqlite else "CAST(:value AS JSON)"
        await connection.execute(
            sa.text(
                f"UPDATE shards SET {column} = {value} WHERE batch_id = :batch AND position = :at"
            ),
            {"value": sql, "batch": batch, "at": int(index)},
        )


@pytest.fixture(params=DAMAGES)
def damage(request):
    return DAMAGES[request.param]


async def mended(metadata, batch):
    return await metadata.shards.mend(batch.id, now=NOW, events=[an_event(batch)])


async def shards_of(metadata, batch):
    return [shard async for shard in metadata.shards.of_batch(batch.id)]


async def test_a_row_that_cannot_be_decoded_is_named(metadata, damage):
    batch = await planned(metadata, shards=2)
    await damaged(metadata, shard_id(batch.id, 1), damage)

    with pytest.raises(CorruptRow) as caught:
        await shards_of(metadata, batch)

    assert (caught.value.kind, caught.value.id) == ("shard", shard_id(batch.id, 1))


async def test_a_ready_shard_is_closed_and_its_siblings_go_on(metadata, damage):
    batch = await planned(metadata, shards=3)
    broken = shard_id(batch.id, 1)
    await damaged(metadata, broken, damage)

    outcome = await mended(metadata, batch)

    assert (outcome.shards, outcome.last) == ([broken], False)
    assert outcome.batch == await metadata.batches.load(batch.id)
    assert (outcome.batch.status, outcome.batch.open_shards) == (BatchStatus.IN_PROGRESS, 2)
    found = await shards_of(metadata, batch)
    assert [shard.state for shard in found] == ["ready", "closed", "ready"]
    assert (found[1].lines, found[1].parts, found[1].tally) == (10, (), ResultTally(failed=10))
    ready = await metadata.shards.ready(after=None, limit=9)
    assert [entry.shard for entry in ready] == [found[0].id, found[2].id]
    assert await unsent_ids(metadata) == []


async def lose_state(store: Any, shard: str) -> None:
    """Let a shard be in no state that a release of this software knows."""
    batch, _, index = shard.rpartition(".")
    if isinstance(store, RedisMetadata):
        await store._redis.zrem(f"{store._keys.root}:ready:{batch}", index)
        await store._redis.srem(f"{store._keys.root}:leased:{batch}", index)
        return
    async with store._database.writing() as connection:
        change = "UPDATE shards SET state = 'parked' WHERE batch_id = :batch AND position = :at"
        await connection.execute(sa.text(change), {"batch": batch, "at": int(index)})


async def test_batches_with_a_shard_in_no_known_state_are_found_until_it_is_closed(metadata):
    running, cancelling, ended, _whole = [await planned(metadata, shards=2) for _ in range(4)]
    lease = await claimed(metadata, cancelling, 1)
    for batch in (running, cancelling, ended):
        await lose_state(metadata, shard_id(batch.id, 0))
    await metadata.batches.cancel(
        cancelling.tenant, cancelling.id, now=NOW, fence_at=NOW, events=[]
    )
    await metadata.batches.fail(ended.id, [], now=NOW, events=[])

    found = await metadata.shards.in_unknown_state(limit=9)
    assert sorted(found) == sorted([running.id, cancelling.id])
    assert len(await metadata.shards.in_unknown_state(limit=1)) == 1
    for batch in (running, cancelling):
        await mended(metadata, batch)

    assert await metadata.shards.in_unknown_state(limit=9) == []
    assert (await metadata.batches.load(running.id)).open_shards == 1
    assert (await metadata.batches.load(cancelling.id)).open_shards == 1
    assert [ref for ref, _ in await metadata.shards.leased(limit=9)] == [lease.ref]


async def test_the_last_open_one_moves_the_batch_on(metadata, damage):
    batch = await planned(metadata, shards=2)
    lease = await claimed(metadata, batch, 0)
    await metadata.shards.finish(lease.ref, [a_part()], a_tally(), now=NOW, events=[])
    await damaged(metadata, shard_id(batch.id, 1), damage)

    outcome = await mended(metadata, batch)

    assert (outcome.batch.status, outcome.batch.open_shards) == (BatchStatus.FINALIZING, 0)
    assert outcome.batch.counts.completed == 10
    assert outcome.last
    assert await unsent_ids(metadata) == [an_event(batch).id]
    assert await metadata.batches.claim_assembly(batch.id, "me", now=NOW, ttl=SECOND)
    assert await mended(metadata, batch) is None


async def test_a_leased_shard_is_taken_from_its_holder(metadata, damage):
    batch = await planned(metadata, shards=2)
    lease = await claimed(metadata, batch, 0)
    await metadata.shards.checkpoint({lease.ref: a_tally(completed=4)})
    await damaged(metadata, lease.ref.shard, damage)

    with pytest.raises(CorruptRow):
        await metadata.shards.take_over(
            lease.ref, holder=ActivationId("reclaimer"), token="r", now=NOW
        )
    outcome = await mended(metadata, batch)

    assert outcome.shards == [lease.ref.shard]
    assert (outcome.batch.open_shards, outcome.batch.counts.completed) == (1, 4)
    first, _ = await shards_of(metadata, batch)
    assert (first.state, first.holder, first.leased_at) == (ShardState.CLOSED, None, None)
    assert first.epoch > lease.ref.epoch
    assert first.tally.lines == first.lines
    assert await metadata.shards.leased(limit=9) == []
    assert not await metadata.shards.release(lease.ref, [], a_tally(), now=NOW, events=[])
    assert await metadata.shards.finish(lease.ref, [], a_tally(), now=NOW, events=[]) is None


async def test_a_lease_since_no_known_time_is_an_old_one(metadata):
    batch = await planned(metadata, shards=2)
    lease = await claimed(metadata, batch, 0)
    other = await claimed(metadata, batch, 1)
    unknown = ("leased_at", 9_000_000_000_000_000_000, "leased_at", "never")
    await damaged(metadata, lease.ref.shard, unknown)

    observed = {ref.shard: (ref, at) for ref, at in await metadata.shards.leased(limit=9)}
    ref, at = observed[lease.ref.shard]
    taken = await metadata.shards.take_over(
        ref, holder=ActivationId("reclaimer"), token="r", now=NOW
    )

    assert at <= T0
    assert set(observed) == {lease.ref.shard, other.ref.shard}
    assert taken.shard.epoch > lease.ref.epoch
    assert [shard.state for shard in await shards_of(metadata, batch)] == ["leased", "leased"]


async def test_a_closed_one_of_a_batch_that_is_assembled(metadata, damage):
    batch = await planned(metadata, shards=1)
    lease = await claimed(metadata, batch, 0)
    await metadata.shards.finish(lease.ref, [a_part()], a_tally(), now=NOW, events=[])
    await damaged(metadata, lease.ref.shard, damage)

    outcome = await mended(metadata, batch)

    assert (outcome.batch.status, outcome.last) == (BatchStatus.FINALIZING, False)
    assert outcome.batch.counts.completed == 10
    (shard,) = await shards_of(metadata, batch)
    assert shard.tally.lines == 10


async def test_a_claim_names_the_shard_and_leaves_the_others(metadata, damage):
    batch = await planned(metadata, shards=2)
    await damaged(metadata, shard_id(batch.id, 0), damage)

    with pytest.raises(CorruptRow) as caught:
        await metadata.shards.claim(
            shard_id(batch.id, 0), holder=ActivationId("me"), token="t", now=NOW
        )

    assert caught.value.kind == "shard"
    assert (await claimed(metadata, batch, 1)).shard.index == 1


async def test_open_shards_are_counted_anew(metadata):
    batch = await planned(metadata, shards=2)
    for index in range(2):
        lease = await claimed(metadata, batch, index)
        await metadata.shards.finish(lease.ref, [a_part()], a_tally(), now=NOW, events=[])
    whole = await planned(metadata, shards=2)
    await _count(metadata, whole.id, 7)

    outcome = await mended(metadata, whole)

    assert (outcome.batch.open_shards, outcome.shards, outcome.last) == (2, [], False)
    assert await mended(metadata, whole) is None
    assert await mended(metadata, batch) is None


async def test_nothing_is_mended_of_a_batch_that_has_ended_or_is_unknown(metadata, damage):
    batch = await planned(metadata, shards=2)
    await metadata.batches.fail(batch.id, [], now=NOW, events=[])
    await damaged(metadata, shard_id(batch.id, 0), damage)

    assert await mended(metadata, batch) is None
    assert await metadata.shards.mend("batch_unknown", now=NOW, events=[]) is None


async def _count(store: Any, batch: str, open_shards: int) -> None:
    if isinstance(store, RedisMetadata):
        await store._redis.hset(store._keys.batch(batch), "open_shards", str(open_shards))
        return
    async with store._database.writing() as connection:
        change = sa.text("UPDATE batches SET open_shards = :n WHERE id = :id")
        await connection.execute(change, {"n": open_shards, "id": batch})
