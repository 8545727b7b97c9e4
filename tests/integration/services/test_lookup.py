"""One request of a batch, found by its custom_id in every state of the batch."""

import json

import pytest
from fixtures.world import TENANT, chat_lines

from batch_gateway.core.errors import NotFound
from batch_gateway.core.ids import TenantId
from batch_gateway.services.results.lookup import RequestLookup
from batch_gateway.settings import ExecutionSettings, PlanningSettings

pytestmark = pytest.mark.redis

ODD = 'a "b"\\c/ü\u2028 😀'


@pytest.fixture
def ask(world):
    lookup = RequestLookup(world.metadata, world.files)

    async def ask(batch, custom_id):
        """State, and the custom_id of the result line if there is one."""
        found = await lookup.find(TENANT, batch.id, custom_id)
        named = None if found.result is None else json.loads(found.result)["custom_id"]
        return found.state.value, named

    return ask


async def test_a_request_is_pending_until_it_is_answered(make_world, ask):
    world = make_world(planning=PlanningSettings(shard_lines=2))
    lines = chat_lines(5)
    lines[1]["custom_id"] = ODD
    lines[2]["body"]["model"] = "nobody"
    content = "\r\n".join(json.dumps(line, ensure_ascii=n % 2) for n, line in enumerate(lines))
    batch = await world.submit(content.encode())

    states = [[await ask(batch, line["custom_id"]) for line in lines]]
    await world.planner.plan(batch.id)
    states.append([await ask(batch, line["custom_id"]) for line in lines])
    await world.work()
    states.append([await ask(batch, line["custom_id"]) for line in lines])
    await world.assembler.assemble(batch.id)
    states.append([await ask(batch, line["custom_id"]) for line in lines])

    pending = ("pending", None)
    done = [("completed", line["custom_id"]) for line in lines]
    done[2] = ("failed", "line-3")
    assert states == [[pending] * 5, [pending] * 5, done, done]


async def test_what_a_holder_has_stored_is_found(make_world, ask):
    world = make_world(execution=ExecutionSettings(flush_interval_s=0.02, flush_results=1))
    await world.configure(ttft_ms=1)
    batch = await world.submit(chat_lines(3))
    await world.planner.plan(batch.id)
    await world.work()

    assert await ask(batch, "line-2") == ("completed", "line-2")


async def test_a_refused_duplicate_does_not_hide_the_request_that_has_the_name(make_world, ask):
    world = make_world()
    one, two = chat_lines(2)
    lines = [one, two, {**one, "body": two["body"]}, {"custom_id": "bad"}]
    batch = await world.submit(lines, on_invalid_line="skip")
    await world.planner.plan(batch.id)

    before = await ask(batch, "line-1"), await ask(batch, "bad")
    await world.work()
    await world.assembler.assemble(batch.id)

    assert before == (("pending", None), ("failed", "bad"))
    assert await ask(batch, "line-1") == ("completed", "line-1")
    assert await ask(batch, "bad") == ("failed", "bad")


async def test_a_request_that_never_ran_has_failed(world, ask):
    batch = await world.submit(chat_lines(2))
    now = world.clock.now()
    await world.metadata.batches.cancel(TENANT, batch.id, now=now, fence_at=now, events=[])
    await world.assembler.assemble(batch.id)

    assert await ask(batch, "line-2") == ("failed", "line-2")


async def test_an_unknown_request_and_an_unknown_batch_differ(world):
    lookup = RequestLookup(world.metadata, world.files)
    batch = await world.run(await world.submit(chat_lines(2)))

    with pytest.raises(NotFound, match="line-3"):
        await lookup.find(TENANT, batch.id, "line-3")
    assert await lookup.find(TenantId("stranger"), batch.id, "line-1") is None
