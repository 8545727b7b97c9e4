"""Stored parts and shards that are missing or damaged: the batch ends, the rest is kept."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest
from fixtures.world import chat_lines

from batch_gateway.core.errors import Unavailable
from batch_gateway.core.ids import ActivationId
from batch_gateway.core.lines import decode_part_line, encode_part_line
from batch_gateway.core.model import BatchStatus, LeaseRef, ShardState
from batch_gateway.services.assemble.merge import ResultMerge
from batch_gateway.services.results import lost_objects
from batch_gateway.services.results.parts import write_part
from batch_gateway.settings import PlanningSettings

pytestmark = pytest.mark.redis


@pytest.fixture(autouse=True)
def _no_waiting_between_attempts(monkeypatch):
    monkeypatch.setattr(lost_objects, "APART", timedelta(milliseconds=1))


async def planned(world, count=12):
    batch = await world.submit(chat_lines(count))
    await world.planner.plan(batch.id)
    return batch


async def executed(make_world, count=12):
    world = make_world(planning=PlanningSettings(shard_lines=4))
    batch = await planned(world, count)
    await world.work()
    return world, batch


async def parts_of(world, batch):
    return [
        part.key async for shard in world.metadata.shards.of_batch(batch.id) for part in shard.parts
    ]


async def shards_of(world, batch):
    return [shard async for shard in world.metadata.shards.of_batch(batch.id)]


async def assembled(world, batch):
    """Attempt after attempt, as the janitor has it announced; how many failed."""
    failed = 0
    while not (await world.reload(batch)).terminal:
        try:
            await try_again(world, batch)
        except Unavailable:
            failed += 1
        assert failed <= lost_objects.TRIES
    return failed


async def try_again(world, batch):
    """One more attempt, after the right to assemble of the one before it has run out."""
    world.clock.ahead += timedelta(minutes=1)
    await asyncio.sleep(0.005)
    await world.assembler.assemble(batch.id)


async def damage(world, key):
    content = b"".join([chunk async for chunk in world.files.read(key)])
    await world.files.delete(key)
    await world.files.put(key, content[:-3] + b"}}\n")


@pytest.mark.parametrize("how", ["missing", "damaged"])
async def test_a_lost_part_costs_its_own_lines_only(make_world, how):
    world, batch = await executed(make_world)
    _, lost, _ = await parts_of(world, batch)
    await (world.files.delete(lost) if how == "missing" else damage(world, lost))

    assert await assembled(world, batch) == lost_objects.TRIES

    batch = await world.reload(batch)
    output, errors = await world.results(batch)
    assert batch.status is BatchStatus.COMPLETED
    assert (batch.counts.total, batch.counts.completed, batch.counts.failed) == (12, 8, 4)
    assert len(output) == 8
    assert [line["error"]["code"] for line in errors] == ["result_lost"] * 4
    named = sorted(line["custom_id"] for line in output + errors)
    assert named == sorted(f"line-{n}" for n in range(1, 13))


async def test_a_part_that_comes_back_in_time_costs_nothing(make_world):
    world, batch = await executed(make_world)
    lost = (await parts_of(world, batch))[1]
    content = b"".join([chunk async for chunk in world.files.read(lost)])
    await world.files.delete(lost)
    for _ in range(lost_objects.TRIES):
        with pytest.raises(Unavailable):
            await try_again(world, batch)

    await world.files.put(lost, content)
    await try_again(world, batch)

    assert (await world.reload(batch)).counts.completed == 12


async def test_attempts_in_quick_succession_count_once(make_world, monkeypatch):
    monkeypatch.setattr(lost_objects, "APART", timedelta(hours=1))
    world, batch = await executed(make_world)
    await world.files.delete((await parts_of(world, batch))[1])

    for _ in range(3 * lost_objects.TRIES):
        with pytest.raises(Unavailable):
            await try_again(world, batch)


@pytest.mark.parametrize("input_too", [False, True])
async def test_lines_of_a_shard_that_is_lost_too_are_found_in_the_input(make_world, input_too):
    world, batch = await executed(make_world)
    shard = (await shards_of(world, batch))[1]
    await world.files.delete(shard.key, *(part.key for part in shard.parts))
    if input_too:
        await world.files.delete(f"files/{batch.input_file_id}")

    await assembled(world, batch)

    batch = await world.reload(batch)
    output, errors = await world.results(batch)
    assert (len(output), len(errors), batch.counts.failed) == (8, 4, 4)
    named = {line["custom_id"] for line in output + errors}
    assert len(named) == (9 if input_too else 12)


async def test_a_cancelled_batch_with_a_lost_part_ends(make_world):
    world, batch = await executed(make_world)
    await world.files.delete((await parts_of(world, batch))[0])
    now = world.clock.now()
    await world.metadata.batches.cancel(batch.tenant, batch.id, now=now, fence_at=now, events=[])

    await assembled(world, batch)

    batch = await world.reload(batch)
    assert batch.status is BatchStatus.CANCELLED
    assert (batch.counts.completed, batch.counts.failed) == (8, 4)


async def leased_with_lost_part(world):
    """A shard of a dead executor whose recorded part is gone; its lease."""
    batch = await planned(world, 4)
    (shard,) = await shards_of(world, batch)
    lease = await world.metadata.shards.claim(
        shard.id, holder=ActivationId("a"), token="t", now=world.clock.now()
    )
    part = await write_part(world.files, lease.shard, 0, [])
    other = await write_part(world.files, lease.shard, 1, [])
    await world.metadata.shards.release(
        lease.ref, [part, other], shard.tally, now=world.clock.now(), events=[]
    )
    await world.files.delete(part.key)
    lease = await world.metadata.shards.claim(
        shard.id, holder=ActivationId("dead"), token="u", now=world.clock.now()
    )
    return batch, lease.ref


async def test_a_shard_with_a_lost_part_is_reclaimed_in_the_end(make_world):
    world = make_world()
    batch, lease = await leased_with_lost_part(world)
    fine = await planned(world, 4)
    (shard,) = await shards_of(world, fine)
    healthy = await world.metadata.shards.claim(
        shard.id, holder=ActivationId("dead"), token="v", now=world.clock.now()
    )

    assert (
        await world.termination.reclaim([lease, healthy.ref]) == 1
    )  # the broken one does not block the others
    for _ in range(lost_objects.TRIES):
        (broken,) = await shards_of(world, batch)
        assert broken.state is ShardState.LEASED
        await asyncio.sleep(0.005)
        await world.termination.reclaim(
            [LeaseRef(shard=broken.id, epoch=broken.epoch, token=broken.token)]
        )

    (broken,) = await shards_of(world, batch)
    assert broken.state is ShardState.READY
    await world.work()
    await world.assembler.assemble(batch.id)
    assert (await world.reload(batch)).counts.completed == 4


async def test_sums_beyond_what_a_database_holds_stay_at_the_most(make_world):
    world, batch = await executed(make_world)
    for shard in await shards_of(world, batch):
        (part,) = shard.parts
        raw = [chunk async for chunk in world.files.read(part.key)]
        lines = [decode_part_line(line) for line in b"".join(raw).splitlines()]
        await world.files.delete(part.key)
        for line in lines:
            line.tokens = (2**62, 0, 2**63 - 1, 0)
        rows = world.metadata
        shard_part = await write_part(world.files, shard, 7, map(encode_part_line, lines))
        async with rows._database.writing() as connection:
            import sqlalchemy as sa

            from batch_gateway.adapters.sql.rows import result_columns, shard_is
            from batch_gateway.adapters.sql.schema import shards

            values = result_columns([shard_part], shard.tally)
            await connection.execute(sa.update(shards).where(shard_is(shard.id)).values(values))

    await world.assembler.assemble(batch.id)

    usage = (await world.reload(batch)).usage
    assert (usage.input_tokens, usage.output_tokens) == (2**63 - 1, 2**63 - 1)


async def test_a_batch_whose_results_cannot_even_be_merged_fails(make_world, monkeypatch):
    world, batch = await executed(make_world)

    def broken(_merge):
        raise RuntimeError("not foreseen")

    monkeypatch.setattr(ResultMerge, "chunks", broken)

    for _ in range(2 * lost_objects.TRIES + 3):
        with suppress(Unavailable):
            await try_again(world, batch)

    batch = await world.reload(batch)
    assert batch.status is BatchStatus.FAILED
    assert batch.errors[0].code == "assembly_failed"
