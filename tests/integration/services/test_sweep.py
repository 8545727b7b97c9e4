"""The janitor on real stores: each test leaves behind what a crash would, and sweeps."""

import asyncio
import dataclasses
from datetime import timedelta

import pytest
from fixtures.world import chat_lines

from batch_gateway.adapters.local_files import LocalFiles
from batch_gateway.adapters.sql.accounts import book
from batch_gateway.core.batch_request import SourceEvent
from batch_gateway.core.errors import Temporary, Unavailable
from batch_gateway.core.events import EventType, internal_event
from batch_gateway.core.idempotency import KEPT, IdempotencyClaim
from batch_gateway.core.ids import ActivationId
from batch_gateway.core.model import BatchStatus, ResultTally, ShardState
from batch_gateway.core.quotas import QuotaUsage
from batch_gateway.ports.shard_queue import QueueDepth
from batch_gateway.services.maintenance import sweep
from batch_gateway.services.state_snapshot import StateReader
from batch_gateway.settings import ExecutionSettings, PlanningSettings

pytestmark = pytest.mark.redis

LATER = timedelta(minutes=2)


async def shards_of(world, batch):
    return [shard async for shard in world.metadata.shards.of_batch(batch.id)]


async def planned(world, count=3, **options):
    batch = await world.submit(chat_lines(count), **options)
    await world.planner.plan(batch.id)
    world.sink.take()
    return batch


async def test_an_event_that_was_never_sent_is_sent(world):
    batch = await world.submit(chat_lines(1))
    world.clock.ahead = LATER

    await world.janitor.sweep()

    assert internal_event(EventType.BATCH_CREATED, batch.id).id in [
        event.id for event in world.sink.events
    ]


async def test_events_stay_in_the_outbox_while_the_broker_is_away(world, monkeypatch):
    """More of them than a page: once it is back one sweep sends each once."""
    monkeypatch.setattr(sweep, "LIMIT", 5)
    reader = StateReader(world.metadata, world.coordination, world.clock, kept=timedelta(0))
    world.sink.away = True
    batches = [await world.submit(chat_lines(1)) for _ in range(12)]
    world.clock.ahead = LATER
    await world.janitor.sweep()
    waiting = await reader.state()
    assert timedelta(minutes=2) <= waiting.unsent_for < timedelta(minutes=3)
    assert len(await world.metadata.outbox.unsent(before=world.clock.now(), limit=100)) == 12

    world.sink.away = False
    await asyncio.sleep(0.01)
    await world.janitor.sweep()

    sent = [event.id for event in world.sink.events if event.type is EventType.BATCH_CREATED]
    assert sorted(sent) == sorted(
        internal_event(EventType.BATCH_CREATED, batch.id).id for batch in batches
    )
    assert (await reader.state()).unsent_for is None


async def test_a_batch_past_its_deadline_expires(world):
    batch = await planned(world, window=timedelta(milliseconds=50))
    await asyncio.sleep(0.1)

    await world.janitor.sweep()

    assert (await world.reload(batch)).assemblable
    assert EventType.BATCH_EXPIRING in world.sink.types()
    assert (await world.coordination.queue.depth()).ready == 0


async def test_backlog_without_an_activation_wakes_one(world):
    await planned(world)
    await world.wipe()

    await world.janitor.sweep()

    assert EventType.WORK_AVAILABLE in world.sink.types()
    assert (await world.coordination.queue.depth()).ready == 1


async def test_shards_that_the_queue_has_lost_are_queued_again(make_world):
    world = make_world(planning=PlanningSettings(shard_lines=2))
    batch = await planned(world, count=6)
    await world.coordination.queue.withdraw(batch.id)

    await world.janitor.sweep()

    assert (await world.coordination.queue.depth()).ready == 3


async def test_a_lease_without_heartbeat_is_taken_from_its_holder(make_world):
    world = make_world(execution=ExecutionSettings(lease_ttl_s=0.05))
    batch = await planned(world)
    await world.janitor.sweep()  # plants the generation
    entry = await world.coordination.queue.propose()
    await world.metadata.shards.claim(
        entry.shard, holder=ActivationId("dead"), token="t", now=world.clock.now()
    )
    await asyncio.sleep(0.1)

    await world.janitor.sweep()

    (shard,) = await shards_of(world, batch)
    assert (shard.state, shard.epoch) == (ShardState.READY, 2)
    await world.work()
    assert (await world.reload(batch)).counts.completed == 3


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "handed back"])
async def test_a_lease_that_ended_only_in_the_database_leaves_the_queue(world, closed):
    """Its holder died before it told the queue; no executor is needed to find that out."""
    await planned(world)
    await world.janitor.sweep()  # plants the generation
    queue, rows, now = world.coordination.queue, world.metadata.shards, world.clock.now()
    entry = await queue.propose()
    lease = await rows.claim(entry.shard, holder=ActivationId("dead"), token="t", now=now)
    await queue.lease(entry, lease.ref, timedelta(milliseconds=1))
    if closed:
        await rows.finish(lease.ref, [], ResultTally(failed=3), now=now, events=[])
    else:
        await rows.release(lease.ref, [], ResultTally(), now=now, events=[])
    while not await queue.expired(1):
        await asyncio.sleep(0.01)

    await world.janitor.sweep()

    assert await queue.depth() == QueueDepth(ready=0 if closed else 1, leased=0, reserved=0)


async def test_a_fence_closes_what_a_dead_executor_holds(world):
    batch = await planned(world)
    entry = await world.coordination.queue.propose()
    await world.metadata.shards.claim(
        entry.shard, holder=ActivationId("dead"), token="t", now=world.clock.now()
    )
    now = world.clock.now()
    await world.metadata.batches.cancel(batch.tenant, batch.id, now=now, fence_at=now, events=[])
    assert (await world.reload(batch)).open_shards == 1

    await world.janitor.sweep()

    assert (await world.reload(batch)).assemblable
    assert EventType.BATCH_EXECUTED in world.sink.types()
    await world.assembler.assemble(batch.id)
    assert (await world.reload(batch)).status is BatchStatus.CANCELLED


@pytest.mark.parametrize("stage", ["validating", "finalizing"])
async def test_a_batch_whose_event_was_lost_is_announced_again(world, stage):
    world.execution = ExecutionSettings(complete_bytes=0)
    batch = await world.submit(chat_lines(2))
    expected = EventType.BATCH_CREATED
    if stage == "finalizing":
        await world.planner.plan(batch.id)
        await world.work()
        expected = EventType.BATCH_EXECUTED
    await world.metadata.outbox.sent([internal_event(expected, batch.id).id])
    world.sink.take()
    world.clock.ahead = LATER

    await world.janitor.sweep()

    assert expected in world.sink.types()


async def test_a_batch_that_waits_for_another_hides_nobody_behind_it(world, monkeypatch):
    monkeypatch.setattr(sweep, "LIMIT", 2)
    first = await planned(world)
    after = {"batch_id": first.id, "template": {}}
    waiting = [await world.submit(chat_lines(1), after=after) for _ in range(4)]
    unheard = await world.submit(chat_lines(1))
    for batch in (*waiting, unheard):
        await world.metadata.outbox.sent([internal_event(EventType.BATCH_CREATED, batch.id).id])
    world.clock.ahead = LATER

    await world.janitor.sweep()

    created = {e.subject for e in world.sink.events if e.type is EventType.BATCH_CREATED}
    assert unheard.id in created
    assert created.isdisjoint(batch.id for batch in waiting)


async def expired_file(world):
    file = await world.upload(b"x")
    added = await world.metadata.files.delete(file.tenant, file.id)
    expired = dataclasses.replace(added, expires_at=world.clock.now() - timedelta(seconds=1))
    await world.metadata.files.add(expired)
    return expired


async def blobs(world, prefix):
    return [blob.key async for blob in world.files.list(prefix)]


async def test_expired_files_are_deleted_with_their_rows_however_many(world, monkeypatch):
    monkeypatch.setattr(sweep, "LIMIT", 2)
    expired = [await expired_file(world) for _ in range(5)]

    await world.janitor.sweep()

    assert not await world.metadata.files.existing([file.id for file in expired])
    assert await blobs(world, "files/") == []


async def test_an_expired_file_stays_known_until_its_blob_is_gone(make_world, tmp_path):
    class Undeletable(LocalFiles):
        async def delete(self, *keys):
            raise Unavailable("the file store does not delete now")

    world = make_world()
    file = await expired_file(world)
    world.files = Undeletable(tmp_path / "files")
    with pytest.raises(Temporary):
        await world.janitor.sweep()
    assert await world.metadata.files.existing([file.id])

    world.files = LocalFiles(tmp_path / "files")
    await asyncio.sleep(0.01)
    await world.janitor.sweep()

    assert await blobs(world, "files/") == []


async def test_blobs_that_nobody_owns_are_deleted_when_nobody_can_be_writing_them(world):
    ended = await world.run(await world.submit(chat_lines(2)))
    await planned(world)
    kept = {prefix: await blobs(world, prefix) for prefix in ("files/", "orders/", "work/")}
    for key in (
        "files/file-0123",
        "orders/file-0123",
        "uploads/upload_0123/part_0123",
        f"work/{ended.id}/0123/000000/lines.jsonl",
        "work/batch_gone/0123/000000/lines.jsonl",
    ):
        await world.files.put(key, b"nobody's")

    await world.janitor.sweep()
    assert "files/file-0123" in await blobs(world, "files/")

    await world.wipe()  # so that it is looked again at once
    world.clock.ahead = timedelta(days=1, hours=1)
    await world.janitor.sweep()

    assert {prefix: await blobs(world, prefix) for prefix in kept} == kept
    assert await blobs(world, "uploads/") == []


async def test_causes_are_forgotten_however_many(world, monkeypatch):
    monkeypatch.setattr(sweep, "LIMIT", 2)
    batch = await world.submit(chat_lines(1))
    causes = [SourceEvent(source="/them", id=str(n)) for n in range(5)]
    for number, cause in enumerate(causes):
        made = batch.evolve(id=f"{batch.id[:-1]}{number}", created_at=world.clock.now())
        if made.id != batch.id:
            await world.metadata.batches.create(made, [], cause=cause)
    world.clock.ahead = timedelta(days=8)

    await world.janitor.sweep()

    assert [await world.metadata.processed_events.find(cause.key) for cause in causes] == [None] * 5


async def test_claims_of_idempotent_requests_are_forgotten_after_a_day(world):
    now = world.clock.now()
    old, young = (
        IdempotencyClaim(id=name, seed="0" * 32, holder="h", held_until=made, created_at=made)
        for name, made in (("old", now - KEPT - LATER), ("young", now - KEPT + LATER))
    )
    for claim in (old, young):
        await world.metadata.claims.claim(claim)

    await world.janitor.sweep()

    again = dataclasses.replace(old, holder="another", created_at=now, held_until=now)
    assert await world.metadata.claims.claim(again) == again
    same = dataclasses.replace(again, id=young.id)
    assert (await world.metadata.claims.claim(same)).created_at == young.created_at


async def test_work_objects_of_failed_batches_are_deleted(world):
    batch = await planned(world)
    await world.metadata.batches.fail(batch.id, [], now=world.clock.now(), events=[])

    await world.janitor.sweep()

    assert [blob async for blob in world.files.list("work/")] == []
    assert await shards_of(world, batch) == []


async def test_what_tenants_have_is_counted_anew_once_a_day(world):
    batch = await planned(world)
    right = await world.metadata.accounts.get(batch.tenant)

    async def spoil() -> None:
        """Count as no release of ours does."""
        async with world.metadata._database.writing() as connection:
            await book(connection, batch.tenant, QuotaUsage(files=3, open_batches=-7))

    await spoil()
    await world.janitor.sweep()
    healed = await world.metadata.accounts.get(batch.tenant)
    await spoil()
    await asyncio.sleep(0.01)  # the next sweep is none before that
    await world.janitor.sweep()

    assert healed == right
    assert await world.metadata.accounts.get(batch.tenant) != right


async def test_sweeping_twice_at_once_does_no_harm(make_world):
    world = make_world(planning=PlanningSettings(shard_lines=2))
    batch = await planned(world, count=6)
    await world.wipe()

    await asyncio.gather(world.janitor.sweep(), make_world().janitor.sweep())

    assert (await world.coordination.queue.depth()).ready == 3
    await world.work()
    assert (await world.reload(batch)).counts.completed == 6
