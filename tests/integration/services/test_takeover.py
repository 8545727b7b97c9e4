"""What a killed executor has left is taken over at once, and never from one that lives.

Leases and grants last for ten minutes here, so only taking over lets the batch go on in time.
"""

import asyncio
import itertools
import signal
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from fixtures.gateway import chat_lines
from fixtures.worker import spawn_worker

from batch_gateway.core.ids import ActivationId
from batch_gateway.core.model import BatchStatus
from batch_gateway.settings import Execution, Planning, Watching

LINES = 60
PATIENCE_S = 240  # well below what leases and grants last for
LONG = Execution(
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
        planning=Planning(shard_lines=20),
        watching=Watching(metrics=False, probe=False),
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


async def finished(world, batch, process):
    """Whether the batch has no open shard any more; False when ``process`` ends before.

    A process may stay longer: as long as the queue holds a lease of the dead one, ten minutes here.
    """
    while (await world.reload(batch)).open_shards:
        if process.returncode is not None:
            assert process.returncode == 0
            return not (await world.reload(batch)).open_shards
        await asyncio.sleep(0.05)
    return True


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
        assert await finished(world, batch, successor)

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
                if await finished(world, batch, other):
                    break

    await whole(world, batch)


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
    """Two may believe that they hold it: the database knows one."""
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
