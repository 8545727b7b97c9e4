"""What other systems hear of a batch, from its creation to its end."""

import asyncio
from datetime import timedelta

from fixtures.gateway import chat_lines
from fixtures.world import World

from batch_gateway.core.events import EventType
from batch_gateway.core.ids import ActivationId
from batch_gateway.ports.throughput import WorkReport
from batch_gateway.services.progress_events import ProgressEvents
from batch_gateway.settings import ExecutionSettings, PlanningSettings

LIFE = [
    EventType.BATCH_IN_PROGRESS,
    EventType.BATCH_PROGRESS,
    EventType.BATCH_COMPLETED,
    EventType.BATCH_FAILED,
    EventType.BATCH_AT_RISK,
]


def life(world: World):
    return [event for event in world.sink.events if event.type in LIFE]


async def test_a_batch_is_told_of_from_its_plan_to_its_end(make_world):
    world = make_world(
        planning=PlanningSettings(shard_lines=3),
        execution=ExecutionSettings(max_leases=1, idle_exit_s=0.2),
    )
    await world.configure(ttft_ms=400, slots=4)
    batch = await world.run(await world.submit(chat_lines(30)))

    events = life(world)
    steps = [event for event in events if event.type is EventType.BATCH_PROGRESS]
    assert events[0].type is EventType.BATCH_IN_PROGRESS
    assert events[0].data["request_counts"] == {"total": 30, "completed": 0, "failed": 0}
    assert steps
    percents = [step.data["percent"] for step in steps]
    assert percents == sorted(set(percents))
    for step in steps:
        counts = step.data["request_counts"]
        assert counts["completed"] * 10 // 30 * 10 == step.data["percent"]
    assert events[-1].type is EventType.BATCH_COMPLETED
    assert events[-1].data["output_file_id"] == batch.output_file_id
    assert events[-1].data["request_counts"]["completed"] == 30


async def test_planning_again_tells_the_same_fact_again(world):
    batch = await world.submit(chat_lines(2))
    await world.planner.plan(batch.id)
    await world.planner.plan(batch.id)

    first, second = life(world)
    assert first == second


async def test_a_failed_batch_says_why(world):
    batch = await world.submit(b"{}\n")
    await world.planner.plan(batch.id)

    [event] = life(world)
    assert event.id == f"{batch.id}/failed"
    assert event.data["reason"]["line"] == 1


async def test_a_batch_that_will_be_late_is_told_of_once_an_hour(world):
    batch = await world.submit(chat_lines(2), window=timedelta(hours=4))
    await world.planner.plan(batch.id)
    world.sink.take()
    await world.janitor.sweep()
    assert life(world) == []

    world.clock.ahead = timedelta(hours=2)
    await world.janitor.sweep()
    await world.janitor.sweep()

    [event] = life(world)
    assert (event.id, event.type) == (f"{batch.id}/at_risk", EventType.BATCH_AT_RISK)


async def test_a_batch_whose_speed_is_too_low_is_told_of_early(world):
    slow = await world.submit(chat_lines(20), window=timedelta(seconds=40))
    fast = await world.submit(chat_lines(20), window=timedelta(seconds=40))
    for batch in (slow, fast):
        await world.planner.plan(batch.id)
    world.sink.take()
    for _ in range(2):
        for batch, done in ((slow, 1), (fast, 1_000)):
            report = WorkReport(batch=batch.id, model="sim-large", done=done, left=1_000)
            holder = ActivationId(f"worker of {batch.id}")
            await world.coordination.throughput.report(holder, [report], ttl=timedelta(minutes=1))
        await asyncio.sleep(2.2)  # a shorter time is not looked at

    await world.janitor.sweep()

    assert [event.id for event in life(world)] == [f"{slow.id}/at_risk"]


async def test_that_a_batch_will_be_late_waits_for_the_broker(world):
    batch = await world.submit(chat_lines(2), window=timedelta(hours=4))
    world.clock.ahead = timedelta(hours=2)
    world.sink.away = True
    await world.janitor.sweep()
    world.sink.away = False
    world.clock.ahead += timedelta(minutes=1)

    await world.janitor.sweep()

    assert f"{batch.id}/at_risk" in {event.id for event in life(world)}


async def test_progress_that_cannot_be_told_now_is_told_later_and_work_goes_on(make_world):
    world = make_world(planning=PlanningSettings(shard_lines=2))
    batch = await world.submit(chat_lines(10))
    await world.planner.plan(batch.id)
    world.sink.take()
    world.sink.away = True
    await world.work()
    assert (await world.reload(batch)).counts.completed == 10

    world.sink.away = False
    world.clock.ahead = timedelta(minutes=1)
    await world.janitor.sweep()

    steps = {event.data["percent"] for event in life(world) if "percent" in event.data}
    assert steps
    assert steps <= set(range(10, 100, 10))


async def test_two_who_look_at_a_batch_that_has_ended_at_once_do_no_harm(world):
    batch = await world.submit(chat_lines(2))
    await world.planner.plan(batch.id)
    entry = await world.coordination.queue.propose()
    lease = await world.metadata.shards.claim(
        entry.shard, holder=ActivationId("me"), token="t", now=world.clock.now()
    )
    await world.metadata.batches.fail(batch.id, [], now=world.clock.now(), events=[])
    failed = await world.reload(batch)
    progress_events = ProgressEvents(
        world.coordination, world.publisher, world.clock, pause=timedelta(0)
    )

    await asyncio.gather(progress_events.check(lease, failed), progress_events.check(lease, failed))

    assert EventType.BATCH_PROGRESS not in world.sink.types()
