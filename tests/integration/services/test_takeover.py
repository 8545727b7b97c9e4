"""What a killed executor has left is taken over at once, and never from one that lives.

Leases and grants last for ten minutes here, so only taking over lets the batch continue in time.
"""

import asyncio
import itertools
import signal
from collections import Counter
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from fixtures.gateway import chat_lines
from fixtures.worker import spawn_worker

from batch_gateway.core.ids import ActivationId
from batch_gateway.core.model import BatchStatus, ResultTally
from batch_gateway.ports.shard_queue import QueueDepth
from batch_gateway.services.execute.lease_renewer import LeaseRenewer
from batch_gateway.services.execute.takeover import Takeover
from batch_gateway.settings import EngineMonitorSettings, ExecutionSettings, PlanningSettings

LINES = 60
DEAD = ActivationId("dead")
PATIENCE_S = 240  # well below what leases and grants last for
LONG = ExecutionSettings(
    lease_ttl_s=600, slot_ttl_s=600, heartbeat_s=0.2, flush_interval_s=0.1, idle_exit_s=0.5
)


@pytest.fixture
async def world(make_world, start_endpoint):
    endpoint = await start_endpoint()

    async def slow(arrival):
        await asyncio.sleep(0.05)

    endpoint.answer = slow
    world = make_world(
        execution=LONG,
        planning=PlanningSettings(shard_lines=20),
        watching=EngineMonitorSettings(metrics=False, probe=False),
    )
    world.inference_url = endpoint.url
    world.endpoint = endpoint
    return world


async def begun(world):
    batch = await world.submit(chat_lines(LINES))
    await world.planner.plan(batch.id)
    return batch


async def arrived(world, count):
    async with asyncio.timeout(PATIENCE_S):
        while len(world.endpoint.arrivals) < count:
            await asyncio.sleep(0.01)


async def leases(world):
    return [ref async for ref in _leases(world)]


async def _leases(world):
    for ref, _ in await world.metadata.shards.leased(limit=100):
        yield ref


@asynccontextmanager
async def worker(world, sink, request):
    process = await spawn_worker(world, sink=sink.url, request=request)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def killed_midway(world, sink, request):
    """A worker that is killed when a third of the lines are under way or done."""
    async with worker(world, sink, request) as process:
        await arrived(world, LINES // 3)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert await leases(world)
    return len(world.endpoint.arrivals)


async def whole(world, batch):
    """Every line has one result, and few were sent twice."""
    done = await world.reload(batch)
    if done.assemblable:
        await world.assembler.assemble(batch.id)
        done = await world.reload(batch)
    assert done.status is BatchStatus.COMPLETED
    output, _ = await world.results(done)
    assert Counter(line["custom_id"] for line in output) == Counter(
        f"line-{n}" for n in range(1, LINES + 1)
    )
    return len(world.endpoint.arrivals) - LINES


@pytest.mark.timeout(600)  # two interpreters start, perhaps on a busy machine
async def test_an_event_that_is_delivered_again_continues_at_once_what_was_killed(
    world, start_endpoint
):
    sink = await start_endpoint()
    batch = await begun(world)
    begun_before = await killed_midway(world, sink, "event")

    async with worker(world, sink, "event") as successor, asyncio.timeout(PATIENCE_S):
        assert await successor.wait() == 0

    assert await whole(world, batch) <= begun_before


@pytest.mark.timeout(600)
async def test_what_was_killed_is_taken_over_by_another_activation_too(world, start_endpoint):
    """The broker may deliver the event of the dead one much later, or never."""
    sink = await start_endpoint()
    batch = await begun(world)
    await killed_midway(world, sink, "event")

    async with asyncio.timeout(PATIENCE_S):
        for event in itertools.count():  # one may end before it is sure that the other is dead
            async with worker(world, sink, f"another event {event}") as other:
                assert await other.wait() == 0
            if not (await world.reload(batch)).open_shards:
                break

    await whole(world, batch)


async def leased_by_a_dead_one(world, shards):
    """So many leases in the database and the queue, as their holder had them."""
    await world.janitor.sweep()  # plants the generation
    leases = []
    for _ in range(shards):
        entry = await world.coordination.queue.propose()
        lease = await world.metadata.shards.claim(
            entry.shard, holder=DEAD, token="dead", now=world.clock.now()
        )
        await world.coordination.queue.lease(entry, lease.ref, timedelta(hours=1))
        leases.append(lease)
    return leases


async def taken_over(world):
    takeover = Takeover(world.metadata, world.coordination, world.termination)
    await takeover.of_dead([DEAD])
    return await world.coordination.queue.depth()


async def test_a_shard_that_the_dead_one_closed_keeps_no_lease_in_the_queue(world):
    """It died after it had closed the shard in the database, before it told the queue."""
    await begun(world)
    (closed,) = await leased_by_a_dead_one(world, 1)
    await world.metadata.shards.finish(
        closed.ref, [], ResultTally(failed=20), now=world.clock.now(), events=[]
    )

    assert await taken_over(world) == QueueDepth(ready=2, leased=0, reserved=0)


async def test_a_shard_that_the_dead_one_handed_back_is_proposed_at_once(world):
    batch = await begun(world)
    handed_back, held, others = await leased_by_a_dead_one(world, 3)
    rows = world.metadata.shards
    await rows.release(handed_back.ref, [], ResultTally(), now=world.clock.now(), events=[])
    await rows.release(others.ref, [], ResultTally(), now=world.clock.now(), events=[])
    alive = await rows.claim(
        others.ref.shard, holder=ActivationId("alive"), token="t", now=world.clock.now()
    )

    assert await taken_over(world) == QueueDepth(ready=2, leased=0, reserved=0)

    assert await rows.held_by(ActivationId("alive"), limit=9) == [alive.ref]
    assert set(await leases(world)) == {alive.ref}
    assert held.ref.shard in {entry.shard for entry in await rows.ready(after=None, limit=9)}
    assert (await world.reload(batch)).open_shards == 3


async def test_a_renewal_that_comes_behind_the_end_of_its_lease_brings_nothing_back(
    world, monkeypatch
):
    await begun(world)
    queue = world.coordination.queue
    (lease,) = await leased_by_a_dead_one(world, 1)
    under_way, goes_on, renew = asyncio.Event(), asyncio.Event(), queue.renew

    async def slow(renewed, ttl):
        under_way.set()
        await goes_on.wait()
        await renew(renewed, ttl)

    monkeypatch.setattr(queue, "renew", slow)
    renewer = LeaseRenewer(queue, ttl=timedelta(hours=1), every_s=60)
    renewer.track(lease.ref)
    keeping = asyncio.create_task(renewer.keep())
    await under_way.wait()

    renewer.end(lease.ref)
    await queue.complete([lease.ref.shard])
    goes_on.set()
    await renewer.settled()
    keeping.cancel()

    assert (await queue.depth()).leased == 0


async def test_an_event_that_is_delivered_twice_takes_nothing_from_a_living_activation(world):
    batch = await begun(world)

    first = asyncio.create_task(world.work("event"))
    await arrived(world, LINES // 3)
    before = await leases(world)
    second = asyncio.create_task(world.work("event"))
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(first, second)

    assert before
    assert await whole(world, batch) == 0  # nothing was sent twice


async def test_a_lease_that_was_taken_over_is_worth_nothing_to_its_old_holder(world):
    """Two executors may act as its holder: the database contains one."""
    batch = await begun(world)
    shard, *_ = [shard async for shard in world.metadata.shards.of_batch(batch.id)]
    old = await world.metadata.shards.claim(
        shard.id, holder=ActivationId("old"), token="old", now=world.clock.now()
    )
    [ref] = await world.metadata.shards.held_by(ActivationId("old"), limit=9)
    assert ref == old.ref

    assert await world.termination.reclaim([ref]) == 1

    now = world.clock.now()
    rows = world.metadata.shards
    assert await rows.held_by(ActivationId("old"), limit=9) == []
    assert await rows.finish(old.ref, [], old.shard.tally, now=now, events=[]) is None
    assert await rows.release(old.ref, [], old.shard.tally, now=now, events=[]) is False
    assert await rows.checkpoint({old.ref: old.shard.tally}) == []
    assert (
        await rows.complete(
            old.ref,
            old.shard.tally,
            deadline=batch.deadline,
            files=[],
            output=None,
            error=None,
            now=now,
            events=[],
        )
        is None
    )
