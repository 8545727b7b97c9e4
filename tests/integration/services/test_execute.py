"""The executor on real stores and a real model endpoint."""

import asyncio
from datetime import timedelta

import pytest
from aiohttp import web
from fixtures.world import chat_lines

from batch_gateway.core.events import EventType
from batch_gateway.core.ids import ActivationId
from batch_gateway.core.model import BatchStatus, ShardState
from batch_gateway.settings import (
    EngineMonitorSettings,
    ExecutionSettings,
    PlanningSettings,
    RetrySettings,
)

pytestmark = pytest.mark.redis


async def planned(world, lines, **options):
    batch = await world.submit(lines, **options)
    await world.planner.plan(batch.id)
    return batch


async def test_every_line_is_answered_once_and_the_last_shard_announces(make_world):
    world = make_world(planning=PlanningSettings(shard_lines=10))
    batch = await planned(world, chat_lines(35))

    await world.work()

    batch = await world.reload(batch)
    assert batch.status is BatchStatus.FINALIZING
    assert (batch.counts.completed, batch.counts.failed, batch.open_shards) == (35, 0, 0)
    assert world.sink.types().count(EventType.BATCH_EXECUTED) == 1
    depth = await world.coordination.queue.depth()
    assert (depth.ready, depth.leased, depth.reserved) == (0, 0, 0)


async def test_several_executors_share_the_work_without_doing_any_twice(make_world):
    world = make_world(planning=PlanningSettings(shard_lines=5))
    batch = await planned(world, chat_lines(60))

    await asyncio.gather(*(make_world().work() for _ in range(3)))

    assert (await world.reload(batch)).counts.completed == 60
    assert len([r for r in await world.arrivals() if not r["aborted"]]) == 60


async def test_an_activation_without_work_ends_at_once(world):
    await world.work()

    assert await world.coordination.activations.count() == (0, 0)


async def test_the_house_is_full_at_the_maximum_of_activations(make_world):
    world = make_world(execution=ExecutionSettings(max_activations=1))
    await world.coordination.activations.enter(
        ActivationId("other"), maximum=1, ttl=timedelta(minutes=1)
    )
    batch = await planned(world, chat_lines(3))

    await world.work()

    assert (await world.reload(batch)).counts.completed == 0


async def test_overload_costs_time_but_no_line(make_world):
    world = make_world()
    await world.configure(fault_rate=0.3, fault_kinds=["429", "503"])
    batch = await world.run(await world.submit(chat_lines(60)))

    assert (batch.counts.completed, batch.counts.failed) == (60, 0)


async def test_a_broken_endpoint_becomes_error_lines_after_some_attempts(make_world):
    world = make_world(retry=RetrySettings(attempts=2, backoff_s=0.01))
    await world.configure(fault_rate=1.0, fault_kinds=["500"])

    batch = await world.run(await world.submit(chat_lines(4)))

    _, errors = await world.results(batch)
    assert batch.status is BatchStatus.COMPLETED
    assert (batch.counts.completed, batch.counts.failed) == (0, 4)
    assert [line["response"]["status_code"] for line in errors] == [500] * 4
    assert all(line["error"] is None for line in errors)
    assert len(await world.arrivals()) == 8


async def test_malformed_answers_become_error_lines(make_world):
    world = make_world(retry=RetrySettings(attempts=2, backoff_s=0.01))
    await world.configure(fault_rate=1.0, fault_kinds=["malformed"])

    batch = await world.run(await world.submit(chat_lines(2)))

    _, errors = await world.results(batch)
    assert [line["error"]["code"] for line in errors] == ["invalid_response"] * 2


async def test_a_requests_own_fault_is_not_tried_again(world):
    lines = chat_lines(3)
    lines[1]["body"]["model"] = "nobody"

    batch = await world.run(await world.submit(lines))

    output, errors = await world.results(batch)
    assert [line["custom_id"] for line in output] == ["line-1", "line-3"]
    assert [line["response"]["status_code"] for line in errors] == [404]
    assert len(await world.arrivals()) == 3


async def test_a_stopped_executor_hands_back_and_its_successor_goes_on(make_world):
    first = make_world(execution=ExecutionSettings(term_grace_s=0.2, flush_interval_s=0.05))
    await first.configure(ttft_ms=50, slots=2)
    batch = await planned(first, chat_lines(40))
    working = asyncio.create_task(first.work())
    while not await first.arrivals():
        await asyncio.sleep(0.01)

    first.stopping.set()
    await working

    shards = [shard async for shard in first.metadata.shards.of_batch(batch.id)]
    assert [shard.state for shard in shards] == [ShardState.READY]
    assert (await first.coordination.queue.depth()).ready == 1
    assert EventType.WORK_AVAILABLE in first.sink.types()
    await first.configure(ttft_ms=0, slots=64)
    second = make_world()
    await second.work()
    batch = await second.reload(batch)
    assert batch.counts.completed == 40
    finished = [r for r in await second.arrivals() if not r["aborted"]]
    assert 40 <= len(finished) <= 42  # two slots: their answers may meet the giving up on the way


async def test_an_executor_with_an_old_configuration_ends_its_calls_and_leaves(make_world):
    first = make_world(execution=ExecutionSettings(flush_interval_s=0.05, max_calls=4))
    await first.configure(ttft_ms=300, slots=64)
    batch = await planned(first, chat_lines(40))
    working = asyncio.create_task(first.work())
    while not await first.arrivals():
        await asyncio.sleep(0.01)

    first.superseded.set()
    async with asyncio.timeout(60):  # its soft budget is 240 s
        await working

    made = await first.arrivals()
    assert not any(call["aborted"] for call in made)
    shards = [shard async for shard in first.metadata.shards.of_batch(batch.id)]
    assert [(shard.state, shard.tally.completed) for shard in shards] == [
        (ShardState.READY, len(made))
    ]
    assert EventType.WORK_AVAILABLE in first.sink.types()


async def test_work_left_by_a_killed_executor_is_resumed_from_its_last_flush(make_world):
    rules = ExecutionSettings(
        flush_interval_s=0.02, lease_ttl_s=1, heartbeat_s=0.2, idle_exit_s=0.1, slot_ttl_s=1
    )
    first = make_world(execution=rules)
    await first.configure(ttft_ms=20, slots=4)
    batch = await planned(first, chat_lines(60))
    working = asyncio.create_task(first.work())
    parts = []
    while not parts:
        await asyncio.sleep(0.01)
        parts = [b async for b in first.files.list(f"work/{batch.id}/") if "/parts/" in b.key]

    working.cancel()
    await asyncio.wait([working])
    (before,) = [shard async for shard in first.metadata.shards.of_batch(batch.id)]
    assert before.state is ShardState.LEASED
    second = make_world(execution=rules)
    await second.work()

    batch = await second.reload(batch)
    assert (batch.counts.completed, batch.counts.failed) == (60, 0)
    await second.assembler.assemble(batch.id)
    output, _ = await second.results(await second.reload(batch))
    assert [line["custom_id"] for line in output] == [f"line-{n}" for n in range(1, 61)]
    again = len(await second.arrivals()) - 60
    assert again < 60


async def test_cancelling_stops_the_calls_and_keeps_what_is_finished(make_world):
    world = make_world(execution=ExecutionSettings(flush_interval_s=0.05))
    await world.configure(ttft_ms=30, slots=4)
    batch = await planned(world, chat_lines(80))
    working = asyncio.create_task(world.work())
    while len(await world.arrivals()) < 12:
        await asyncio.sleep(0.01)

    now = world.clock.now()
    await world.metadata.batches.cancel(
        batch.tenant, batch.id, now=now, fence_at=now + timedelta(seconds=30), events=[]
    )
    await world.coordination.batch_changes.publish(batch.id)
    await working
    await world.assembler.assemble(batch.id)

    batch = await world.reload(batch)
    output, errors = await world.results(batch)
    assert batch.status is BatchStatus.CANCELLED
    assert 0 < len(output) < 80
    assert len(output) + len(errors) == 80
    assert {line["error"]["code"] for line in errors} == {"batch_cancelled"}
    assert (batch.counts.completed, batch.counts.failed) == (len(output), 0)


async def test_the_deadline_ends_the_batch_with_what_is_finished(make_world):
    world = make_world(execution=ExecutionSettings(flush_interval_s=0.05))
    await world.configure(ttft_ms=100, slots=4)
    batch = await planned(world, chat_lines(200), window=timedelta(seconds=2))

    await world.work()
    await world.assembler.assemble(batch.id)

    batch = await world.reload(batch)
    output, errors = await world.results(batch)
    assert batch.status is BatchStatus.EXPIRED
    assert len(output) + len(errors) == 200
    assert {line["error"]["code"] for line in errors} == {"batch_expired"}
    assert EventType.BATCH_EXPIRED in world.sink.types()


async def test_a_wiped_redis_costs_nothing_but_time(make_world):
    world = make_world(
        planning=PlanningSettings(shard_lines=10),
        execution=ExecutionSettings(heartbeat_s=0.2, slot_ttl_s=4),
        watching=EngineMonitorSettings(abort=False),
    )
    await world.configure(ttft_ms=30, slots=4)
    batch = await planned(world, chat_lines(80))
    working = asyncio.create_task(world.work())
    while len(await world.arrivals()) < 10:
        await asyncio.sleep(0.01)

    await world.wipe()
    await working

    batch = await world.reload(batch)
    assert (batch.counts.completed, batch.counts.failed) == (80, 0)
    assert len(await world.arrivals()) == 80


async def test_a_call_that_hangs_is_cut_at_the_deadline_and_expires_as_its_batch_does(
    make_world, start_endpoint
):
    endpoint = await start_endpoint()

    async def all_but_one(arrival):
        if b"Question 2?" in arrival.body:
            await asyncio.sleep(60)

    endpoint.answer = all_but_one
    world = make_world(watching=EngineMonitorSettings(metrics=False, probe=False))
    world.inference_url = endpoint.url
    batch = await planned(world, chat_lines(5), window=timedelta(seconds=2))

    await world.work()
    await world.assembler.assemble(batch.id)

    batch = await world.reload(batch)
    output, errors = await world.results(batch)
    assert batch.status is BatchStatus.EXPIRED
    assert len(output) == 4
    assert [line["custom_id"] for line in errors] == ["line-2"]
    assert errors[0]["error"]["code"] == "batch_expired"


async def test_no_retry_goes_beyond_the_deadline(make_world, start_endpoint):
    endpoint = await start_endpoint()

    async def full(arrival):
        return web.Response(status=429, headers={"retry-after": "50"})

    endpoint.answer = full
    world = make_world(watching=EngineMonitorSettings(metrics=False, probe=False))
    world.inference_url = endpoint.url
    batch = await planned(world, chat_lines(1), window=timedelta(seconds=1.5))

    await world.work()
    await world.assembler.assemble(batch.id)

    batch = await world.reload(batch)
    assert batch.status is BatchStatus.EXPIRED
    assert len(endpoint.arrivals) == 1


async def test_a_shards_budget_of_retries_bounds_the_work(make_world):
    world = make_world(retry=RetrySettings(attempts=10, backoff_s=0.001, budget=0.5))
    await world.configure(fault_rate=1.0, fault_kinds=["500"])

    batch = await world.run(await world.submit(chat_lines(40)))

    assert (batch.counts.completed, batch.counts.failed) == (0, 40)
    assert len([r for r in await world.arrivals() if not r["aborted"]]) == 40 + 20
