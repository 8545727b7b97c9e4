"""Which wake-ups are sent: one for new work at rest, none while an activation will find it."""

import asyncio
from datetime import timedelta

import pytest
from fixtures.world import chat_lines

from batch_gateway.core.events import EventType
from batch_gateway.core.ids import ActivationId
from batch_gateway.settings import ExecutionSettings

pytestmark = pytest.mark.redis
MINUTE = timedelta(minutes=1)


async def planned(world, count=2):
    batch = await world.submit(chat_lines(count))
    await world.planner.plan(batch.id)
    return batch


def wake_ups(world):
    return [one for one in world.sink.take() if one.type is EventType.WORK_AVAILABLE]


async def test_a_burst_of_batches_opens_one_activation(world):
    await asyncio.gather(*(planned(world) for _ in range(10)))

    assert len(wake_ups(world)) == 1


async def test_new_work_wakes_none_while_an_activation_runs(world):
    await world.coordination.activations.enter(ActivationId("one"), maximum=8, ttl=MINUTE)

    await planned(world)

    assert wake_ups(world) == []


async def test_work_that_is_queued_while_the_last_activation_leaves_wakes_another(
    world, monkeypatch
):
    leave = world.coordination.activations.leave
    planned_late = []

    async def leave_late(me):
        planned_late.append(await planned(world))
        assert wake_ups(world) == []
        await leave(me)

    monkeypatch.setattr(world.coordination.activations, "leave", leave_late)

    await world.work()

    assert len(planned_late) == 1
    assert len(wake_ups(world)) == 1


async def test_an_activation_that_takes_no_more_work_wakes_another_for_it(make_world):
    rules = ExecutionSettings(soft_budget_s=3, hard_budget_s=100, term_grace_s=0.01)
    world = make_world(execution=rules)
    await world.configure(ttft_ms=60_000)
    await planned(world, 1)
    working = asyncio.create_task(world.work())
    while not await world.arrivals():
        assert not working.done()
        await asyncio.sleep(0.01)
    await asyncio.sleep(rules.soft_budget_s)
    wake_ups(world)
    await planned(world)

    async with asyncio.timeout(90):
        while not wake_ups(world):
            assert not working.done()
            await asyncio.sleep(0.01)

    world.stopping.set()
    await working
