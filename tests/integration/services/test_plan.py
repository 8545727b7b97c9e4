"""The planner on real stores: what becomes of an input."""

import asyncio
import itertools
import json
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from fixtures.redis import free_port
from fixtures.world import CHAT, chat_lines

from batch_gateway.adapters.redis_coordination import open_scratch
from batch_gateway.core.errors import Busy, Unavailable
from batch_gateway.core.events import EventType
from batch_gateway.core.ids import TenantId
from batch_gateway.core.layout import file_key
from batch_gateway.core.lines import decode_shard_line
from batch_gateway.core.model import BatchStatus, ShardState
from batch_gateway.services.results.parts import read_blob
from batch_gateway.settings import PlanningSettings

pytestmark = pytest.mark.redis
MINUTE = timedelta(minutes=1)


async def shards_of(world, batch):
    return [shard async for shard in world.metadata.shards.of_batch(batch.id)]


def encoded(*lines):
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


async def failed(world, content, **options):
    batch = await world.submit(content, **options)
    await world.planner.plan(batch.id)
    batch = await world.reload(batch)
    assert batch.status is BatchStatus.FAILED
    return batch


async def test_a_good_input_becomes_shards_in_the_queue_and_a_wake_up(make_world):
    world = make_world(planning=PlanningSettings(shard_lines=10))
    batch = await world.submit(chat_lines(25))

    await world.planner.plan(batch.id)

    batch = await world.reload(batch)
    assert batch.status is BatchStatus.IN_PROGRESS
    assert (batch.counts.total, batch.open_shards, batch.model) == (25, 3, "sim-large")
    assert (await world.coordination.queue.depth()).ready == 3
    assert EventType.WORK_AVAILABLE in world.sink.types()


async def test_bodies_reach_the_shards_byte_for_byte(world):
    body = b'{"model": "m",  "messages":[], "seed":12345678901234567890123, "x":1.0}'
    line = b'{"custom_id":"a","method":"POST","url":"' + CHAT.encode() + b'","body":' + body + b"}"
    batch = await world.submit(line)

    await world.planner.plan(batch.id)

    (shard,) = await shards_of(world, batch)
    stored = decode_shard_line(await read_blob(world.files, shard.key))
    assert bytes(stored.body) == body


async def test_lines_that_share_a_prompt_are_neighbours(make_world):
    world = make_world()
    batch = await world.submit(chat_lines(30))

    await world.planner.plan(batch.id)

    (shard,) = await shards_of(world, batch)
    lines = [
        decode_shard_line(raw) for raw in (await read_blob(world.files, shard.key)).splitlines()
    ]
    prompts = [line.line % 3 for line in lines]
    changes = sum(1 for one, other in itertools.pairwise(prompts) if one != other)
    assert changes == 2


async def test_planning_twice_changes_nothing_and_wakes_again(make_world):
    world = make_world(planning=PlanningSettings(shard_lines=10))
    batch = await world.submit(chat_lines(25))
    await world.planner.plan(batch.id)
    before = await shards_of(world, batch)
    world.sink.take()

    await world.planner.plan(batch.id)

    assert await shards_of(world, batch) == before
    assert (await world.coordination.queue.depth()).ready == 3


async def test_two_planners_at_once_make_one_plan_and_leave_no_other_objects(make_world):
    world = make_world(planning=PlanningSettings(shard_lines=10))
    batch = await world.submit(chat_lines(25))

    await asyncio.gather(world.planner.plan(batch.id), make_world().planner.plan(batch.id))

    kept = {shard.key for shard in await shards_of(world, batch)}
    assert {blob.key async for blob in world.files.list(f"work/{batch.id}/")} == kept


async def test_planning_again_gives_byte_identical_shards(make_world):
    world = make_world(planning=PlanningSettings(shard_lines=10))
    content = encoded(*chat_lines(25))
    contents = []
    for _ in range(2):
        batch = await world.submit(content)
        await world.planner.plan(batch.id)
        shards = await shards_of(world, batch)
        contents.append([await read_blob(world.files, shard.key) for shard in shards])

    assert contents[0] == contents[1]


async def test_every_bad_line_is_named_and_nothing_runs(world):
    good, *_ = chat_lines(1)
    content = encoded(
        good,
        {"custom_id": "b"},
        {**good, "custom_id": "c", "url": "/v1/embeddings"},
    )
    content += b"not json\n" + encoded({**good, "custom_id": "line-1"})

    batch = await failed(world, content)

    assert [(error.line, error.code, error.param) for error in batch.errors] == [
        (2, "missing_required_parameter", "method"),
        (3, "invalid_url", "url"),
        (4, "invalid_json_line", None),
        (5, "duplicate_custom_id", "custom_id"),
    ]
    assert batch.counts.total == 0
    assert batch.failed_at is not None
    assert EventType.BATCH_FAILED in world.sink.types()
    assert (await world.coordination.queue.depth()).ready == 0


async def test_blank_lines_carriage_returns_and_a_byte_order_mark_are_tolerated(world):
    one, two = (json.dumps(line).encode() for line in chat_lines(2))
    batch = await world.submit(b"\xef\xbb\xbf" + one + b"\r\n\r\n  \n" + two)

    await world.planner.plan(batch.id)

    assert (await world.reload(batch)).counts.total == 2


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
async def test_an_input_without_requests_fails(world, content):
    batch = await failed(world, content)

    assert [error.code for error in batch.errors] == ["empty_file"]


async def test_too_many_lines_fail(make_world):
    batch = await failed(make_world(max_lines=10), encoded(*chat_lines(11)))

    assert [error.code for error in batch.errors] == ["too_many_requests"]


async def test_a_line_that_is_too_long_is_named_and_the_next_one_read(make_world):
    world = make_world(planning=PlanningSettings(max_line_bytes=3000))
    long, short = chat_lines(2)
    long["body"]["messages"][0]["content"] = "x" * 5_000_000

    batch = await failed(world, encoded(long, short, {"custom_id": "z"}))

    assert [(error.line, error.code) for error in batch.errors] == [
        (1, "line_too_long"),
        (3, "missing_required_parameter"),
    ]


async def test_the_list_of_errors_is_bounded(make_world):
    world = make_world(planning=PlanningSettings(max_errors=5))

    batch = await failed(world, b"bad\n" * 100)

    assert len(batch.errors) == 5


async def test_a_missing_input_file_fails_the_batch(world):
    batch = await world.submit(chat_lines(1))
    await world.metadata.files.delete(batch.tenant, batch.input_file_id)

    await world.planner.plan(batch.id)

    batch = await world.reload(batch)
    assert batch.status is BatchStatus.FAILED
    assert [(error.code, error.param) for error in batch.errors] == [("invalid_request", "file_id")]


async def test_another_tenants_input_file_is_no_file(world):
    mine = await world.submit(chat_lines(1))
    theirs = await world.submit(chat_lines(1), tenant=TenantId("other"))
    stolen = theirs.evolve(id=f"{theirs.id[:-4]}beef", input_file_id=mine.input_file_id)
    await world.metadata.batches.create(stolen, [])

    await world.planner.plan(stolen.id)

    assert (await world.reload(stolen)).status is BatchStatus.FAILED


async def test_unknown_models_are_answered_while_planning(make_world):
    world = make_world(models=frozenset({"sim-large"}))
    lines = chat_lines(6)
    for line in lines[:2]:
        line["body"]["model"] = "nobody"

    batch = await world.submit(lines)
    await world.planner.plan(batch.id)

    batch = await world.reload(batch)
    shards = await shards_of(world, batch)
    assert batch.status is BatchStatus.IN_PROGRESS
    assert (batch.counts.total, batch.counts.failed, batch.open_shards) == (6, 2, 1)
    assert sorted(shard.state for shard in shards) == [ShardState.CLOSED, ShardState.READY]


async def test_a_batch_of_unknown_models_only_goes_straight_to_the_assembler(make_world):
    world = make_world(models=frozenset({"other"}))
    batch = await world.submit(chat_lines(3))

    await world.planner.plan(batch.id)

    assert (await world.reload(batch)).status is BatchStatus.FINALIZING
    assert EventType.BATCH_EXECUTED in world.sink.types()


async def test_a_cancelled_batch_is_not_planned(world):
    batch = await world.submit(chat_lines(3))
    now = world.clock.now()
    await world.metadata.batches.cancel(batch.tenant, batch.id, now=now, fence_at=now, events=[])

    await world.planner.plan(batch.id)

    batch = await world.reload(batch)
    assert batch.status is BatchStatus.CANCELLING
    assert [blob async for blob in world.files.list(f"work/{batch.id}/")] == []


def large_lines():
    """So many bytes that no two planners should read them at once."""
    lines = chat_lines(40)
    for line in lines:
        line["body"]["messages"] = [{"role": "user", "content": "word " * 200_000}]
    return lines


async def test_a_large_input_is_planned_by_one_at_a_time(make_world):
    world = make_world()
    batch = await world.submit(large_lines())

    rivals = [asyncio.create_task(world.planner.plan(batch.id)) for _ in range(2)]
    done = await asyncio.gather(*rivals, return_exceptions=True)
    await world.planner.plan(batch.id)  # as a repeated event would

    assert sorted(map(type, done), key=str) == sorted([Busy, type(None)], key=str)
    assert (await world.reload(batch)).status is BatchStatus.IN_PROGRESS
    assert await world.coordination.locks.acquire(f"plan:{batch.id}", "anybody", MINUTE)


async def test_a_planner_that_is_stopped_in_mid_survey_gives_way_to_the_next(make_world):
    world = make_world()
    batch = await world.submit(large_lines())

    planning = asyncio.create_task(world.planner.plan(batch.id))
    await asyncio.sleep(0.05)
    planning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await planning
    await world.planner.plan(batch.id)

    assert (await world.reload(batch)).status is BatchStatus.IN_PROGRESS


async def test_without_the_scratch_server_a_large_input_is_surveyed_all_the_same(make_world):
    world = make_world()
    batch = await world.submit(large_lines())
    world.coordination = open_scratch(
        f"redis://127.0.0.1:{free_port()}/0",
        prefix="nobody",
    )

    with pytest.raises(Unavailable):  # it cannot fill the queue, so the event must come again
        await world.planner.plan(batch.id)

    assert (await world.reload(batch)).status is BatchStatus.IN_PROGRESS


def nested(levels: int) -> bytes:
    body = b'{"model":"sim-large","messages":[{"role":"user","content":"hi"}],"deep":%s}' % (
        b"[" * levels + b"]" * levels
    )
    return b'{"custom_id":"a","method":"POST","url":"%s","body":%s}\n' % (CHAT.encode(), body)


@pytest.mark.parametrize("levels", [260, 500, 900, 100_000])
@pytest.mark.parametrize("inside", ["deep", "messages", "tools", "prompt"])
async def test_a_line_that_is_nested_deeply_fails_its_batch_at_once(world, levels, inside):
    content = nested(levels).replace(b'"deep"', b'"%s"' % inside.encode())

    batch = await failed(world, content)

    (error,) = batch.errors
    assert (error.code, error.line) == ("invalid_json_line", 1)
    assert "256 levels" in error.message


async def test_a_line_of_some_levels_is_planned_and_run(world):
    batch = await world.run(await world.submit(nested(200)))

    assert (batch.status, batch.counts.completed) == (BatchStatus.COMPLETED, 1)


async def test_a_batch_whose_planning_keeps_failing_fails_after_some_tries(world, monkeypatch):
    batch = await world.submit(chat_lines(3))

    def broken(*_args, **_more):
        raise RecursionError("too deep")

    monkeypatch.setattr("batch_gateway.services.plan.planner.scan_lines", broken)
    for _ in range(5):
        with pytest.raises(RecursionError):
            await world.planner.plan(batch.id)
        assert (await world.reload(batch)).status is BatchStatus.VALIDATING

    await world.planner.plan(batch.id)

    batch = await world.reload(batch)
    assert batch.status is BatchStatus.FAILED
    assert [error.code for error in batch.errors] == ["planning_failed"]
    assert "RecursionError" in batch.errors[0].message


async def test_a_full_disk_never_fails_a_batch(world, monkeypatch):
    batch = await world.submit(chat_lines(3))

    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("batch_gateway.services.plan.planner.scan_lines", full)
    for _ in range(8):
        with pytest.raises(Unavailable, match="No space left"):
            await world.planner.plan(batch.id)
    monkeypatch.undo()
    await world.planner.plan(batch.id)

    assert (await world.reload(batch)).status is BatchStatus.IN_PROGRESS


@pytest.fixture
def reading(world, monkeypatch):
    """Which input files are being read, and how many were read at once at most."""
    copies, now, most = world.files.local_copy, set(), [0]

    @asynccontextmanager
    async def local_copy(key, folder):
        now.add(key)
        most[0] = max(most[0], len(now))
        try:
            async with copies(key, folder) as path:
                await asyncio.sleep(0)
                yield path
        finally:
            now.discard(key)

    monkeypatch.setattr(world.files, "local_copy", local_copy)
    return most


async def test_small_inputs_are_planned_side_by_side(world, reading):
    batches = [await world.submit(chat_lines(3)) for _ in range(5)]
    planner = world.planner

    await asyncio.gather(*(planner.plan(batch.id) for batch in batches))

    assert reading[0] > 1  # how many meet is a matter of moments
    for batch in batches:
        assert (await world.reload(batch)).status is BatchStatus.IN_PROGRESS


async def test_large_inputs_are_planned_one_at_a_time_and_keep_no_small_one_waiting(
    world, reading, monkeypatch
):
    large = [await world.submit(chat_lines(30)) for _ in range(3)]
    small = await world.submit(chat_lines(1))
    size = (await world.metadata.files.get(small.tenant, small.input_file_id)).size
    monkeypatch.setattr("batch_gateway.services.plan.planner.SMALL", size)
    copies, small_is_read = world.files.local_copy, asyncio.Event()

    @asynccontextmanager
    async def local_copy(key, folder):
        async with copies(key, folder) as path:
            if key == file_key(small.input_file_id):
                small_is_read.set()
            async with asyncio.timeout(45):
                await small_is_read.wait()  # beside the first large one
            yield path

    monkeypatch.setattr(world.files, "local_copy", local_copy)
    planner = world.planner

    await asyncio.gather(*(planner.plan(batch.id) for batch in [*large, small]))

    assert reading == [2]
    for batch in [*large, small]:
        assert (await world.reload(batch)).status is BatchStatus.IN_PROGRESS
