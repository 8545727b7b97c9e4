"""Analytics and usage agree with the log of the endpoint itself, whatever happens on the way."""

import asyncio
from collections import Counter
from datetime import UTC, timedelta

import pytest
from fixtures.world import TENANT, chat_lines

from batch_gateway.core.call_statistics import bucket
from batch_gateway.core.ids import ActivationId, BatchId
from batch_gateway.core.model import BatchStatus
from batch_gateway.core.prices import PriceList, TokenPrice
from batch_gateway.services.batches.analytics import AnalyticsService
from batch_gateway.services.batches.retry import BatchRetries, RetryRequest
from batch_gateway.services.maintenance.rebuild import ensure_generation
from batch_gateway.settings import ExecutionSettings, PlanningSettings

pytestmark = pytest.mark.redis

PRICES = PriceList(prices=[TokenPrice(model="*", input=1, cached_input=0, output=2)])


async def analytics(world, batch):
    return await AnalyticsService(world.metadata, PRICES).get(TENANT, BatchId(batch.id))


async def usage(world):
    """The sums of all days by model."""
    day = world.clock.now().astimezone(UTC).date()
    days = {"first": day - timedelta(days=1), "end": day + timedelta(days=2)}
    records = await world.metadata.usage.between(**days, tenant=TENANT)
    return {record.model: record for record in records}


def answered(arrivals):
    """The answers of the endpoint, one for each request line: after a crash some come twice."""
    return {one["request_id"]: one for one in arrivals if one["status"] == 200}


def tokens(answers):
    """Input, cached and output tokens of the endpoint's answers."""
    used = [one["usage"] for one in answers]
    return (
        sum(one["prompt_tokens"] for one in used),
        sum(one["prompt_tokens_details"]["cached_tokens"] for one in used),
        sum(one["completion_tokens"] for one in used),
    )


def of_usage(found):
    return found.input_tokens, found.cached_tokens, found.output_tokens


def count(histogram):
    return sum(histogram.values())


@pytest.mark.parametrize("shard_lines", [10, 500], ids=["many shards", "one shard"])
async def test_analytics_agree_with_the_endpoints_own_log(make_world, shard_lines):
    world = make_world(planning=PlanningSettings(shard_lines=shard_lines))
    await world.configure(fault_rate=0.2, fault_kinds=["429"], ttft_ms=30, tpot_ms=1)
    lines = chat_lines(40)
    for line in lines[:3]:
        line["body"]["messages"] = [{"role": "user", "content": "x"}]
        line["body"]["n"] = -1  # the endpoint refuses it

    batch = await world.run(await world.submit(lines))

    arrivals = await world.arrivals()
    found = await analytics(world, batch)
    calls, statuses = found.statistics, Counter(one["status"] for one in arrivals)
    assert (batch.status, batch.counts.completed) == (BatchStatus.COMPLETED, 37)
    assert calls.retries == ({"http_429": statuses[429]} if statuses[429] else {})
    assert (statuses[200], statuses[400]) == (37, 3)
    assert count(calls.calls) == 40
    assert sum(error.count for error in calls.errors.values()) == 3
    assert sum(point.completed for point in calls.timeline.values()) == 37
    assert sum(point.failed for point in calls.timeline.values()) == 3
    answers = answered(arrivals).values()
    assert of_usage(batch.usage) == tokens(answers)
    first = Counter(bucket(round(one["first_token_ms"])) for one in answers)
    assert dict(first) == calls.first_tokens
    sent = sorted(round(1000 * (one["ended_at"] - one["arrived_at"])) for one in answers)
    assert calls.calls_ms >= sum(sent)
    given, cached, made = tokens(answers)
    assert found.cost == PRICES.cost("sim-large", batch.created_at.date(), batch.usage, 37)
    assert found.cost * 10**6 == given - cached + 2 * made


async def test_usage_of_batches_that_are_deleted_retried_and_deduplicated_is_that_of_the_endpoint(
    make_world,
):
    world = make_world(planning=PlanningSettings(shard_lines=7))
    same = chat_lines(20)
    for line in same:
        line["body"] |= {"temperature": 0, "messages": [{"role": "user", "content": "same"}]}
    deduplicated = await world.run(await world.submit(same, deduplicate=True))
    await world.configure(fault_rate=1, fault_kinds=["500"])
    failed = await world.run(await world.submit(chat_lines(5)))
    await world.configure(fault_rate=0)
    retries = BatchRetries(world.batches, world.metadata, world.clock)
    again = await retries.retry(TENANT, failed.id, RetryRequest(), traceparent=None)
    retried = await world.run(again)
    for batch in (deduplicated, failed, retried):
        await world.metadata.batches.delete(TENANT, batch.id)

    record = (await usage(world))["sim-large"]

    assert await world.metadata.batches.load(retried.id) is None
    assert of_usage(record) == tokens(answered(await world.arrivals()).values())
    assert (record.batches, record.completed, record.failed) == (3, 20 + 5, 5)
    assert record.not_run == 0


async def test_usage_of_a_cancelled_batch_counts_what_was_answered_and_what_was_not_run(make_world):
    world = make_world(planning=PlanningSettings(shard_lines=5))
    batch = await world.submit(chat_lines(20))
    await world.planner.plan(batch.id)
    await ensure_generation(world.metadata, world.coordination)
    shards = [shard async for shard in world.metadata.shards.of_batch(batch.id)]
    for shard in shards[2:]:  # another executor holds them, and does nothing
        await world.metadata.shards.claim(
            shard.id, holder=ActivationId("idle"), token="idle", now=world.clock.now()
        )
    working = asyncio.create_task(world.work())
    while (await world.reload(batch)).counts.completed < 10:
        await asyncio.sleep(0.01)
    world.stopping.set()
    await working
    now = world.clock.now()
    await world.metadata.batches.cancel(TENANT, batch.id, now=now, fence_at=now, events=[])
    await world.termination.fence(batch.id)

    await world.assembler.assemble(batch.id)

    record = (await usage(world))["sim-large"]
    assert (record.batches, record.completed, record.failed, record.not_run) == (1, 10, 0, 10)
    assert of_usage(record) == tokens(answered(await world.arrivals()).values())


async def test_an_executor_that_dies_makes_neither_usage_nor_analytics_double(make_world):
    world = make_world(
        planning=PlanningSettings(shard_lines=10),
        execution=ExecutionSettings(
            lease_ttl_s=1, heartbeat_s=0.2, flush_interval_s=0.05, slot_ttl_s=1
        ),
    )
    await world.configure(ttft_ms=20, slots=4)
    batch = await world.submit(chat_lines(40))
    await world.planner.plan(batch.id)
    for _ in range(2):
        before = (await world.reload(batch)).counts.completed
        dying = asyncio.create_task(world.work())
        while (await world.reload(batch)).counts.completed < before + 5:
            await asyncio.sleep(0.01)
        dying.cancel()  # hands nothing back that it has not stored
        await asyncio.gather(dying, return_exceptions=True)
        running = await analytics(world, batch)
        recorded = (await world.reload(batch)).counts
        assert count(running.statistics.calls) == recorded.completed
        world.sink.take()
    while (await world.reload(batch)).status is BatchStatus.IN_PROGRESS:
        await world.work()
        await world.janitor.sweep()
    if (await world.reload(batch)).assemblable:
        await world.assembler.assemble(batch.id)

    found, record = await analytics(world, batch), (await usage(world))["sim-large"]

    assert (await world.reload(batch)).counts.completed == 40
    assert count(found.statistics.calls) == record.completed == 40
    assert record.output_tokens == tokens(answered(await world.arrivals()).values())[2]
