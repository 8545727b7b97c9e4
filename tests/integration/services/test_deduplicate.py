"""Identical requests run once, and each of them gets the result."""

import asyncio
import json

import pytest
from fixtures.world import TENANT, chat_lines

from batch_gateway.core.ids import result_id
from batch_gateway.core.model import BatchStatus
from batch_gateway.services.results.lookup import RequestLookup
from batch_gateway.settings import ExecutionSettings, PlanningSettings

pytestmark = pytest.mark.redis


def same(count, *, start=1, text="the same", **body):
    """Requests ``line-START`` ... that differ in their names only."""
    lines = chat_lines(count)
    for number, line in enumerate(lines, start):
        line["custom_id"] = f"line-{number}"
        line["body"] = {
            "model": "sim-large",
            "max_tokens": 4,
            "temperature": 0,
            "messages": [{"role": "user", "content": text}],
            **body,
        }
    return lines


async def arrived(world):
    return len(await world.arrivals())


async def test_every_request_gets_the_one_answer_under_its_own_name(make_world):
    world = make_world(planning=PlanningSettings(shard_lines=50))
    lines = same(30) + chat_lines(45)[30:] + same(5, start=46, text="another")

    batch = await world.run(await world.submit(lines, deduplicate=True))

    output, errors = await world.results(batch)
    bodies = [json.dumps(line["response"]) for line in output]
    assert [line["custom_id"] for line in output] == [f"line-{n}" for n in range(1, 51)]
    assert [line["id"] for line in output] == [result_id(batch.id, n) for n in range(1, 51)]
    assert errors == []
    assert await arrived(world) == 1 + 15 + 1
    assert (len(set(bodies[:30])), len(set(bodies[45:]))) == (1, 1)
    assert (batch.counts.total, batch.counts.completed, batch.counts.failed) == (50, 50, 0)
    tokens = [line["response"]["body"]["usage"]["total_tokens"] for line in output]
    assert batch.options["deduplicated"] == 29 + 4
    assert batch.options["saved_tokens"] == sum(tokens[1:30]) + sum(tokens[46:])
    assert batch.usage.input_tokens + batch.usage.output_tokens == (
        sum(tokens) - batch.options["saved_tokens"]
    )


@pytest.mark.parametrize(
    ("body", "once"),
    [
        ({"temperature": 0}, True),
        ({"temperature": 0.0, "top_p": 0.5}, True),
        ({"temperature": 1, "seed": 7}, True),
        ({"temperature": 0.1}, False),
        ({"temperature": None}, False),
        ({"temperature": 1, "seed": None}, False),
    ],
    ids=str,
)
async def test_only_requests_that_sample_nothing_or_by_a_seed_run_once(world, body, once):
    batch = await world.run(await world.submit(same(4, **body), deduplicate=True))

    assert await arrived(world) == (1 if once else 4)
    assert batch.options["deduplicated"] == (3 if once else 0)
    assert batch.counts.completed == 4


async def test_embeddings_always_run_once_and_other_bytes_are_another_request(world):
    def embedding(name, text, **more):
        body = {"model": "sim-small", "input": text, **more}
        return {"custom_id": name, "method": "POST", "url": "/v1/embeddings", "body": body}

    lines = [embedding("a", "x"), embedding("b", "y"), embedding("c", "x")]
    lines += [embedding("d", "x", user="u")]
    spaced = b'{"custom_id":"e","method":"POST","url":"/v1/embeddings","body":'
    spaced += b'{"model": "sim-small",  "input": "x"}}'
    content = b"".join(json.dumps(line).encode() + b"\n" for line in lines) + spaced

    batch = await world.submit(content, endpoint="/v1/embeddings", deduplicate=True)
    batch = await world.run(batch)

    assert await arrived(world) == 4
    assert (batch.options["deduplicated"], batch.counts.completed) == (1, 5)


async def test_nothing_runs_once_unless_asked(world):
    batch = await world.run(await world.submit(same(4)))

    assert await arrived(world) == 4
    assert "saved_tokens" not in batch.options


async def test_a_failure_is_everybodys(make_world):
    world = make_world(planning=PlanningSettings(shard_lines=10))

    batch = await world.run(await world.submit(same(6, model="nobody"), deduplicate=True))

    _, errors = await world.results(batch)
    assert await arrived(world) == 1
    assert [line["custom_id"] for line in errors] == [f"line-{n}" for n in range(1, 7)]
    assert {line["response"]["status_code"] for line in errors} == {404}
    assert (batch.counts.failed, batch.counts.completed) == (6, 0)


async def test_an_unknown_model_refuses_every_one_of_them(make_world):
    world = make_world(models=frozenset({"sim-small"}))

    batch = await world.run(await world.submit(same(5), deduplicate=True))

    _, errors = await world.results(batch)
    assert [line["custom_id"] for line in errors] == [f"line-{n}" for n in range(1, 6)]
    assert {line["error"]["code"] for line in errors} == {"model_not_found"}


async def test_many_that_are_the_same_go_as_many_together_as_a_shard_has_lines(make_world):
    world = make_world(planning=PlanningSettings(shard_lines=10))
    batch = await world.submit(same(35) + chat_lines(42)[35:], deduplicate=True)
    await world.planner.plan(batch.id)

    shards = [shard async for shard in world.metadata.shards.of_batch(batch.id)]
    batch = await world.run(batch)

    assert await arrived(world) == 4 + 7
    assert max(shard.lines for shard in shards) <= 10
    assert sum(shard.lines for shard in shards) == 42
    assert (batch.options["deduplicated"], batch.counts.completed) == (31, 42)


async def test_what_was_cancelled_has_a_line_for_every_one_of_them(world):
    batch = await world.submit(same(5), deduplicate=True)
    await world.planner.plan(batch.id)
    now = world.clock.now()
    await world.metadata.batches.cancel(TENANT, batch.id, now=now, fence_at=now, events=[])
    await world.assembler.assemble(batch.id)

    batch = await world.reload(batch)
    _, errors = await world.results(batch)
    assert batch.status is BatchStatus.CANCELLED
    assert [line["custom_id"] for line in errors] == [f"line-{n}" for n in range(1, 6)]
    assert {line["error"]["code"] for line in errors} == {"batch_cancelled"}
    assert batch.options["saved_tokens"] == 0


async def test_they_are_answered_together_also_while_the_batch_runs(make_world):
    world = make_world(execution=ExecutionSettings(flush_interval_s=0.01, flush_results=1))
    await world.configure(ttft_ms=20, slots=2)
    lines = same(5) + chat_lines(25)[5:]
    batch = await world.submit(lines, deduplicate=True)
    await world.planner.plan(batch.id)
    lookup = RequestLookup(world.metadata, world.files)

    async def states():
        asked = (lookup.find(TENANT, batch.id, f"line-{n}") for n in range(1, 6))
        return {found.state.value for found in await asyncio.gather(*asked)}

    before = await states()
    working = asyncio.create_task(world.work())
    seen = []
    while not working.done():
        seen.append(await states())
        await asyncio.sleep(0.01)
    after = await states()

    assert (before, after) == ({"pending"}, {"completed"})
    first = await lookup.find(TENANT, batch.id, "line-1")
    assert json.loads(first.result)["custom_id"] == "line-1"


async def test_a_dry_run_tells_what_would_be_spared(world):
    plain = await world.run(await world.submit(same(10), dry_run=True))
    once = await world.run(await world.submit(same(10), dry_run=True, deduplicate=True))

    assert once.options["deduplicated"] == 9
    assert once.counts.total == 10
    estimated = plain.options["estimated_tokens"]["sim-large"]
    assert once.options["estimated_tokens"]["sim-large"] * 10 == estimated
