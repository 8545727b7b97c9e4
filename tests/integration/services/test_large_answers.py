"""Answers of some hundred kilobytes each: no process holds all results of a shard in memory."""

import asyncio
import json
import tracemalloc
from collections import Counter
from datetime import timedelta

import pytest
from aiohttp import web
from fixtures.world import TENANT, chat_lines

from batch_gateway.adapters import answer_budget
from batch_gateway.adapters.answer_budget import AnswerBudget
from batch_gateway.core.errors import Unavailable
from batch_gateway.core.model import BatchStatus, ShardState
from batch_gateway.services.assemble import result_collector
from batch_gateway.services.execute import result_buffer, shard_leases
from batch_gateway.services.results import parts
from batch_gateway.services.results.lookup import RequestLookup, RequestState
from batch_gateway.services.results.stream import ResultService
from batch_gateway.settings import EngineMonitorSettings, ExecutionSettings, PlanningSettings

pytestmark = pytest.mark.redis

MOST = 1024 * 1024
ANSWER = 256 * 1024
LINES = 64
BODY = json.dumps({"usage": {"prompt_tokens": 1}, "data": "v" * ANSWER}).encode()
UNWATCHED = EngineMonitorSettings(metrics=False, probe=False)
RULES = ExecutionSettings(max_calls=4, flush_interval_s=0.05, idle_exit_s=0.3)


@pytest.fixture
def world(make_world, monkeypatch):
    """One in which ``MOST`` bytes are many."""
    for module in (parts, result_buffer, shard_leases, result_collector):
        monkeypatch.setattr(module, "MOST_BYTES", MOST)
    return make_world(
        execution=RULES, watching=UNWATCHED, planning=PlanningSettings(shard_lines=40)
    )


@pytest.fixture
async def endpoint(start_endpoint, world):
    """It holds its answers while ``may_answer`` is clear, but for the first ``free`` ones; those to
    ``small`` prompts are short."""
    endpoint = await start_endpoint()
    endpoint.may_answer, endpoint.free, endpoint.small = asyncio.Event(), LINES, b"none"

    async def large(arrival):
        if len(endpoint.arrivals) > endpoint.free:
            await endpoint.may_answer.wait()
        if endpoint.small in arrival.body:
            return None
        return web.Response(body=BODY, content_type="application/json")

    endpoint.answer = large
    world.inference_url = endpoint.url
    return endpoint


async def planned(world, lines):
    batch = await world.submit(lines)
    await world.planner.plan(batch.id)
    return batch


async def shards_of(world, batch):
    return [shard async for shard in world.metadata.shards.of_batch(batch.id)]


def results(world):
    return ResultService(
        metadata=world.metadata,
        files=world.files,
        clock=world.clock,
        follow=timedelta(minutes=1),
        stopping=world.stopping,
    )


@pytest.mark.usefixtures("endpoint")
async def test_memory_does_not_grow_with_the_results_of_a_shard(world):
    """16 MiB of them, in two shards."""
    batch = await planned(world, chat_lines(LINES))
    tracemalloc.start()
    try:
        await world.work()
        executing = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        await world.assembler.assemble(batch.id)
        assembling = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    batch = await world.reload(batch)
    output, errors = await world.results(batch)
    assert (batch.status, errors) == (BatchStatus.COMPLETED, [])
    assert [line["custom_id"] for line in output] == [f"line-{n}" for n in range(1, LINES + 1)]
    assert {len(line["response"]["body"]["data"]) for line in output} == {ANSWER}
    assert (batch.counts.completed, batch.usage.input_tokens) == (LINES, LINES)
    assert executing < 10 * MOST
    assert assembling < 10 * MOST


@pytest.mark.usefixtures("endpoint")
async def test_no_part_is_larger_than_what_readers_hold_in_memory(world):
    batch = await planned(world, chat_lines(LINES))

    await world.work()

    shards = await shards_of(world, batch)
    assert {shard.state for shard in shards} == {ShardState.CLOSED}
    assert all(len(shard.parts) > 1 for shard in shards)
    sizes = [await world.files.size(part.key) for shard in shards for part in shard.parts]
    assert sum(sizes) > LINES * ANSWER
    assert max(sizes) <= MOST


@pytest.mark.parametrize("small", [b"none", b"helper 0", b"helper 1", b"helper 2"])
async def test_readers_have_each_line_once_before_and_after_assembly(world, endpoint, small):
    """Whichever shards are large; the plan keeps prompts with the same beginning together."""
    world.planning = PlanningSettings(shard_lines=8)
    endpoint.small = small
    batch = await planned(world, chat_lines(LINES))
    await world.work()
    service, had = results(world), []

    async def read(cursor, most):
        while len(had) < most:
            page = await service.page(TENANT, batch.id, after=cursor, limit=7)
            had.extend(json.loads(line)["custom_id"] for line in page.lines)
            cursor = page.cursor
        return cursor

    cursor = await read(None, 25)
    found = await RequestLookup(world.metadata, world.files).find(TENANT, batch.id, "line-50")
    await world.assembler.assemble(batch.id)
    await read(cursor, LINES)

    assert Counter(had) == Counter(f"line-{n}" for n in range(1, LINES + 1))
    assert found.state is RequestState.COMPLETED
    assert json.loads(found.result)["custom_id"] == "line-50"


@pytest.mark.usefixtures("endpoint")
async def test_a_store_that_fails_between_two_parts_loses_and_doubles_nothing(world, monkeypatch):
    batch = await planned(world, chat_lines(LINES))
    put, writes, budgets, waiting = world.files.put, [], [], []

    class Budget(AnswerBudget):
        def __init__(self, *words):
            super().__init__(*words)
            budgets.append(self)

    monkeypatch.setattr(answer_budget, "AnswerBudget", Budget)

    async def fails_now_and_then(key, content):
        if "/parts/" in key:
            writes.append(key)
            waiting.append(budgets[0].results())
            if len(writes) % 3 == 0:
                raise Unavailable("503 SlowDown")
        return await put(key, content)

    monkeypatch.setattr(world.files, "put", fails_now_and_then)

    await world.work()

    shards = await shards_of(world, batch)
    assert {shard.state for shard in shards} == {ShardState.CLOSED}
    assert sum(part.lines for shard in shards for part in shard.parts) == LINES
    assert sum(shard.tally.completed for shard in shards) == LINES
    assert max(waiting) > ANSWER  # what is being stored counts until it is stored
    assert (budgets[0].results(), budgets[0].held) == (0, 0)
    await world.assembler.assemble(batch.id)
    output, _ = await world.results(await world.reload(batch))
    assert [line["custom_id"] for line in output] == [f"line-{n}" for n in range(1, LINES + 1)]


async def test_lines_that_never_ran_are_accounted_for_beside_large_results(world, endpoint):
    endpoint.free = 20
    batch = await planned(world, chat_lines(LINES))
    working = asyncio.create_task(world.work())
    async with asyncio.timeout(60):
        while (await world.reload(batch)).counts.completed < 20:
            await asyncio.sleep(0.02)
    now = world.clock.now()
    await world.metadata.batches.cancel(
        batch.tenant, batch.id, now=now, fence_at=now + timedelta(seconds=30), events=[]
    )
    await world.coordination.batch_changes.publish(batch.id)
    await working
    service = results(world)
    first = await service.page(TENANT, batch.id, after=None, limit=3)

    await world.assembler.assemble(batch.id)

    batch = await world.reload(batch)
    output, errors = await world.results(batch)
    assert batch.status is BatchStatus.CANCELLED
    assert (batch.counts.completed, batch.counts.failed) == (len(output), 0) == (20, 0)
    assert {line["error"]["code"] for line in errors} == {"batch_cancelled"}
    assert Counter(line["custom_id"] for line in output + errors) == Counter(
        f"line-{n}" for n in range(1, LINES + 1)
    )
    had, cursor = list(first.lines), first.cursor
    while len(had) < LINES:
        page = await service.page(TENANT, batch.id, after=cursor, limit=50)
        had, cursor = had + list(page.lines), page.cursor
    assert len({json.loads(line)["custom_id"] for line in had}) == len(had) == LINES


async def test_what_a_killed_executor_has_stored_is_kept(world, endpoint, make_world):
    """Its successor reads what is done without holding it in memory, and finishes the rest."""
    endpoint.free = 38  # what is left of its shard would fit one part
    batch = await planned(world, chat_lines(LINES))
    working = asyncio.create_task(world.work())
    async with asyncio.timeout(60):
        while (await world.reload(batch)).counts.completed < 38:
            await asyncio.sleep(0.02)
    working.cancel()
    await asyncio.wait([working])
    endpoint.may_answer.set()
    await world.termination.reclaim(
        [ref for ref, _ in await world.metadata.shards.leased(limit=10)]
    )
    assert (await world.reload(batch)).counts.completed == 38

    second = make_world(execution=RULES, watching=UNWATCHED)
    second.inference_url = endpoint.url
    await second.work()
    for shard in await shards_of(world, batch):
        assert max([await world.files.size(part.key) for part in shard.parts]) <= MOST
    await second.assembler.assemble(batch.id)

    batch = await world.reload(batch)
    output, errors = await world.results(batch)
    assert (batch.counts.completed, len(output), errors) == (LINES, LINES, [])
    assert LINES <= len(endpoint.arrivals) <= LINES + RULES.max_calls
