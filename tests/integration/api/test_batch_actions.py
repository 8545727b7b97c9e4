"""Pause, resume, priority and window of a live batch."""

from datetime import UTC, datetime, timedelta

import openai as sdk
import pytest
from fixtures.api import openai_client
from fixtures.metadata import a_shard
from openai.types import Batch

from batch_gateway.core.events import EventType
from batch_gateway.settings import ApiSettings

VALID = {
    "input_file_id": "file-none",
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
}


@pytest.fixture
async def queue(coordination):
    """The coordination store's queue, with nothing of other tests in it."""
    while (entry := await coordination.queue.propose()) is not None:
        await coordination.queue.complete([entry.shard])
    return coordination.queue


@pytest.fixture
async def running(openai, metadata) -> Batch:
    """A batch in progress with two shards."""
    batch = await openai.batches.create(**VALID)
    row = await metadata.batches.load(batch.id)
    shards = [a_shard(row, index) for index in range(2)]
    plan = {"total": 20, "model": "m", "now": datetime.now(UTC), "events": []}
    assert await metadata.batches.plan(row.id, shards, **plan) is not None
    return batch


async def steer(openai, batch_id, what, **body) -> Batch:
    return await openai.post(f"/batches/{batch_id}/{what}", cast_to=Batch, body=body or None)


async def test_a_batch_is_created_with_a_priority(openai, metadata):
    batch = await openai.batches.create(**VALID, extra_body={"priority": 2})

    assert batch.priority == 2
    assert (await metadata.batches.load(batch.id)).priority == 2


async def test_a_paused_batch_leaves_the_queue_and_comes_back_when_resumed(
    openai, queue, server, running
):
    await steer(openai, running.id, "resume")  # as the planner would have pushed it
    queued = (await queue.depth()).ready

    paused = await steer(openai, running.id, "pause")
    while_paused = (await queue.depth()).ready
    server.broker.events.clear()
    resumed = await steer(openai, running.id, "resume")

    assert (paused.status, paused.paused, resumed.paused) == ("in_progress", True, False)
    assert (queued, while_paused, (await queue.depth()).ready) == (2, 0, 2)
    assert {event.type for event in server.broker.events} <= {EventType.WORK_AVAILABLE}


async def test_pause_and_resume_may_be_asked_for_twice(openai, running):
    for what, paused in [("pause", True), ("pause", True), ("resume", False), ("resume", False)]:
        assert (await steer(openai, running.id, what)).paused is paused


async def test_executors_are_told_of_every_change(openai, coordination, running):
    for what, body in [("pause", {}), ("resume", {}), ("update", {"priority": 1})]:
        async with coordination.batch_changes.listen() as changes:
            await steer(openai, running.id, what, **body)

            assert await anext(changes) == running.id


async def test_a_new_priority_reorders_the_queue(openai, queue, metadata, running):
    other = await openai.batches.create(**VALID)
    row = await metadata.batches.load(other.id)
    plan = {"total": 10, "model": "m", "now": datetime.now(UTC), "events": []}
    await metadata.batches.plan(row.id, [a_shard(row, 0)], **plan)
    for batch in (running, other):
        await steer(openai, batch.id, "resume")

    updated = await steer(openai, other.id, "update", priority=0)

    assert updated.priority == 0
    assert (await queue.propose()).shard.startswith(other.id)


async def test_a_new_window_counts_from_the_creation(openai, metadata, running):
    updated = await steer(openai, running.id, "update", completion_window="7d")

    assert updated.completion_window == "7d"
    assert updated.expires_at == running.created_at + 7 * 86_400
    row = await metadata.batches.load(running.id)
    assert row.deadline == row.created_at + timedelta(days=7)


async def test_a_window_that_would_be_over_is_refused(openai, server, running):
    server.clock.ahead = timedelta(hours=2)

    with pytest.raises(sdk.BadRequestError) as refused:
        await steer(openai, running.id, "update", completion_window="1h")

    assert (refused.value.param, refused.value.code) == ("completion_window", "invalid_value")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"priority": 10}, "priority"),
        ({"priority": -1}, "priority"),
        ({"priority": "high"}, "priority"),
        ({"completion_window": "31d"}, "completion_window"),
        ({"paused": True}, None),
    ],
    ids=str,
)
async def test_an_update_that_makes_no_sense_is_refused(openai, running, body, param):
    with pytest.raises(sdk.BadRequestError) as refused:
        await steer(openai, running.id, "update", **body)

    assert refused.value.param == param


@pytest.mark.parametrize("what", ["pause", "resume", "update"])
async def test_a_batch_that_is_ending_is_not_steered(openai, metadata, running, what):
    await openai.batches.cancel(running.id)
    before = await metadata.batches.load(running.id)

    with pytest.raises(sdk.ConflictError) as refused:
        await steer(openai, running.id, what, priority=1)

    assert refused.value.body["message"] == f"Cannot {what} a batch with status 'cancelling'."
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert await metadata.batches.load(running.id) == before


@pytest.mark.parametrize("what", ["pause", "resume", "update"])
async def test_another_tenants_batch_is_not_steered(stranger, metadata, running, what):
    before = await metadata.batches.load(running.id)

    with pytest.raises(sdk.NotFoundError):
        await steer(stranger, running.id, what, priority=1)

    assert await metadata.batches.load(running.id) == before


async def test_strict_mode_knows_no_extensions(serve_api, tenant):
    with serve_api(ApiSettings(mode="strict")) as server:
        async with openai_client(server, tenant) as openai:
            batch = await openai.batches.create(**VALID)
            with pytest.raises(sdk.BadRequestError, match="Unrecognized request argument"):
                await openai.batches.create(**VALID, extra_body={"priority": 2})
            for what in ("pause", "resume", "update"):
                with pytest.raises(sdk.NotFoundError, match="Invalid URL"):
                    await steer(openai, batch.id, what, priority=1)
            [listed] = (await openai.batches.list()).data

    assert not hasattr(batch, "priority")
    assert not hasattr(listed, "paused")


async def test_listed_batches_show_the_extensions(openai, running):
    [listed] = (await openai.batches.list()).data

    assert (listed.priority, listed.paused) == (5, False)
