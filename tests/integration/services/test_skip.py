"""Bad lines of a batch that skips them: each gets its error line, the rest runs."""

import json

import pytest
from fixtures.world import chat_lines

from batch_gateway.core.model import BatchStatus
from batch_gateway.settings import PlanningSettings

pytestmark = pytest.mark.redis


def encoded(*lines):
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


async def test_each_bad_line_is_answered_with_its_reason_and_the_rest_runs(make_world):
    world = make_world(planning=PlanningSettings(shard_lines=2, max_line_bytes=2000, max_errors=1))
    one, two, three = chat_lines(3)
    content = encoded(one, {"custom_id": "b"}) + b"not json\n\n" + encoded(two)
    content += encoded({**two, "custom_id": "long", "x": "x" * 3000})
    content += encoded({**three, "custom_id": "line-1"}, {**three, "custom_id": "b", "url": "/"})
    content += b'{"custom_id": "bad \xff"}\n{"custom_id": 5}\n{"custom_id": "c", "method": 5}\n'
    content += encoded(three, three)

    batch = await world.run(await world.submit(content, on_invalid_line="skip"))

    output, errors = await world.results(batch)
    assert batch.status is BatchStatus.COMPLETED
    assert batch.errors == ()
    assert (batch.counts.total, batch.counts.completed, batch.counts.failed) == (12, 3, 9)
    assert [line["custom_id"] for line in output] == ["line-1", "line-2", "line-3"]
    assert [(line["custom_id"], line["error"]["code"]) for line in errors] == [
        ("b", "missing_required_parameter"),
        (None, "invalid_json_line"),
        (None, "line_too_long"),
        ("line-1", "duplicate_custom_id"),
        ("b", "invalid_url"),
        (None, "invalid_json_line"),
        (None, "invalid_type"),
        ("c", "invalid_type"),
        ("line-3", "duplicate_custom_id"),
    ]
    assert all(line["response"] is None for line in errors)
    assert len({line["id"] for line in output + errors}) == 12


async def test_a_batch_of_bad_lines_only_completes_with_an_error_file(world):
    batch = await world.run(await world.submit(b"a\nb\n", on_invalid_line="skip"))

    _, errors = await world.results(batch)
    assert batch.status is BatchStatus.COMPLETED
    assert (batch.output_file_id, batch.model, len(errors)) == (None, None, 2)
    assert (batch.counts.total, batch.counts.failed) == (2, 2)
    assert await world.arrivals() == []


async def test_an_empty_file_fails_all_the_same(world):
    batch = await world.run(await world.submit(b"\n\n", on_invalid_line="skip"))

    assert (batch.status, batch.errors[0].code) == (BatchStatus.FAILED, "empty_file")


async def test_too_many_lines_fail_all_the_same(make_world):
    world = make_world(max_lines=2)

    batch = await world.run(await world.submit(b"a\nb\nc\n", on_invalid_line="skip"))

    assert (batch.status, batch.errors[0].code) == (BatchStatus.FAILED, "too_many_requests")


async def test_bad_lines_of_a_batch_that_is_cancelled_keep_their_reasons(world):
    batch = await world.submit(b"bad\n" + encoded(*chat_lines(2)), on_invalid_line="skip")
    await world.planner.plan(batch.id)
    now = world.clock.now()
    await world.metadata.batches.cancel(batch.tenant, batch.id, now=now, fence_at=now, events=[])

    await world.assembler.assemble(batch.id)

    batch = await world.reload(batch)
    _, errors = await world.results(batch)
    assert batch.status is BatchStatus.CANCELLED
    assert [line["error"]["code"] for line in errors] == [
        "invalid_json_line",
        "batch_cancelled",
        "batch_cancelled",
    ]
    assert (batch.counts.total, batch.counts.failed) == (3, 1)
