"""One broken item never ends a sweep, and a backlog is handled until it is done."""

import asyncio
from datetime import timedelta

import pytest
from fixtures.world import Sink, chat_lines

from batch_gateway import meters
from batch_gateway.core.errors import Temporary
from batch_gateway.core.events import EventType, internal_event
from batch_gateway.core.ids import ActivationId
from batch_gateway.core.model import BatchStatus
from batch_gateway.services.maintenance import open_batches, rebuild, sweep
from batch_gateway.services.maintenance.rebuild import ensure_generation
from batch_gateway.services.results import lost_objects
from batch_gateway.services.results.parts import write_part
from batch_gateway.services.termination import Termination
from batch_gateway.settings import PlanningSettings, SweepSettings

pytestmark = pytest.mark.redis

LATER = timedelta(minutes=2)


async def planned(world, count=3, **options):
    batch = await world.submit(chat_lines(count), **options)
    await world.planner.plan(batch.id)
    world.sink.take()
    return batch


async def cancelled_under_a_dead_executor(world, *, lost_part=False):
    """A batch whose only shard stays leased beyond the fence."""
    batch = await planned(world)
    (shard,) = [shard async for shard in world.metadata.shards.of_batch(batch.id)]
    if lost_part:
        lease = await world.metadata.shards.claim(
            shard.id, holder=ActivationId("a"), token="s", now=world.clock.now()
        )
        part = await write_part(world.files, lease.shard, 0, [])
        await world.metadata.shards.release(
            lease.ref, [part], shard.tally, now=world.clock.now(), events=[]
        )
        await world.files.delete(part.key)
    await world.metadata.shards.claim(
        shard.id, holder=ActivationId("dead"), token="t", now=world.clock.now()
    )
    now = world.clock.now()
    await world.metadata.batches.cancel(batch.tenant, batch.id, now=now, fence_at=now, events=[])
    return batch


async def swept(janitor):
    """Sweep until it is this janitor's turn; whether every step was done."""
    await asyncio.sleep(0.005)
    try:
        await janitor.sweep()
    except Temporary:
        return False
    return True


def failures(step):
    return meters.SWEEP_ITEMS_FAILED.labels(step)._value.get()


async def test_a_lost_part_ends_its_batch_and_keeps_no_other(world, monkeypatch):
    monkeypatch.setattr(lost_objects, "APART", timedelta(milliseconds=1))
    broken = await cancelled_under_a_dead_executor(world, lost_part=True)
    fine = await cancelled_under_a_dead_executor(world)
    janitor, before = world.janitor, failures("break_fences")

    assert not await swept(janitor)

    assert (await world.reload(fine)).assemblable
    assert not (await world.reload(broken)).assemblable
    assert failures("break_fences") > before
    for _ in range(lost_objects.TRIES + 1):
        world.clock.ahead += timedelta(hours=2)  # it is tried again later and later
        await swept(janitor)
    assert (await world.reload(broken)).assemblable
    world.clock.ahead += timedelta(hours=2)
    await world.assembler.assemble(broken.id)
    assert (await world.reload(broken)).status is BatchStatus.CANCELLED


async def test_an_error_that_nobody_foresaw_keeps_no_other_batch(world, monkeypatch):
    expired = [await planned(world, window=timedelta(milliseconds=50)) for _ in range(3)]
    expire = Termination.expire

    async def sometimes(termination, batch, **named):
        if batch == expired[0].id:
            raise OverflowError("Python int too large to convert to SQLite INTEGER")
        return await expire(termination, batch, **named)

    monkeypatch.setattr(Termination, "expire", sometimes)
    await asyncio.sleep(0.1)
    janitor = world.janitor

    assert not await swept(janitor)

    assert not (await world.reload(expired[0])).assemblable
    assert [(await world.reload(batch)).assemblable for batch in expired[1:]] == [True, True]
    assert await swept(janitor)  # it is not tried again at once
    monkeypatch.setattr(Termination, "expire", expire)
    world.clock.ahead = LATER
    assert await swept(janitor)
    assert (await world.reload(expired[0])).assemblable


async def test_a_backlog_is_handled_until_it_is_done(world, monkeypatch):
    monkeypatch.setattr(sweep, "LIMIT", 2)
    batches = [await planned(world, window=timedelta(milliseconds=50)) for _ in range(7)]
    await asyncio.sleep(0.1)

    await world.janitor.sweep()

    assert all([(await world.reload(batch)).assemblable for batch in batches])


async def test_what_one_step_does_not_finish_in_its_time_is_left_to_the_next_sweep(
    make_world, monkeypatch
):
    monkeypatch.setattr(sweep, "LIMIT", 2)
    world = make_world(sweep=SweepSettings(interval_s=0.001, step_budget_s=1e-9))
    batches = [await planned(world, window=timedelta(milliseconds=50)) for _ in range(5)]
    await asyncio.sleep(0.1)
    janitor = world.janitor

    assert await janitor.sweep()
    assert sum([(await world.reload(batch)).assemblable for batch in batches]) == 2
    rounds = asyncio.create_task(world.janitor_loop(every_s=600, step_budget_s=1e-9).run())
    async with asyncio.timeout(20):  # far less than the time between two sweeps
        while not all([(await world.reload(batch)).assemblable for batch in batches]):
            await asyncio.sleep(0.01)
    world.stopping.set()
    await rounds


async def test_more_living_leases_than_a_page_hide_no_dead_one(make_world, monkeypatch):
    monkeypatch.setattr(sweep, "LIMIT", 2)
    world = make_world(planning=PlanningSettings(shard_lines=1))
    world.execution = world.execution.model_copy(update={"lease_ttl_s": 0.05})
    batch = await planned(world, 5)
    await world.janitor.sweep()  # plants the generation
    leases = []
    for n in range(5):
        entry = await world.coordination.queue.propose()
        lease = await world.metadata.shards.claim(
            entry.shard, holder=ActivationId("e"), token=f"t{n}", now=world.clock.now()
        )
        leases.append(lease.ref)
        if n < 4:
            await world.coordination.queue.lease(entry, lease.ref, timedelta(minutes=1))
    await asyncio.sleep(0.1)

    await world.janitor.sweep()

    shards = [shard async for shard in world.metadata.shards.of_batch(batch.id)]
    assert sorted(shard.epoch for shard in shards) == [1, 1, 1, 1, 2]


async def test_three_sweeps_at_once_send_each_reminder_once(make_world):
    world = make_world()
    batches = [await world.submit(chat_lines(1)) for _ in range(20)]
    await world.metadata.outbox.sent(
        [internal_event(EventType.BATCH_CREATED, batch.id).id for batch in batches]
    )
    others = [make_world(sink=Sink(), clock=world.clock) for _ in range(2)]
    world.clock.ahead = LATER

    await asyncio.gather(*(one.janitor.sweep() for one in (world, *others)))
    for one in (world, *others):
        await swept(one.janitor)

    sent = [event.subject for one in (world, *others) for event in one.sink.events]
    assert sorted(sent) == sorted(batch.id for batch in batches)


async def test_a_batch_that_waits_long_for_its_turn_is_reminded_of_less_and_less(world):
    batch = await world.submit(chat_lines(1))
    await world.metadata.outbox.sent([internal_event(EventType.BATCH_CREATED, batch.id).id])
    asked = []

    async def once(name, ttl):
        asked.append((name, ttl))
        return True

    janitor = world.janitor
    janitor._open_batch_checks._coordination = type("Asked", (), {"once": staticmethod(once)})()
    for ahead in (LATER, timedelta(minutes=10), timedelta(hours=5)):
        world.clock.ahead = ahead
        await janitor._open_batch_checks.announce_stuck()

    pauses = [ttl for name, ttl in asked if name == f"reminded/{batch.id}"]
    assert pauses == sorted(pauses)
    assert pauses[0] < timedelta(minutes=1) < timedelta(minutes=4) < pauses[1]
    assert pauses[2] < timedelta(minutes=10)


async def test_a_rebuild_that_takes_longer_than_its_lock_lives_ends(world, monkeypatch):
    monkeypatch.setattr(rebuild, "LOCK", timedelta(milliseconds=150))
    await planned(world)
    await world.wipe()
    ready = world.metadata.shards.ready

    async def slow(**options):
        await asyncio.sleep(0.5)
        return await ready(**options)

    monkeypatch.setattr(world.metadata.shards, "ready", slow)

    rebuilt, other = await asyncio.gather(
        ensure_generation(world.metadata, world.coordination), _after_a_while(world)
    )

    assert rebuilt == timedelta(0)
    assert other is None  # the lock is held all the time
    assert await world.coordination.generation() is not None
    assert (await world.coordination.queue.depth()).ready == 1


async def _after_a_while(world):
    await asyncio.sleep(0.3)
    return await ensure_generation(world.metadata, world.coordination)


async def test_a_long_backlog_is_compared_with_the_queue_in_turn(world, monkeypatch):
    """However long it is, a sweep looks at as much of it."""
    monkeypatch.setattr(rebuild, "AT_MOST", 2)
    batches = [await planned(world) for _ in range(5)]
    for batch in batches:
        await world.coordination.queue.withdraw(batch.id)
    missing = rebuild.QueueRebuilder(world.metadata, world.coordination)

    pushed = [await missing.push() for _ in range(3)]

    assert max(pushed) <= 2
    assert sum(pushed) == (await world.coordination.queue.depth()).ready == 5
    assert await missing.push() == 0


async def test_a_short_backlog_is_compared_whole_wherever_the_walk_begins(world):
    for _ in range(4):
        batch = await planned(world)
        await world.coordination.queue.withdraw(batch.id)
        missing = rebuild.QueueRebuilder(world.metadata, world.coordination)
        assert await missing.push() == 1
    assert (await world.coordination.queue.depth()).ready == 4


async def test_all_deadlines_are_judged_in_turn(world, monkeypatch):
    monkeypatch.setattr(open_batches, "PAGE", 2)
    monkeypatch.setattr(open_batches, "NEAREST", 2)
    monkeypatch.setattr(open_batches, "IN_TURN", 2)
    batches = [await world.submit(chat_lines(1), window=timedelta(hours=n + 1)) for n in range(9)]
    janitor, judged = world.janitor, []

    async def note(found):
        judged.append([batches.index(batch) for batch in map(_stored, found)])
        return found

    def _stored(batch):
        return next(b for b in batches if b.id == batch.id)

    janitor._open_batch_checks._judged = note
    for _ in range(5):
        await janitor._open_batch_checks.warn_of_deadlines()

    assert judged == [[0, 1], [2, 3], [0, 1], [4, 5], [0, 1], [6, 7], [0, 1], [8], [0, 1], [2, 3]]


async def test_a_batch_whose_risk_cannot_be_judged_keeps_no_other(world):
    late = await planned(world)
    broken = await planned(world)
    janitor, told = world.janitor, []
    judged = janitor._open_batch_checks._judged

    async def fragile(batches):
        if broken.id in {batch.id for batch in batches}:
            raise ValueError("counters that cannot be summed")
        return await judged(batches)

    async def tell(batch):
        told.append(batch.id)

    janitor._open_batch_checks._judged, janitor._open_batch_checks._tell = fragile, tell
    world.clock.ahead = timedelta(hours=23)

    assert not await swept(janitor)
    assert told == [late.id]
