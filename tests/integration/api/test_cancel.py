from datetime import UTC, datetime

import openai as sdk
import pytest
from fixtures.api import FENCE
from fixtures.metadata import a_shard, assembled

from batch_gateway.core.events import EventType
from batch_gateway.core.ids import ActivationId, ShardId
from batch_gateway.core.model import BatchStatus, EndReason, QueueEntry, ResultTally


@pytest.fixture
async def batch(openai, server):
    """A batch that was created, and whose event is forgotten."""
    made = await openai.batches.create(
        input_file_id="file-none", endpoint="/v1/embeddings", completion_window="24h"
    )
    server.broker.events.clear()
    return made


async def plan(metadata, batch):
    row = await metadata.batches.load(batch.id)
    return await metadata.batches.plan(
        row.id,
        [a_shard(row, 0), a_shard(row, 1)],
        total=20,
        model="m",
        now=datetime.now(UTC),
        events=[],
    )


async def lease(metadata, batch, index=0):
    return await metadata.shards.claim(
        ShardId(f"{batch.id}.{index}"),
        holder=ActivationId("a"),
        token="t",
        now=datetime.now(UTC),
    )


async def cancelled(metadata, batch):
    return await assembled(metadata, batch.id, BatchStatus.CANCELLED, now=datetime.now(UTC))


async def test_cancelling_a_running_batch_sets_its_ending_and_announces_it(
    openai, server, metadata, batch
):
    await plan(metadata, batch)
    await lease(metadata, batch)

    answer = await openai.batches.cancel(batch.id)

    assert answer.status == "cancelling"
    assert answer.cancelling_at >= answer.created_at
    row = await metadata.batches.load(batch.id)
    assert row.ending is EndReason.CANCELLED
    assert row.open_shards == 1
    assert row.fence_at - row.cancelling_at == FENCE
    assert [event.type for event in server.broker.events] == [EventType.BATCH_CANCELLING]


async def test_executors_are_told_and_the_queue_forgets_the_batch(
    openai, metadata, coordination, batch
):
    row = await plan(metadata, batch)
    entry = QueueEntry(
        shard=ShardId(f"{batch.id}.0"),
        tenant=row.tenant,
        model="m",
        cost=1,
        priority=5,
        deadline=row.deadline,
    )
    await coordination.queue.push([entry])

    async with coordination.batch_changes.listen() as changes:
        await openai.batches.cancel(batch.id)
        heard = await anext(changes)

    assert heard == batch.id
    assert await coordination.queue.withdraw(batch.id) == 0


async def test_a_batch_can_be_cancelled_before_it_is_planned(openai, batch):
    assert (await openai.batches.cancel(batch.id)).status == "cancelling"


async def test_cancelling_again_changes_nothing_and_announces_again(
    openai, server, metadata, batch
):
    first = await openai.batches.cancel(batch.id)
    again = await openai.batches.cancel(batch.id)

    assert again == first
    ids = [event.id for event in server.broker.events]
    assert len(ids) == 2
    assert len(set(ids)) == 1


async def test_a_cancelled_batch_may_be_cancelled(openai, server, metadata, batch):
    await openai.batches.cancel(batch.id)
    assert await cancelled(metadata, batch) is not None
    server.broker.events.clear()

    answer = await openai.batches.cancel(batch.id)

    assert answer.status == "cancelled"
    assert server.broker.events == []


async def test_an_ended_batch_cannot_be_cancelled_and_clients_do_not_insist(
    http, openai, metadata, batch
):
    await metadata.batches.fail(batch.id, [], now=datetime.now(UTC), events=[])

    answer = await http.post(f"/v1/batches/{batch.id}/cancel")
    with pytest.raises(sdk.ConflictError):
        await openai.batches.cancel(batch.id)

    assert answer.status_code == 409
    assert answer.headers["x-should-retry"] == "false"
    assert answer.json()["error"] == {
        "message": "Cannot cancel a batch with status 'failed'.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


async def test_a_completed_batch_cannot_be_cancelled(http, metadata, batch):
    await plan(metadata, batch)
    now = datetime.now(UTC)
    for index in range(2):
        held = await lease(metadata, batch, index)
        await metadata.shards.finish(held.ref, [], ResultTally(completed=10), now=now, events=[])
    await assembled(metadata, batch.id, now=now)

    answer = await http.post(f"/v1/batches/{batch.id}/cancel")

    assert answer.status_code == 409
    assert answer.json()["error"]["message"] == "Cannot cancel a batch with status 'completed'."


async def test_cancelling_with_a_json_content_type_and_no_body_works(http, batch):
    answer = await http.post(
        f"/v1/batches/{batch.id}/cancel",
        headers={"content-type": "application/json", "content-length": "0"},
    )

    assert answer.status_code == 200


async def test_cancelling_works_while_the_broker_is_away(openai, server, metadata, batch):
    server.broker.away = True

    answer = await openai.batches.cancel(batch.id)

    assert answer.status == "cancelling"
