"""What running batches say of their end and of what they wait for, against a simulated model."""

import asyncio

import pytest
from fixtures.world import TENANT, chat_lines

from batch_gateway.core.model import Blocked
from batch_gateway.services.batches.outlook import Outlooks
from batch_gateway.settings import Execution, Planning
from batch_gateway.wiring.batches import make_batches

pytestmark = pytest.mark.redis
BRISK = Execution(heartbeat_s=0.2, flush_interval_s=0.2)


def service(world):
    outlooks = Outlooks(world.scratch, world.routes, world.clock, ceiling=256)
    return make_batches(world.runtime, outlooks)


async def begun(world, lines, **options):
    batch = await world.submit(lines, **options)
    await world.planner.plan(batch.id)
    return batch, asyncio.create_task(world.work())


async def seen(world, batch, condition):
    """The batch as its owner sees it, as soon as ``condition`` holds."""
    batches = service(world)
    async with asyncio.timeout(30):
        while not condition(found := await batches.get(TENANT, batch.id)):
            await asyncio.sleep(0.05)
    return found


async def stopped(working):
    working.cancel()
    await asyncio.wait([working])


async def test_at_a_steady_speed_the_end_is_foreseen(make_world):
    world = make_world(execution=BRISK, planning=Planning(shard_lines=40))
    await world.configure(ttft_ms=200, slots=8)
    batch, working = await begun(world, chat_lines(240))
    halfway = await seen(
        world, batch, lambda b: b.counts.completed >= 120 and b.estimated_completion_at
    )
    asked_at = world.clock.now()

    await working

    left = (world.clock.now() - asked_at).total_seconds()
    foreseen = (halfway.estimated_completion_at - asked_at).total_seconds()
    assert halfway.blocked_reason is None
    assert foreseen == pytest.approx(left, rel=0.6, abs=1)  # exactly: benchmarks/f11


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ({"fault_kinds": ["429"]}, Blocked.ENGINE_SATURATED),
        ({"fault_kinds": ["disconnect"]}, Blocked.WAITING_FOR_MODEL),
    ],
)
async def test_a_batch_says_that_its_model_is_full_or_away(make_world, trouble, reason):
    world = make_world(execution=BRISK)
    await world.configure(fault_rate=1.0, **trouble)
    batch, working = await begun(world, chat_lines(50))

    found = await seen(world, batch, lambda b: b.blocked_reason is not None)

    assert found.blocked_reason is reason
    await stopped(working)


async def test_a_paused_batch_says_so_and_foresees_no_end(make_world):
    world = make_world()
    batch = await world.submit(chat_lines(5))
    await world.planner.plan(batch.id)
    await world.metadata.batches.pause(TENANT, batch.id, True)

    found = await service(world).get(TENANT, batch.id)

    assert (found.blocked_reason, found.estimated_completion_at) == (Blocked.PAUSED, None)


async def test_nothing_is_said_of_what_nobody_knows(make_world):
    world = make_world()
    batch = await world.submit(chat_lines(5))
    await world.planner.plan(batch.id)

    found = await service(world).get(TENANT, batch.id)

    assert (found.blocked_reason, found.estimated_completion_at) == (None, None)
    ended = await world.run(batch)
    assert ended.estimated_completion_at is None
