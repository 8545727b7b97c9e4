"""Near deadlines, several tenants and several models at one executor."""

import asyncio
from datetime import timedelta

import pytest
from fixtures.world import chat_lines

from batch_gateway.core.ids import ActivationId, BatchId, TenantId
from batch_gateway.core.model import BatchStatus, ShardState
from batch_gateway.ports.throughput import WorkReport
from batch_gateway.services.execute.throughput import ThroughputReporter
from batch_gateway.settings import ExecutionSettings, PlanningSettings, QueueSettings

pytestmark = pytest.mark.redis

OTHER = TenantId("other")
BRISK = ExecutionSettings(heartbeat_s=0.2, flush_interval_s=0.1)


async def planned(world, lines, **options):
    batch = await world.submit(lines, **options)
    await world.planner.plan(batch.id)
    return batch


async def arrived(world, count):
    while len(await world.arrivals()) < count:
        await asyncio.sleep(0.01)


def named(name, count, **options):
    lines = chat_lines(count, **options)
    for line in lines:
        line["body"]["messages"][-1]["content"] += f" For {name}."
        line["custom_id"] = f"{name}-{line['custom_id']}"
    return lines


async def executed(world, batch):
    """Wait until all lines of ``batch`` have results; a small one is completed then."""
    while not ((found := await world.reload(batch)).assemblable or found.terminal):
        await asyncio.sleep(0.05)


async def test_an_urgent_batch_gets_the_next_free_slots_and_the_outranked_one_keeps_its_lease(
    make_world,
):
    world = make_world(execution=BRISK)
    await world.configure(ttft_ms=40, slots=4, queue=0)
    fair = await planned(world, named("fair", 300))
    working = asyncio.create_task(world.work())
    await arrived(world, 10)

    urgent = await planned(world, named("urgent", 20), tenant=OTHER, window=timedelta(seconds=50))
    await executed(world, urgent)

    (shard,) = [shard async for shard in world.metadata.shards.of_batch(fair.id)]
    assert (shard.state, shard.epoch) == (ShardState.LEASED, 1)
    await world.configure(ttft_ms=0, slots=64, queue=64)
    await working
    fair, urgent = await world.reload(fair), await world.reload(urgent)
    assert (fair.counts.completed, urgent.counts.completed) == (300, 20)
    assert len(await world.arrivals()) >= 320


async def test_work_of_others_goes_on_beside_a_huge_urgent_batch(make_world):
    world = make_world(execution=BRISK, planning=PlanningSettings(shard_lines=50))
    await world.configure(ttft_ms=30, slots=8, queue=0)
    urgent = await planned(world, named("urgent", 600), window=timedelta(seconds=50))
    working = asyncio.create_task(world.work())
    await arrived(world, 10)

    fair = await planned(world, named("fair", 10), tenant=OTHER)
    await executed(world, fair)

    assert (await world.reload(urgent)).open_shards > 0
    await world.configure(ttft_ms=0, slots=64, queue=64)
    await working


@pytest.mark.parametrize("together", [True, False], ids=["one batch", "two batches"])
async def test_a_model_that_is_stuck_blocks_no_other_models_work(make_world, together):
    world = make_world(
        execution=ExecutionSettings(max_leases=4, flush_interval_s=0.1),
        planning=PlanningSettings(shard_lines=10),
    )
    await world.configure(fault_rate=1.0, fault_kinds=["timeout"], fault_match="STUCK")
    stuck = chat_lines(200, model="sim-large")
    for line in stuck:
        line["body"]["messages"][-1]["content"] += "STUCK"
    fine = named("fine", 100, model="sim-small")
    batches = [await planned(world, stuck + fine)] if together else []
    batches = batches or [await planned(world, stuck), await planned(world, fine)]
    working = asyncio.create_task(world.work())

    async with asyncio.timeout(60):
        while await open_of(world, batches[-1], "sim-small"):
            await asyncio.sleep(0.05)

    working.cancel()
    await asyncio.wait([working])
    assert (await world.reload(batches[0])).status is BatchStatus.IN_PROGRESS


async def open_of(world, batch, model):
    shards = [shard async for shard in world.metadata.shards.of_batch(batch.id)]
    return [s for s in shards if s.model == model and s.state is not ShardState.CLOSED]


async def test_urgency_follows_the_estimates(make_world):
    world = make_world(planning=PlanningSettings(shard_lines=10))
    batch = await planned(world, chat_lines(40), window=timedelta(hours=1))
    cost = (await world.coordination.queue.waiting(1))[batch.id].cost["sim-large"]
    throughput = ThroughputReporter(
        ActivationId("me"),
        coordination=world.coordination,
        clock=world.clock,
        execution=ExecutionSettings(heartbeat_s=0.001),
        rules=QueueSettings(urgent_margin_s=60, urgent_safety=2),
    )

    async def judged():
        await throughput.judge([])
        await asyncio.sleep(0.01)  # the heartbeat, of which there is one at a time
        found = (await world.coordination.queue.waiting(1))[batch.id].urgent_after
        return (batch.deadline - found).total_seconds()

    assert await judged() == pytest.approx(60, abs=0.1)
    # Five seconds' work of another batch is all that is known of the model: a tenth of ours.
    await world.coordination.throughput.report(
        ActivationId("other"),
        [WorkReport(batch=BatchId("batch_z"), model="sim-large", done=cost / 10, left=0)],
        ttl=timedelta(minutes=1),
    )
    assert await judged() == pytest.approx(60 + 2 * 50, rel=0.01)
    entry = await world.coordination.queue.propose()
    await world.coordination.queue.complete([entry.shard])
    assert await judged() < 60 + 2 * 45
