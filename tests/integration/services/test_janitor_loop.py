"""The janitor goes round while there is work to look after, and rests when there is none."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from fixtures.world import chat_lines

from batch_gateway.core.errors import Unavailable
from batch_gateway.core.events import EventType
from batch_gateway.core.ids import ActivationId
from batch_gateway.core.lifecycle import lifecycle_event
from batch_gateway.core.model import BatchStatus
from batch_gateway.settings import SweepSettings

pytestmark = pytest.mark.redis

DAY = timedelta(days=1)


def _created(batch):
    return lifecycle_event(EventType.BATCH_CREATED, batch)


async def going(world, **rules):
    """The rounds as a task that has swept at least once."""
    task = asyncio.create_task(world.janitor_loop(**rules).run())
    await asyncio.sleep(0.1)
    return task


async def planned(world, **options):
    batch = await world.submit(chat_lines(2), **options)
    await world.planner.plan(batch.id)
    await world.metadata.outbox.sent([_created(batch).id])
    world.sink.take()
    return batch


async def pause(world, batch):
    await world.metadata.batches.pause(batch.tenant, batch.id, True)
    await world.coordination.queue.withdraw(batch.id)


async def test_without_work_one_sweep_is_all(world):
    async with asyncio.timeout(45):
        await world.janitor_loop(every_s=60).run()

    assert world.sink.types() == []


async def test_on_an_old_configuration_it_leaves_the_rest_to_a_successor_once(world):
    batch = await planned(world)
    janitor_loop = world.janitor_loop(every_s=60)
    called = world.sink.calls
    first = asyncio.create_task(janitor_loop.run())
    await asyncio.sleep(0.1)

    world.superseded.set()
    async with asyncio.timeout(45):
        await first
    assert world.sink.calls == called + 1

    second = asyncio.create_task(janitor_loop.run())
    await world.work()
    await world.assembler.assemble(batch.id)
    assert not second.done()  # it waits for its next round
    world.stopping.set()
    async with asyncio.timeout(45):
        await second


async def test_it_goes_round_until_the_batch_has_ended(world):
    batch = await planned(world)
    janitor_loop = await going(world)
    assert not janitor_loop.done()

    await world.work()
    await world.assembler.assemble(batch.id)

    async with asyncio.timeout(45):
        await janitor_loop
    assert (await world.reload(batch)).status is BatchStatus.COMPLETED


async def test_a_second_call_is_answered_at_once(world):
    await planned(world)
    janitor_loop = world.janitor_loop(every_s=60)
    first = asyncio.create_task(janitor_loop.run())
    await asyncio.sleep(0.1)

    async with asyncio.timeout(45):
        await janitor_loop.run()

    assert not first.done()
    world.stopping.set()
    await first


@pytest.mark.parametrize("why", ["time", "signal"])
async def test_who_must_stop_calls_a_successor(world, why):
    await planned(world)
    before = world.sink.calls
    janitor_loop = await going(world, every_s=0.05, budget_s=0.2 if why == "time" else 60)

    if why == "signal":
        world.stopping.set()

    async with asyncio.timeout(45):
        await janitor_loop
    assert world.sink.calls == before + 1


async def test_an_event_that_the_broker_does_not_take_keeps_it(world):
    await world.metadata.outbox.add([_created(await planned(world))], world.clock.now())
    world.sink.away = True
    janitor_loop = await going(world)
    assert not janitor_loop.done()
    world.stopping.set()
    await janitor_loop


async def test_a_batch_that_is_paused_does_not_keep_it(world):
    batch = await planned(world)
    await pause(world, batch)

    async with asyncio.timeout(45):
        await world.janitor_loop(every_s=60).run()


async def test_a_paused_batch_whose_deadline_is_near_keeps_it(world):
    batch = await planned(world, window=timedelta(minutes=5))
    await pause(world, batch)

    janitor_loop = await going(world)

    assert not janitor_loop.done()
    world.stopping.set()
    await janitor_loop


async def test_a_batch_that_waits_for_another_does_not_keep_it(world):
    first = await planned(world)
    await pause(world, first)
    after = {"batch_id": first.id, "template": {"messages": "{{response.body.choices}}"}}
    follower = await world.submit(b"", after=after)
    await world.metadata.outbox.sent([_created(follower).id])

    async with asyncio.timeout(45):
        await world.janitor_loop(every_s=60).run()


async def test_a_deadline_far_away_and_an_executor_at_work_keep_it(world):
    batch = await planned(world)
    await pause(world, batch)
    me = ActivationId("somebody")
    await world.coordination.activations.enter(me, maximum=8, ttl=timedelta(minutes=1))

    janitor_loop = await going(world)

    assert not janitor_loop.done()
    world.stopping.set()
    await janitor_loop


@asynccontextmanager
async def relaying(world):
    """The outbox relay at work, with as little patience as there can be."""
    world.sweep = SweepSettings(unsent_s=0.02)
    runtime = world.runtime
    relay = asyncio.create_task(runtime.outbox_relay.run())
    try:
        yield runtime.publisher
    finally:
        relay.cancel()
        await asyncio.wait({relay})


async def test_the_janitor_is_called_for_a_batch_that_does_not_go_on(world):
    batch = await world.submit(chat_lines(1))
    assert world.sink.calls == 0

    async with relaying(world) as publisher:
        await publisher.publish(_created(batch))

        async with asyncio.timeout(45):
            while not world.sink.calls:
                await asyncio.sleep(0.01)


async def test_the_janitor_is_called_for_a_batch_that_was_not_cleared_up(world, monkeypatch):
    async def died(*_batches):
        raise Unavailable("as if the executor had been killed")

    monkeypatch.setattr(world.metadata.batches, "swept", died)
    batch = await world.run(await world.submit(chat_lines(1)))

    async with relaying(world) as publisher:
        await publisher.publish(_created(batch))

        async with asyncio.timeout(45):
            while not world.sink.calls:
                await asyncio.sleep(0.01)


async def test_the_janitor_is_not_called_for_a_batch_that_is_done(world, monkeypatch):
    batch = await world.run(await world.submit(chat_lines(1)))
    looks, ended = [], world.metadata.batches.ended

    async def counted(*, limit):
        looks.append(await ended(limit=limit))
        return looks[-1]

    monkeypatch.setattr(world.metadata.batches, "ended", counted)

    async with relaying(world) as publisher:
        await publisher.publish(_created(batch))

        async with asyncio.timeout(45):
            while len(looks) < 3:
                await asyncio.sleep(0.01)
    assert world.sink.calls == 0


async def test_what_a_killed_process_did_not_send_is_sent_by_the_next_one(world):
    world.sink.away = True
    await world.submit(chat_lines(1))  # answered, and not sent
    world.sink.away = False

    async with relaying(world):
        async with asyncio.timeout(45):
            while await world.metadata.outbox.unsent(before=world.clock.now(), limit=1):
                await asyncio.sleep(0.01)
    assert EventType.BATCH_CREATED in world.sink.types()


async def test_what_the_broker_did_not_take_is_sent_again_by_who_announced_it(world):
    batch = await world.submit(chat_lines(1))
    world.sweep = SweepSettings(unsent_s=0.02)
    runtime = world.runtime
    running = asyncio.create_task(runtime.outbox_relay.run())
    world.sink.away = True
    await runtime.publisher.publish(_created(batch))
    await asyncio.sleep(0.05)

    world.sink.away = False

    async with asyncio.timeout(45):
        while await world.metadata.outbox.unsent(before=world.clock.now(), limit=1):
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait({running})
    assert EventType.BATCH_CREATED in world.sink.types()
