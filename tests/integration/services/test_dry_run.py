"""Dry runs: judged and counted like any batch, but nothing runs."""

import math
from datetime import timedelta

import pytest
from fixtures.world import chat_lines

from batch_gateway.core.ids import ActivationId
from batch_gateway.core.model import BatchStatus, LineCounts
from batch_gateway.ports.throughput import WorkReport
from batch_gateway.settings import PriceSettings

pytestmark = pytest.mark.redis


async def test_a_dry_run_counts_and_estimates_and_completes_without_a_call(world):
    lines = chat_lines(4, max_tokens=1000) + [
        line | {"custom_id": f"small-{n}"}
        for n, line in enumerate(chat_lines(2, model="sim-small", max_tokens=10))
    ]

    batch = await world.run(await world.submit(lines, dry_run=True))

    estimated = batch.options["estimated_tokens"]
    assert batch.status is BatchStatus.COMPLETED
    assert batch.counts == LineCounts(total=6)
    assert (batch.output_file_id, batch.error_file_id) == (None, None)
    assert sorted(estimated) == ["sim-large", "sim-small"]
    assert estimated["sim-large"] > 4 * 1000 > estimated["sim-small"] > 2 * 10
    assert await world.arrivals() == []
    assert [blob async for blob in world.files.list(f"work/{batch.id}/")] == []


async def test_a_dry_run_estimates_the_cost_by_the_prices(make_world):
    prices = {
        "sim-large": {"input": 1_000_000, "output": 3_000_000, "request": 7},
        "other": {"input": 1},
    }
    world = make_world(prices=PriceSettings(models=prices, batch_discount=0.5, currency="EUR"))
    lines = [
        *chat_lines(3, max_tokens=100),
        {**chat_lines(1, model="free", max_tokens=50)[0], "custom_id": "free"},
    ]

    batch = await world.run(await world.submit(lines, dry_run=True))
    free = await world.run(await world.submit(lines[3:], dry_run=True))

    tokens = batch.options["estimated_tokens"]["sim-large"]
    answers = 3 * 100
    expected = (tokens - answers + 3 * answers + 3 * 7) * 0.5
    found = batch.options["estimated_cost"]
    assert (float(found["value"]), found["currency"]) == (expected, "EUR")
    assert "estimated_cost" not in free.options


async def test_what_is_deduplicated_costs_nothing_in_a_dry_run(make_world):
    world = make_world(prices=PriceSettings(models={"sim-large": {"output": 1, "request": 1}}))
    line = {**chat_lines(1, max_tokens=100)[0]}
    line["body"] = line["body"] | {"temperature": 0}
    lines = [{**line, "custom_id": f"line-{n}"} for n in range(4)]

    whole = await world.run(await world.submit(lines[:1], dry_run=True))
    once = await world.run(await world.submit(lines, dry_run=True, deduplicate=True))

    assert once.options["deduplicated"] == 3
    assert once.options["estimated_cost"] == whole.options["estimated_cost"]


async def test_a_dry_run_of_a_bad_input_fails(world):
    batch = await world.run(await world.submit(b"bad", dry_run=True))

    assert (batch.status, batch.errors[0].code) == (BatchStatus.FAILED, "invalid_json_line")


async def test_a_dry_run_that_is_cancelled_before_it_is_planned_has_no_files(world):
    batch = await world.submit(chat_lines(3), dry_run=True)
    now = world.clock.now()
    await world.metadata.batches.cancel(batch.tenant, batch.id, now=now, fence_at=now, events=[])

    await world.assembler.assemble(batch.id)

    batch = await world.reload(batch)
    assert (batch.status, batch.error_file_id) == (BatchStatus.CANCELLED, None)


async def test_a_dry_run_that_is_planned_twice_stays_as_it_is(world):
    batch = await world.submit(chat_lines(3), dry_run=True)
    await world.planner.plan(batch.id)
    planned = await world.reload(batch)

    await world.planner.plan(batch.id)

    assert await world.reload(batch) == planned


async def test_a_dry_run_estimates_the_time_at_the_speed_that_its_models_had_lately(world):
    unknown = await world.run(await world.submit(chat_lines(3), dry_run=True))
    report = WorkReport(batch=unknown.id, model="sim-large", done=5000.0, left=0.0)
    await world.coordination.throughput.report(
        ActivationId("me"), [report], ttl=timedelta(minutes=1)
    )

    known = await world.run(await world.submit(chat_lines(3), dry_run=True))
    mixed = [*chat_lines(3), {**chat_lines(1, model="sim-small")[0], "custom_id": "small"}]
    half_known = await world.run(await world.submit(mixed, dry_run=True))

    tokens = known.options["estimated_tokens"]["sim-large"]
    assert unknown.options["estimated_duration_s"] is None
    assert known.options["estimated_duration_s"] == math.ceil(tokens / (5000 / 5))
    assert half_known.options["estimated_duration_s"] is None
