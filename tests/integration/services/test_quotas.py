"""Batches whose requests would be too many for their tenant."""

import asyncio

import pytest
from fixtures.world import TENANT, chat_lines

from batch_gateway.core.model import BatchStatus
from batch_gateway.core.quotas import Quotas, QuotaUsage

pytestmark = pytest.mark.redis


async def test_a_batch_beyond_the_quota_fails_and_one_after_the_end_of_others_does_not(make_world):
    world = make_world(quotas=Quotas(queued_requests=5))
    first, second = [await world.submit(chat_lines(3)) for _ in range(2)]
    for batch in (first, second):
        await world.planner.plan(batch.id)
    first = await world.reload(first)
    second = await world.reload(second)
    blobs = [blob.key async for blob in world.files.list(f"work/{second.id}/")]
    await world.run(first)
    third = await world.run(await world.submit(chat_lines(5)))

    assert (first.status, second.status) == (BatchStatus.IN_PROGRESS, BatchStatus.FAILED)
    assert [error.code for error in second.errors] == ["token_limit_exceeded"]
    assert "Limit: 5 enqueued requests" in second.errors[0].message
    assert blobs == []
    assert third.status is BatchStatus.COMPLETED
    assert (await world.metadata.accounts.get(TENANT)).queued_requests == 0


async def test_batches_that_are_planned_at_once_never_go_beyond(make_world):
    world = make_world(quotas=Quotas(queued_requests=7))
    batches = [await world.submit(chat_lines(2)) for _ in range(6)]

    await asyncio.gather(*(world.planner.plan(batch.id) for batch in batches))

    statuses = [(await world.reload(batch)).status for batch in batches]
    assert sorted(statuses) == [BatchStatus.FAILED] * 3 + [BatchStatus.IN_PROGRESS] * 3
    has = await world.metadata.accounts.get(TENANT)
    assert (has.open_batches, has.queued_requests) == (3, 6)


async def test_a_dry_run_queues_nothing_and_another_tenants_requests_do_not_count(make_world):
    world = make_world(quotas=Quotas(queued_requests=2))
    await world.planner.plan((await world.submit(chat_lines(2))).id)

    dry = await world.run(await world.submit(chat_lines(9), dry_run=True))
    other = await world.run(await world.submit(chat_lines(2), tenant="other"))

    assert (dry.status, other.status) == (BatchStatus.COMPLETED, BatchStatus.COMPLETED)


async def test_results_are_kept_whatever_the_quota(make_world):
    world = make_world(quotas=Quotas(files=1, stored_bytes=1))

    batch = await world.run(await world.submit(chat_lines(2)))

    output, _ = await world.results(batch)
    assert len(output) == 2
    has = await world.metadata.accounts.get(TENANT)
    assert has == QuotaUsage(files=2, stored_bytes=has.stored_bytes)
