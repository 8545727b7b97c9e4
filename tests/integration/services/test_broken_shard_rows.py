"""A shard whose row in the database cannot be decoded: its batch ends, its results are kept as far
as they are stored, and nothing else waits."""

import asyncio
import json
from datetime import timedelta

import pytest
import sqlalchemy as sa
from fixtures.world import chat_lines

from batch_gateway.core.errors import Temporary
from batch_gateway.core.ids import ActivationId
from batch_gateway.core.model import BatchStatus, ShardState
from batch_gateway.services.batches.analytics import recorded_summary
from batch_gateway.services.queue_entries import enqueue_shards
from batch_gateway.services.results.parts import read_blob
from batch_gateway.settings import ExecutionSettings, PlanningSettings

pytestmark = pytest.mark.redis

BRISK = ExecutionSettings(heartbeat_s=0.2, flush_interval_s=0.1, idle_exit_s=0.5, lease_ttl_s=0.5)


@pytest.fixture
def world(make_world):
    return make_world(planning=PlanningSettings(shard_lines=10), execution=BRISK)


async def planned(world, count=30):
    batch = await world.submit(chat_lines(count))
    await world.planner.plan(batch.id)
    return batch


async def shards_of(world, batch):
    return [shard async for shard in world.metadata.shards.of_batch(batch.id)]


async def damage(world, batch, index, column="parts", value='{"a": 1}'):
    async with world.metadata._database.writing() as connection:
        change = sa.text(
            f"UPDATE shards SET {column} = :value WHERE batch_id = :batch AND position = :index"
        )
        await connection.execute(change, {"value": value, "batch": batch.id, "index": index})


async def names_in(world, shard):
    return sorted(
        json.loads(raw)[1] for raw in (await read_blob(world.files, shard.key)).splitlines()
    )


async def assembled(world, batch):
    await world.assembler.assemble(batch.id)
    batch = await world.reload(batch)
    return batch, *(await world.results(batch))


async def swept(world):
    await asyncio.sleep(0.005)
    try:
        await world.janitor.sweep()
    except Temporary:
        return False
    return True


async def test_a_ready_shard_ends_in_error_lines_and_all_others_run(world):
    broken, whole = await planned(world), await planned(world)
    names = await names_in(world, (await shards_of(world, broken))[1])
    await damage(world, broken, 1)

    await world.work()

    whole, output, errors = await assembled(world, whole)
    assert (whole.status, len(output), len(errors)) == (BatchStatus.COMPLETED, 30, 0)
    broken, output, errors = await assembled(world, broken)
    assert (broken.status, len(output), len(errors)) == (BatchStatus.COMPLETED, 20, 10)
    assert (broken.counts.completed, broken.counts.failed) == (20, 10)
    assert sorted(line["custom_id"] for line in errors) == names
    assert {line["error"]["code"] for line in errors} == {"result_lost"}


async def test_lines_whose_shard_has_lost_its_name_too_end_as_lost(world):
    broken = await planned(world)
    names = await names_in(world, (await shards_of(world, broken))[1])
    await damage(world, broken, 1, "lines", "ten")
    await damage(world, broken, 1, "key", b"\xff")

    await world.work()

    broken, output, errors = await assembled(world, broken)
    assert (broken.status, len(output), broken.counts.total) == (BatchStatus.COMPLETED, 20, 30)
    assert sorted(line["custom_id"] for line in errors) == names
    assert {line["error"]["code"] for line in errors} == {"result_lost"}


async def test_results_that_are_stored_are_kept(world):
    broken = await planned(world)
    await world.work()
    counts = (await world.reload(broken)).counts
    await damage(world, broken, 1)

    broken, output, errors = await assembled(world, broken)

    assert (broken.status, len(output), len(errors)) == (BatchStatus.COMPLETED, 30, 0)
    assert broken.counts == counts


async def test_a_lease_of_a_dead_executor_is_closed_and_the_others_are_reclaimed(world):
    broken, whole = await planned(world, 10), await planned(world, 10)
    await world.janitor.sweep()  # plants the generation
    for batch in (broken, whole):
        entry = await world.coordination.queue.propose()
        assert await world.metadata.shards.claim(
            entry.shard, holder=ActivationId("dead"), token="t", now=world.clock.now()
        )
        assert batch.id
    await damage(world, broken, 0)
    async with asyncio.timeout(45):
        while (await shards_of(world, whole))[0].state is ShardState.LEASED:
            await asyncio.sleep(0.1)
            world.clock.ahead += timedelta(seconds=1)
            await swept(world)

    broken, output, errors = await assembled(world, broken)
    assert (broken.status, len(output), len(errors)) == (BatchStatus.COMPLETED, 0, 10)
    await world.work()
    whole, output, errors = await assembled(world, whole)
    assert (whole.status, len(output), len(errors)) == (BatchStatus.COMPLETED, 10, 0)


async def test_a_shard_in_no_known_state_ends_with_its_batch_beyond_the_fence(world):
    broken, whole = await planned(world), await planned(world)
    await damage(world, broken, 1, "state", "lost")
    for batch in (broken, whole):
        now = world.clock.now()
        await world.metadata.batches.cancel(
            batch.tenant, batch.id, now=now, fence_at=now, events=[]
        )
    assert (await world.reload(broken)).open_shards == 1

    assert await swept(world)

    for batch in (broken, whole):
        batch, output, errors = await assembled(world, batch)
        assert (batch.status, output) == (BatchStatus.CANCELLED, [])
        assert {line["error"]["code"] for line in errors} == {"batch_cancelled"}
        assert len(errors) == 30


async def test_a_shard_in_no_known_state_is_closed_and_named_by_the_next_sweep(world, caplog):
    """Long before its batch's deadline; the batch beside it continues."""
    broken, whole = await planned(world), await planned(world)
    names = await names_in(world, (await shards_of(world, broken))[1])
    await damage(world, broken, 1, "state", "parked")

    assert await swept(world)

    assert f"closed: {broken.id}.1" in caplog.text
    await world.work()
    whole, output, errors = await assembled(world, whole)
    assert (whole.status, len(output), len(errors)) == (BatchStatus.COMPLETED, 30, 0)
    broken, output, errors = await assembled(world, broken)
    assert (broken.status, len(output)) == (BatchStatus.COMPLETED, 20)
    assert sorted(line["custom_id"] for line in errors) == names
    assert {line["error"]["code"] for line in errors} == {"result_lost"}


async def test_the_ready_shards_before_it_are_queued_at_once(world):
    broken = await planned(world)
    await world.wipe()
    await damage(world, broken, 2)

    await enqueue_shards(await world.reload(broken), world.metadata, world.coordination.queue)

    assert (await world.coordination.queue.depth()).ready == 2


async def test_a_batch_with_one_can_fail(world):
    """Its last words sum up what is recorded for its shards."""
    broken = await planned(world)
    await damage(world, broken, 1)

    summary = await recorded_summary(world.metadata.shards, broken.id)

    assert list(summary.models) == ["sim-large"]  # of the shard before it
    assert summary.models["sim-large"].lines == 10
