"""Batches that begin with what another one has answered."""

import asyncio
import json
from datetime import timedelta

import pytest
from fixtures.gateway import CHAT, chat_lines
from fixtures.world import TENANT

from batch_gateway.core.errors import Busy, InvalidRequest
from batch_gateway.core.events import EventType
from batch_gateway.core.ids import BatchId, FileId, TenantId
from batch_gateway.core.layout import file_key
from batch_gateway.core.model import BatchStatus
from batch_gateway.core.quotas import Quotas
from batch_gateway.services.batches.service import NewBatch

TEMPLATE = {
    "model": "sim-large",
    "max_tokens": 4,
    "messages": [{"role": "user", "content": "Sum up {{custom_id}}: {{text}}"}],
}


@pytest.fixture
def follow(world):
    """Creates a batch that follows another."""
    service = world.batches

    async def follow(first, template=TEMPLATE, tenant=TENANT, endpoint=CHAT, **options):
        new = NewBatch(
            input_file_id=FileId(""),
            endpoint=endpoint,
            completion_window="24h",
            options={"after": {"batch_id": first, "template": template}, **options},
        )
        return await service.create(tenant, new, traceparent=None)

    return follow


def announced(world):
    return [e.subject for e in world.sink.take() if e.type is EventType.BATCH_CREATED]


async def test_a_batch_begins_with_the_output_of_another(world, follow):
    first = await world.submit(chat_lines(3))
    second = await follow(first.id)
    await world.planner.plan(second.id)
    assert (await world.reload(second)).status is BatchStatus.VALIDATING
    world.sink.take()

    done = await world.run(first)

    assert announced(world) == [second.id]
    ended = await world.run(second)
    assert (ended.status, ended.counts.completed) == (BatchStatus.COMPLETED, 3)
    content = b"".join([part async for part in world.files.read(file_key(second.input_file_id))])
    asked = [json.loads(line)["body"]["messages"][0]["content"] for line in content.splitlines()]
    said = {
        line["custom_id"]: line["response"]["body"]["choices"][0]["message"]["content"]
        for line in (await world.results(done))[0]
    }
    assert asked == [f"Sum up {name}: {text}" for name, text in said.items()]
    output, _ = await world.results(ended)
    assert [line["custom_id"] for line in output] == ["line-1", "line-2", "line-3"]


async def test_a_batch_that_has_completed_already_is_followed_at_once(world, follow):
    first = await world.run(await world.submit(chat_lines(1)))

    ended = await world.run(await follow(first.id))

    assert ended.counts.completed == 1


async def test_a_chain_of_three_ends_with_its_first(world, follow):
    first = await world.submit(b"not JSON\n")
    second = await follow(first.id)
    third = await follow(second.id)

    await world.run(first)
    assert announced(world)[-1] == second.id
    await world.run(second)
    assert announced(world) == [third.id]
    ended = await world.run(third)

    assert ended.status is BatchStatus.FAILED
    [error] = ended.errors
    assert error.code == "chain_broken"
    assert f"{second.id} that this one follows has failed" in error.message


async def test_a_batch_that_is_cancelled_ends_those_that_follow(world, follow):
    first = await world.submit(chat_lines(1))
    second = await follow(first.id)
    now = world.clock.now()
    await world.metadata.batches.cancel(TENANT, first.id, now=now, fence_at=now, events=[])
    await world.assembler.assemble(first.id)

    ended = await world.run(second)

    assert "has cancelled" in ended.errors[0].message


async def test_a_lost_event_is_made_up_for_by_the_janitor(world, follow):
    first = await world.submit(chat_lines(1))
    second = await follow(first.id)
    world.clock.ahead = timedelta(minutes=5)
    world.sink.take()
    await world.janitor.sweep()
    assert second.id not in announced(world)

    await world.run(first)
    world.sink.take()
    await world.janitor.sweep()

    assert second.id in announced(world)


async def test_planning_twice_at_once_makes_one_input(world, follow):
    first = await world.run(await world.submit(chat_lines(2)))
    second = await follow(first.id)

    plannings = (world.planner.plan(second.id) for _ in range(3))
    results = await asyncio.gather(*plannings, return_exceptions=True)
    assert None in results
    assert all(result is None or isinstance(result, Busy) for result in results)
    await world.planner.plan(second.id)

    assert (await world.run(second)).counts.completed == 2


async def test_a_template_that_does_not_fit_fails_the_batch_with_the_line(world, follow):
    first = await world.run(await world.submit(chat_lines(2)))
    second = await follow(first.id, {**TEMPLATE, "seed": "{{/no/such/thing}}"})

    ended = await world.run(second)

    assert ended.status is BatchStatus.FAILED
    assert [error.line for error in ended.errors] == [1, 2]
    assert "nothing at /no/such/thing" in ended.errors[0].message
    assert await world.metadata.files.get(TENANT, second.input_file_id) is None


async def test_a_chained_input_is_bounded_as_an_uploaded_one_is(make_world, world, follow):
    first = await world.run(await world.submit(chat_lines(3)))
    second = await follow(first.id)

    ended = await make_world(max_file_bytes=100).run(second)

    assert ended.status is BatchStatus.FAILED
    assert "more than a file may hold" in ended.errors[0].message
    assert await world.metadata.files.get(TENANT, second.input_file_id) is None


async def test_a_chained_input_counts_among_its_tenants_files(make_world, world, follow):
    first = await world.run(await world.submit(chat_lines(3)))
    second = await follow(first.id)

    ended = await make_world(quotas=Quotas(files=2)).run(second)

    assert ended.status is BatchStatus.FAILED
    assert "no room for the input file" in ended.errors[0].message
    assert len([blob async for blob in world.files.list("files/")]) == 2


async def test_with_skip_lines_that_do_not_fit_are_errors_of_their_own(world, follow):
    first = await world.run(await world.submit(chat_lines(2)))
    second = await follow(
        first.id, {**TEMPLATE, "seed": "{{/no/such/thing}}"}, on_invalid_line="skip"
    )

    ended = await world.run(second)

    assert (ended.status, ended.counts.failed) == (BatchStatus.COMPLETED, 2)


async def test_one_that_waits_expires_at_its_own_deadline(world, follow):
    first = await world.submit(chat_lines(1))
    second = await follow(first.id)
    await world.metadata.batches.update(
        TENANT, second.id, deadline=world.clock.now() - timedelta(seconds=1)
    )

    await world.janitor.sweep()
    await world.assembler.assemble(second.id)

    assert (await world.reload(second)).status is BatchStatus.EXPIRED


@pytest.mark.parametrize("tenant", [TENANT, TenantId("other")])
async def test_only_a_batch_that_is_there_can_be_followed(world, follow, tenant):
    first = await world.submit(chat_lines(1))
    named = first.id if tenant != TENANT else BatchId("batch_none")

    with pytest.raises(InvalidRequest, match="No batch found") as refused:
        await follow(named, tenant=tenant)

    assert refused.value.param == "after.batch_id"


async def test_the_requests_of_a_chain_have_one_endpoint(world, follow):
    first = await world.submit(chat_lines(1))

    with pytest.raises(InvalidRequest, match="names the endpoint"):
        await follow(first.id, endpoint="*")
