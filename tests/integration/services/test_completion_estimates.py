"""What running batches say of their end and of what they wait for, against a simulated model."""

import asyncio
from datetime import timedelta
from itertools import groupby

import pytest
from fixtures.world import TENANT, chat_lines

from batch_gateway.adapters.routing_file import RoutingFile
from batch_gateway.core.model import BatchBlockedReason, BatchStatus
from batch_gateway.services.batches.completion_estimates import CompletionEstimates
from batch_gateway.settings import EngineMonitorSettings, ExecutionSettings, PlanningSettings
from batch_gateway.wiring.batches import make_batches

pytestmark = pytest.mark.redis
BRISK = ExecutionSettings(heartbeat_s=0.2, flush_interval_s=0.2)


def service(world):
    estimates = CompletionEstimates(world.coordination, world.routes, world.clock, ceiling=256)
    return make_batches(world.runtime, estimates)


async def begun(world, lines, **options):
    batch = await world.submit(lines, **options)
    await world.planner.plan(batch.id)
    return batch, asyncio.create_task(world.work())


async def seen(world, batch, condition):
    """The batch as its owner sees it, as soon as ``condition`` holds."""
    batches = service(world)
    async with asyncio.timeout(90):
        while not condition(found := await batches.get(TENANT, batch.id)):
            await asyncio.sleep(0.05)
    return found


async def stopped(working):
    working.cancel()
    await asyncio.wait([working])


async def test_at_a_steady_speed_the_end_is_foreseen(make_world):
    world = make_world(execution=BRISK, planning=PlanningSettings(shard_lines=40))
    await world.configure(ttft_ms=200, slots=8)
    batch, working = await begun(world, chat_lines(240))
    batches, told, asked_at = service(world), [], None
    while not working.done():
        found = await batches.get(TENANT, batch.id)
        told.append((found.blocked_reason, found.estimated_completion_at is not None))
        if asked_at is None and found.counts.completed >= 120 and found.estimated_completion_at:
            halfway, asked_at = found, world.clock.now()
        await asyncio.sleep(0.05)
    await working

    # Unknown at first and when nothing is left, and known all the time in between.
    assert [known for (_, known), _ in groupby(told)] in ([False, True], [False, True, False])
    assert {reason for reason, _ in told} == {None}
    left = (world.clock.now() - asked_at).total_seconds()
    foreseen = (halfway.estimated_completion_at - asked_at).total_seconds()
    assert halfway.blocked_reason is None
    assert foreseen == pytest.approx(left, rel=0.6, abs=1)  # exactly: benchmarks/f11


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ({"fault_kinds": ["429"]}, BatchBlockedReason.ENGINE_SATURATED),
        ({"fault_kinds": ["disconnect"]}, BatchBlockedReason.WAITING_FOR_MODEL),
    ],
)
async def test_a_batch_says_that_its_model_is_full_or_away(make_world, trouble, reason):
    world = make_world(execution=BRISK)
    await world.configure(fault_rate=1.0, **trouble)
    batch, working = await begun(world, chat_lines(50))

    found = await seen(world, batch, lambda b: b.blocked_reason is not None)

    assert found.blocked_reason is reason
    await stopped(working)


async def test_a_batch_says_that_its_calendar_forbids_calls_and_goes_on_when_it_allows_them(
    make_world, tmp_path
):
    world = make_world(execution=BRISK)
    (tmp_path / "routes.yaml").write_text(
        f"endpoints: {{a: {{url: {world.inference_url}, calendar: {{windows: "
        "[{when: '* 9-17 * * *', max_concurrency: 0}]}}}\nmodels: {sim-large: a}"
    )
    world.routing = RoutingFile(tmp_path / "routes.yaml")
    noon = world.clock.now().replace(hour=12, minute=0) + timedelta(days=1)
    world.clock.ahead = noon - world.clock.now()
    batch, working = await begun(world, chat_lines(5), window=timedelta(days=3))
    await working  # at once: no process stays alive for it

    waiting = await service(world).get(TENANT, batch.id)
    world.clock.ahead += timedelta(hours=6)
    evening = await service(world).get(TENANT, batch.id)
    done = await world.run(batch)

    assert (waiting.blocked_reason, waiting.counts.completed) == (BatchBlockedReason.OFF_PEAK, 0)
    assert evening.blocked_reason is None
    assert (done.status, done.counts.completed) == (BatchStatus.COMPLETED, 5)


async def test_a_batch_says_that_others_have_all_the_slots(make_world):
    world = make_world(execution=BRISK, watching=EngineMonitorSettings(metrics=False, probe=False))
    await world.configure(ttft_ms=60_000)
    _, working = await begun(world, chat_lines(50))
    async with asyncio.timeout(90):
        while len(await world.arrivals()) < 8:
            await asyncio.sleep(0.05)
    batch = await world.submit(chat_lines(5))
    await world.planner.plan(batch.id)

    found = await seen(world, batch, lambda b: b.blocked_reason is not None)

    assert found.blocked_reason is BatchBlockedReason.NO_SLOTS
    await stopped(working)


async def test_the_reason_stays_while_the_engine_is_dead_whichever_executor_tries_it(make_world):
    """Trials, hand-backs and hand-overs between activations change nothing about the cause."""
    world = make_world(execution=BRISK, watching=EngineMonitorSettings(metrics=False, probe=False))
    _, working = await begun(world, chat_lines(40))
    await working  # so there is a speed that an estimate could be made of
    await world.configure(fault_rate=1.0, fault_kinds=["disconnect"])
    more, working = await begun(world, chat_lines(40))
    batches, told = service(world), []
    await seen(world, more, lambda b: b.blocked_reason is not None)
    for _ in range(3):  # an executor is killed, and another process takes over
        for _ in range(20):
            found = await batches.get(TENANT, more.id)
            told.append((found.blocked_reason, found.estimated_completion_at))
            await asyncio.sleep(0.05)
        await stopped(working)
        for ref, _ in await world.metadata.shards.leased(limit=10):
            await world.termination.reclaim([ref])
        working = asyncio.create_task(make_world(execution=BRISK).work())

    await stopped(working)
    assert set(told) == {(BatchBlockedReason.WAITING_FOR_MODEL, None)}
    await world.configure(fault_rate=0.0)
    working = asyncio.create_task(make_world(execution=BRISK).work())
    await seen(world, more, lambda b: b.blocked_reason is None)
    await stopped(working)


async def test_a_paused_batch_says_so_and_foresees_no_end(make_world):
    world = make_world()
    batch = await world.submit(chat_lines(5))
    await world.planner.plan(batch.id)
    await world.metadata.batches.pause(TENANT, batch.id, True)

    found = await service(world).get(TENANT, batch.id)

    assert (found.blocked_reason, found.estimated_completion_at) == (
        BatchBlockedReason.PAUSED,
        None,
    )


async def test_nothing_is_said_of_what_nobody_knows(make_world):
    world = make_world()
    batch = await world.submit(chat_lines(5))
    await world.planner.plan(batch.id)

    found = await service(world).get(TENANT, batch.id)

    assert (found.blocked_reason, found.estimated_completion_at) == (None, None)
    ended = await world.run(batch)
    assert ended.estimated_completion_at is None
