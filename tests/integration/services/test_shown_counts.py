"""Counts and usage that a batch shows never fall, however long nothing works on it."""

import asyncio
from contextlib import suppress
from dataclasses import asdict

import pytest
from fixtures.world import TENANT, chat_lines

from batch_gateway.core.errors import Temporary
from batch_gateway.core.model import BatchStatus
from batch_gateway.settings import EngineMonitorSettings, ExecutionSettings, PlanningSettings
from batch_gateway.wiring.batches import make_batches, make_completion_estimates

pytestmark = pytest.mark.redis

LEASE_S = 0.4
LINES = 120


@pytest.fixture
def world(make_world):
    return make_world(
        execution=ExecutionSettings(
            lease_ttl_s=LEASE_S,
            heartbeat_s=0.1,
            flush_interval_s=0.05,
            slot_ttl_s=1,
            idle_exit_s=0.3,
        ),
        planning=PlanningSettings(shard_lines=40),
        watching=EngineMonitorSettings(metrics=False, probe=False),
    )


class Shown:
    """What a client is shown of a batch, look after look."""

    def __init__(self, world, batch):
        self._batches = make_batches(world.runtime, make_completion_estimates(world.runtime))
        self._id = batch.id
        self.last = {"completed": 0, "failed": 0}

    async def look(self):
        found = await self._batches.get(TENANT, self._id)
        now = {"completed": found.counts.completed, "failed": found.counts.failed}
        if found.usage is not None:
            now |= asdict(found.usage)
        fallen = {name for name, before in self.last.items() if now.get(name, -1) < before}
        assert not fallen, f"{self.last} became {now}"
        self.last = now
        return found

    async def until(self, condition):
        async with asyncio.timeout(60):
            while not condition(found := await self.look()):
                await asyncio.sleep(0.02)
        return found

    async def during(self, seconds):
        """Look all the time."""
        ends = asyncio.get_running_loop().time() + seconds
        await self.until(lambda _: asyncio.get_running_loop().time() >= ends)


async def test_after_four_lease_times_without_an_executor_all_that_was_counted_is_shown(world):
    """Leases run out, the coordination store loses its memory, sweeps take the shards back."""
    await world.configure(ttft_ms=30, slots=8)
    batch = await world.submit(chat_lines(LINES))
    await world.planner.plan(batch.id)
    shown = Shown(world, batch)
    working = asyncio.create_task(world.work())
    await shown.until(lambda found: found.counts.completed >= 10)
    working.cancel()
    await asyncio.wait([working])
    counted = (await shown.look()).counts.completed
    assert 10 <= counted < LINES

    await shown.during(2 * LEASE_S)
    await world.wipe()
    await shown.during(2 * LEASE_S)
    async with asyncio.timeout(60):
        while await world.metadata.shards.leased(limit=1):
            with suppress(Temporary):
                await world.janitor.sweep()
            await shown.during(LEASE_S / 2)
    await shown.during(2 * LEASE_S)
    assert shown.last["completed"] >= counted

    working = asyncio.create_task(world.work())
    found = await shown.until(lambda found: found.open_shards == 0)
    await working

    assert (found.status, found.counts.completed) == (BatchStatus.FINALIZING, LINES)
