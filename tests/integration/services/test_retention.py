"""Batches whose retention is over are deleted, with what is kept for them alone."""

import asyncio
import dataclasses
from datetime import timedelta

import pytest
from fixtures.gateway import CHAT
from fixtures.world import TENANT, chat_lines

from batch_gateway.core.batch_request import SourceEvent
from batch_gateway.core.errors import NotFound, Temporary, Unavailable
from batch_gateway.core.ids import FileId
from batch_gateway.core.layout import blobs_of, file_key, work_prefix
from batch_gateway.core.model import BatchStatus
from batch_gateway.services.batches.retry import BatchRetries, RetryRequest
from batch_gateway.services.batches.service import NewBatch
from batch_gateway.services.maintenance import retention
from batch_gateway.settings import BatchSettings

pytestmark = pytest.mark.redis

DAY = timedelta(days=1)
TEMPLATE = {"model": "sim-large", "messages": [{"role": "user", "content": "{{text}}"}]}


async def ended(world, lines=2, **options):
    batch = await world.run(await world.submit(chat_lines(lines), **options))
    assert batch.terminal
    return batch


async def rows_of(world, *batches):
    return [await world.metadata.batches.load(batch.id) is not None for batch in batches]


async def blob_keys(world, prefix):
    return [blob.key async for blob in world.files.list(prefix)]


async def follow(world, first):
    after = {"batch_id": first.id, "template": TEMPLATE}
    new = NewBatch(
        input_file_id=FileId(""), endpoint=CHAT, completion_window="24h", options={"after": after}
    )
    return await world.batches.create(TENANT, new, traceparent=None)


def retries(world):
    return BatchRetries(world.batches, world.metadata, world.clock)


def test_ninety_days_are_the_default():
    assert BatchSettings().retention_s == 90 * 86400


async def test_a_batch_is_deleted_when_its_retention_is_over_and_its_files_stay(make_world):
    world = make_world(retention_s=10 * 86400)
    batch = await ended(world)
    running = await world.submit(chat_lines(1), window=99 * DAY)
    await world.planner.plan(running.id)
    world.clock.ahead = 10 * DAY - timedelta(hours=1)
    await world.janitor.sweep()
    assert await rows_of(world, batch, running) == [True, True]

    world.clock.ahead = 10 * DAY + timedelta(hours=1)
    await world.janitor.sweep()

    assert await rows_of(world, batch, running) == [False, True]
    assert [shard async for shard in world.metadata.shards.of_batch(batch.id)] == []
    assert await blob_keys(world, work_prefix(batch.id)) == []
    output, _ = await world.results(batch)
    assert len(output) == 2
    for name in (batch.input_file_id, batch.output_file_id):
        assert await world.metadata.files.get(TENANT, name) is not None


async def test_batches_are_kept_for_ever_where_that_is_asked_for(make_world):
    world = make_world(retention_s=0)
    batch = await ended(world)
    world.clock.ahead = 36500 * DAY

    await world.janitor.sweep()

    assert await rows_of(world, batch) == [True]


async def test_a_batch_stays_until_its_work_objects_are_gone(make_world, monkeypatch):
    """Without the row no sweep would look for them, and its notices are not written yet."""
    world = make_world(retention_s=60)
    batch = await world.submit(chat_lines(1))
    await world.metadata.batches.fail(batch.id, [], now=world.clock.now(), events=[])
    await world.files.put(f"{work_prefix(batch.id)}lines", b"x")
    world.clock.ahead = DAY

    async def away(*_):
        raise Unavailable("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(world.files, "delete_prefix", away)
        with pytest.raises(Temporary, match="could not delete_work"):
            await world.janitor.sweep()
        assert await rows_of(world, batch) == [True]

    await world.janitor.sweep()

    assert await rows_of(world, batch) == [False]
    assert await blob_keys(world, work_prefix(batch.id)) == []


async def test_one_sweep_deletes_a_bounded_number_and_the_rounds_go_on(make_world, monkeypatch):
    world = make_world(retention_s=60)
    monkeypatch.setattr(retention, "AT_MOST", 2)
    monkeypatch.setattr(retention, "_PAGE", 1)
    batches = [await world.submit(chat_lines(1)) for _ in range(5)]
    for batch in batches:
        await world.metadata.batches.fail(batch.id, [], now=world.clock.now(), events=[])
    world.clock.ahead = DAY
    await world.janitor.sweep()
    assert sum(await rows_of(world, *batches)) == 3

    async with asyncio.timeout(45):
        await world.janitor_loop().run()

    assert sum(await rows_of(world, *batches)) == 0


async def test_a_sweep_that_is_killed_anywhere_is_finished_by_the_next(make_world, monkeypatch):
    """Each step that changes something fails once in turn, as it does when the process dies."""
    world = make_world(retention_s=60)
    first = await ended(world)
    second = await world.run(await follow(world, first))
    assert second.status is BatchStatus.COMPLETED
    made = second.input_file_id
    world.clock.ahead = DAY

    class Killed(BaseException):
        pass

    async def die(*_):
        raise Killed

    for owner, step in (
        (world.files, "delete"),
        (world.metadata.files, "delete"),
        (world.metadata.batches, "delete"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, step, die)
            with pytest.raises(Killed):
                await world.janitor._cleanup.delete_batches()

    await world.janitor._cleanup.delete_batches()

    assert await rows_of(world, first, second) == [False, False]
    assert await world.metadata.files.existing([made]) == set()
    assert not set(blobs_of(made)) & set(await blob_keys(world, "files/"))


async def test_an_input_that_was_made_for_a_batch_goes_with_it_unless_it_expires(make_world):
    world = make_world(retention_s=60)
    first = await ended(world)
    made, expiring = [await world.run(await follow(world, first)) for _ in range(2)]
    file = await world.metadata.files.get(TENANT, expiring.input_file_id)
    await world.metadata.files.delete(TENANT, file.id)
    await world.metadata.files.add(
        dataclasses.replace(file, expires_at=world.clock.now() + 9 * DAY)
    )
    world.clock.ahead = DAY

    await world.janitor.sweep()

    assert await rows_of(world, first, made, expiring) == [False] * 3
    assert await world.metadata.files.get(TENANT, made.input_file_id) is None
    with pytest.raises(NotFound):
        await world.files.size(file_key(made.input_file_id))
    assert await world.metadata.files.get(TENANT, expiring.input_file_id) is not None
    assert await world.files.size(file_key(expiring.input_file_id)) > 0


async def test_a_batch_that_cannot_be_deleted_does_not_keep_the_others(make_world, monkeypatch):
    world = make_world(retention_s=60)
    first = await ended(world)
    stuck = await world.run(await follow(world, first))
    last = await ended(world)
    world.clock.ahead = DAY
    delete = world.files.delete

    async def refuse(*keys):
        if file_key(stuck.input_file_id) in keys:
            raise Unavailable("not this one")
        await delete(*keys)

    monkeypatch.setattr(world.files, "delete", refuse)

    await world.janitor.sweep()

    assert await rows_of(world, first, stuck, last) == [False, True, False]


async def test_a_retry_goes_on_after_the_batch_that_it_retries_is_deleted(make_world):
    world = make_world(retention_s=60)
    old = await world.submit(chat_lines(3))
    await world.planner.plan(old.id)
    now = world.clock.now()
    await world.metadata.batches.cancel(TENANT, old.id, now=now, fence_at=now, events=[])
    await world.assembler.assemble(old.id)
    new = await retries(world).retry(TENANT, old.id, RetryRequest(), traceparent=None)
    world.clock.ahead = timedelta(hours=1)
    await world.janitor._cleanup.delete_batches()
    assert await rows_of(world, old, new) == [False, True]

    done = await world.run(new)

    assert (done.status, done.counts.completed) == (BatchStatus.COMPLETED, 3)
    assert await retries(world).retry(TENANT, old.id, RetryRequest(), traceparent=None) is None


async def test_a_batch_that_waits_for_a_deleted_one_fails_and_says_why(make_world):
    world = make_world(retention_s=60)
    first = await ended(world)
    second = await follow(world, first)
    world.clock.ahead = timedelta(hours=1)
    await world.janitor._cleanup.delete_batches()

    await world.planner.plan(second.id)

    failed = await world.reload(second)
    assert failed.status is BatchStatus.FAILED
    assert [error.code for error in failed.errors] == ["chain_broken"]
    assert first.id in failed.errors[0].message


async def test_an_event_that_asked_for_a_deleted_batch_asks_for_no_second_one(make_world):
    world = make_world(retention_s=60)
    file = await world.upload(b"")
    cause = SourceEvent(source="/crm", id="1")
    new = NewBatch(input_file_id=file.id, endpoint=CHAT, completion_window="24h", cause=cause)
    batch = await world.batches.create(TENANT, new, traceparent=None, seed=cause.seed)
    await world.metadata.batches.fail(batch.id, [], now=world.clock.now(), events=[])
    world.clock.ahead = timedelta(hours=1)

    await world.janitor.sweep()

    assert await rows_of(world, batch) == [False]
    assert await world.metadata.processed_events.find(cause.key) == batch.id
