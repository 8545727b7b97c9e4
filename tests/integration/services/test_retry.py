"""Retrying an ended batch: only what has no good answer runs, and no request is sent twice."""

import asyncio
import json
from datetime import timedelta

import pytest
from fixtures.world import TENANT, chat_lines

from batch_gateway.core.errors import Conflict, InvalidRequest
from batch_gateway.core.ids import ActivationId, TenantId
from batch_gateway.core.model import BatchStatus
from batch_gateway.services.batches.retry import BatchRetries, RetryRequest
from batch_gateway.services.maintenance.rebuild import ensure_generation
from batch_gateway.settings import PlanningSettings

pytestmark = pytest.mark.redis

EVERYTHING = RetryRequest()


async def retried(world, batch, asked=EVERYTHING, *, tenant=TENANT):
    """The new batch, not planned yet."""
    retries = BatchRetries(world.batches, world.metadata, world.clock)
    return await retries.retry(tenant, batch.id, asked, traceparent=None)


async def cancelled_halfway(world, lines, *, done):
    """A batch of which the first ``done`` lines of the plan were answered."""
    batch = await world.submit(lines)
    await world.planner.plan(batch.id)
    await ensure_generation(world.metadata, world.coordination)  # no lease yet: slots at once
    before = 0
    async for shard in world.metadata.shards.of_batch(batch.id):
        if before >= done:  # another executor holds it, and does nothing
            await world.metadata.shards.claim(
                shard.id, holder=ActivationId("idle"), token="idle", now=world.clock.now()
            )
        before += shard.lines
    working = asyncio.create_task(world.work())
    while (counts := (await world.reload(batch)).counts).completed + counts.failed < done:
        await asyncio.sleep(0.01)
    world.stopping.set()
    await working
    world.stopping.clear()
    now = world.clock.now()
    await world.metadata.batches.cancel(TENANT, batch.id, now=now, fence_at=now, events=[])
    await world.termination.fence(batch.id)
    await world.assembler.assemble(batch.id)
    await world.wipe()  # the idle holder's leases, which the next executor would wait for
    return await world.reload(batch)


def custom_ids(lines):
    return [line["custom_id"] for line in lines]


async def arrived(world):
    return len(await world.arrivals())


async def test_only_what_failed_runs_and_the_files_have_everything_in_order(make_world):
    world = make_world(planning=PlanningSettings(shard_lines=7))
    lines = chat_lines(40)
    for line in lines[::4]:
        line["body"]["model"] = "nobody"
    old = await world.run(await world.submit(lines, on_invalid_line="skip", max_errors=30))
    output, errors = await world.results(old)
    before = await arrived(world)

    new = await world.run(await retried(world, old))

    assert (new.status, new.id != old.id) == (BatchStatus.COMPLETED, True)
    assert await arrived(world) - before == 10
    again, failed = await world.results(new)
    assert again == output
    assert custom_ids(failed) == custom_ids(errors)
    assert (new.counts, new.options["carried_over"]) == (old.counts, 30)
    assert new.usage.output_tokens == 0
    assert (new.options["on_invalid_line"], new.options["max_errors"]) == ("skip", 30)
    assert await world.reload(old) == old
    assert await world.results(old) == (output, errors)


async def test_a_cancelled_batch_goes_on_where_it_was_stopped(make_world):
    world = make_world(planning=PlanningSettings(shard_lines=10))
    old = await cancelled_halfway(world, chat_lines(40), done=20)
    output, errors = await world.results(old)
    before = await arrived(world)

    new = await world.run(await retried(world, old))

    again, failed = await world.results(new)
    done = {line["custom_id"]: line for line in output}
    assert (len(output), len(errors)) == (20, 20)
    assert custom_ids(again) == [f"line-{n}" for n in range(1, 41)]
    assert [line for line in again if line["custom_id"] in done] == output
    assert failed == []
    assert await arrived(world) - before == 20
    assert (new.counts.total, new.counts.completed, new.counts.failed) == (40, 40, 0)


async def test_a_retry_is_retried_also_when_it_ended_before_it_was_planned(make_world):
    world = make_world(planning=PlanningSettings(shard_lines=10))
    old = await cancelled_halfway(world, chat_lines(30), done=10)
    second = await retried(world, old)
    now = world.clock.now()
    await world.metadata.batches.cancel(TENANT, second.id, now=now, fence_at=now, events=[])
    await world.assembler.assemble(second.id)
    before = await arrived(world)

    third = await world.run(await retried(world, await world.reload(second)))
    third = await world.reload(third)

    assert await arrived(world) - before == 20
    assert third.counts.completed == 30
    assert third.options["retry"]["batch"] == second.id
    with pytest.raises(InvalidRequest, match="nothing to retry"):
        await retried(world, third)


@pytest.mark.parametrize(
    ("word", "again"),
    [("404", 2), ("4xx", 2), ("model_not_found", 2), ("batch_cancelled", 4), ("5xx", 0)],
)
async def test_only_the_errors_that_are_named_are_retried(make_world, word, again):
    world = make_world(planning=PlanningSettings(shard_lines=2))
    lines = chat_lines(8)
    for line in lines[:2]:
        line["body"]["model"] = "nobody"
    for line in lines[2:4]:
        line["body"]["messages"][0]["content"] = "other " * 100
    old = await cancelled_halfway(world, lines, done=4)
    before = await arrived(world)

    new = await world.run(await retried(world, old, RetryRequest(errors=[word])))

    output, errors = await world.results(new)
    assert await arrived(world) - before == again
    assert sorted(custom_ids(output + errors)) == sorted(custom_ids(lines))
    assert new.options["carried_over"] == 8 - again


async def test_a_batch_whose_input_was_refused_is_judged_again(make_world):
    world = make_world(max_lines=2)
    old = await world.run(await world.submit(chat_lines(3)))
    assert old.status is BatchStatus.FAILED

    new = await make_world().run(await retried(world, old))

    assert (new.status, new.counts.completed) == (BatchStatus.COMPLETED, 3)


async def test_bad_lines_are_refused_again_with_their_reasons(world):
    content = b"bad\n" + b"".join(json.dumps(line).encode() + b"\n" for line in chat_lines(2))
    content += json.dumps(chat_lines(1)[0]).encode()
    old = await world.run(await world.submit(content, on_invalid_line="skip"))

    new = await world.run(await retried(world, old))

    (again, failed), (output, errors) = await world.results(new), await world.results(old)
    assert again == output
    assert [line["error"] for line in failed] == [line["error"] for line in errors]
    assert (new.counts, new.options["carried_over"]) == (old.counts, 2)


async def test_the_new_batch_differs_as_asked(world):
    old = await world.run(await world.submit(chat_lines(1, model="nobody")))
    asked = RetryRequest(completion_window="2h", metadata={"try": "2"}, same_metadata=False)

    same, other = await retried(world, old), await retried(world, old, asked)

    assert (same.completion_window, same.metadata) == (old.completion_window, old.metadata)
    assert (other.completion_window, other.metadata) == ("2h", {"try": "2"})
    assert other.deadline - other.created_at == timedelta(hours=2)


@pytest.mark.parametrize("kind", ["input", "output", "error"])
async def test_a_file_that_is_gone_is_named(world, kind):
    lines = [*chat_lines(1), *chat_lines(2, model="nobody")[1:]]
    old = await world.run(await world.submit(lines))
    name = getattr(old, f"{kind}_file_id")
    await world.metadata.files.delete(TENANT, name)

    with pytest.raises(InvalidRequest, match=name) as refused:
        await retried(world, old, RetryRequest(errors=["4xx"]))

    assert (refused.value.param, refused.value.code) == (f"{kind}_file_id", "file_gone")


async def test_a_file_that_goes_before_it_was_planned_fails_the_batch(world):
    lines = [*chat_lines(1), *chat_lines(2, model="nobody")[1:]]
    old = await world.run(await world.submit(lines))
    new = await retried(world, old)
    await world.metadata.files.delete(TENANT, old.output_file_id)

    new = await world.run(new)

    assert new.status is BatchStatus.FAILED
    assert (new.errors[0].code, new.errors[0].param) == ("invalid_request", "retry_of")
    assert old.output_file_id in new.errors[0].message


async def test_what_cannot_be_retried_is_refused(world):
    running = await world.submit(chat_lines(1))
    dry = await world.run(await world.submit(chat_lines(1), dry_run=True))
    done = await world.run(await world.submit(chat_lines(1)))

    with pytest.raises(Conflict, match="validating"):
        await retried(world, running)
    for batch in (dry, done):
        with pytest.raises(InvalidRequest, match="nothing to retry"):
            await retried(world, batch)
    assert await retried(world, done, tenant=TenantId("stranger")) is None


async def test_a_refused_line_that_bears_the_name_of_another_answers_nothing_for_it(world):
    failing, other = chat_lines(1, model="nobody")[0], chat_lines(2)[1]
    lines = [failing, other, {**other, "custom_id": "line-1"}]
    lines += [{**other, "custom_id": "line-1", "url": "/v1/embeddings"}]
    old = await world.run(await world.submit(lines, on_invalid_line="skip"))
    before = await arrived(world)

    new = await world.run(await retried(world, old, RetryRequest(errors=["404"])))

    _, errors = await world.results(new)
    assert await arrived(world) - before == 1
    assert [line["response"] and line["response"]["status_code"] for line in errors] == [
        404,
        None,
        None,
    ]
    assert [line["error"] and line["error"]["code"] for line in errors] == [
        None,
        "duplicate_custom_id",
        "invalid_url",
    ]
    assert new.options["carried_over"] == 1
