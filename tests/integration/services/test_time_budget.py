"""Calls that are longer than the time an activation has left."""

import pytest
from fixtures.world import chat_lines

from batch_gateway.core.batch_summary import BatchSummary
from batch_gateway.core.model import BatchStatus
from batch_gateway.settings import (
    EngineMonitorSettings,
    ExecutionSettings,
    PlanningSettings,
    RetrySettings,
)

pytestmark = pytest.mark.redis

UNWATCHED = EngineMonitorSettings(metrics=False, probe=False)
BRIEF = {"slot_sync_s": 0.05, "flush_interval_s": 0.1}


async def planned(world, lines):
    batch = await world.submit(lines)
    await world.planner.plan(batch.id)
    return batch


async def test_a_call_that_its_activation_had_no_time_for_costs_no_attempt_and_goes_first(
    make_world,
):
    """One line at a time takes 0.4 s: the fourth is cut, and the next activation begins with it."""
    world = make_world(
        watching=UNWATCHED,
        retry=RetrySettings(attempts=1),
        execution=ExecutionSettings(soft_budget_s=1.0, hard_budget_s=1.1, max_calls=1, **BRIEF),
    )
    await world.configure(ttft_ms=400)
    batch = await planned(world, chat_lines(6))

    await world.work()
    cut = [call for call in await world.arrivals() if call["aborted"]]
    await world.work()
    calls = await world.arrivals()
    while (await world.reload(batch)).status is BatchStatus.IN_PROGRESS:
        await world.work()

    after = calls[calls.index(cut[0]) + 1]
    assert after["digest"] == cut[0]["digest"]
    assert (await world.reload(batch)).counts.completed == 6


async def test_a_call_that_cannot_fit_fails_once_after_one_full_budget_naming_the_setting(
    make_world,
):
    """However many attempts a line has: the next activation would give it no more time."""
    world = make_world(
        watching=UNWATCHED,
        retry=RetrySettings(attempts=5, backoff_s=0.01),
        execution=ExecutionSettings(soft_budget_s=1, hard_budget_s=2, **BRIEF),
        planning=PlanningSettings(shard_lines=1),
    )
    await world.configure(fault_rate=1, fault_kinds=["timeout"], fault_match="Question 1?")
    batch = await planned(world, chat_lines(2))

    while (await world.reload(batch)).status is BatchStatus.IN_PROGRESS:
        await world.work()

    batch = await world.reload(batch)
    assert (batch.counts.completed, batch.counts.failed) == (1, 1)
    await world.assembler.assemble(batch.id)
    _, [error] = await world.results(await world.reload(batch))
    assert error["error"]["code"] == "request_timeout"
    assert "(execution.hard_budget_s)" in error["error"]["message"]
    calls = BatchSummary.decoded(await world.metadata.batches.summary(batch.id)).calls
    assert calls.retries == {}  # calls that began too late for a full budget are no attempts


async def test_a_call_that_takes_its_whole_long_time_out_is_made_twice_and_names_the_setting(
    make_world,
):
    """As 320 s with the defaults: 300 s for a call, 540 s for an activation, five attempts."""
    world = make_world(
        watching=UNWATCHED,
        retry=RetrySettings(attempts=5, backoff_s=0.01),
        execution=ExecutionSettings(soft_budget_s=2.4, hard_budget_s=5.4, **BRIEF),
        call_timeout_s=3,
    )
    await world.configure(fault_rate=1, fault_kinds=["timeout"], fault_match="Question 1?")
    batch = await planned(world, chat_lines(2))

    while (await world.reload(batch)).status is BatchStatus.IN_PROGRESS:
        await world.work()

    await world.assembler.assemble(batch.id)
    _, [error] = await world.results(await world.reload(batch))
    assert error["error"]["code"] == "request_timeout"
    assert "3 s (timeout_s of the endpoint)" in error["error"]["message"]
    assert len([call for call in await world.arrivals() if call["aborted"]]) == 2
