"""Which instances of functions run, and which ended lately."""

import asyncio
from datetime import timedelta

import pytest
from fixtures.scratch import MINUTE, another_process

from batch_gateway.core.errors import Unavailable
from batch_gateway.core.function_instances import FunctionInstance
from batch_gateway.services.instance_heartbeat import InstanceHeartbeat

pytestmark = pytest.mark.redis

BRIEF = timedelta(milliseconds=1)


async def test_an_instance_runs_until_it_leaves_or_falls_silent(coordination, redis_url):
    other = another_process(coordination, redis_url)
    instances = coordination.function_instances
    first = await instances.report("planner", "a", started_at=None, lifetime=MINUTE)
    await other.function_instances.report("planner", "b", started_at=None, lifetime=MINUTE)
    silent = await instances.report("executor", "c", started_at=None, lifetime=BRIEF)
    again = await instances.report("planner", "a", started_at=first, lifetime=MINUTE)
    await other.close()

    await instances.leave("planner", "a", started_at=first)
    async with asyncio.timeout(45):
        while len(ended := await ended_ones(instances)) < 2:
            await asyncio.sleep(0)

    running = [one for one in await instances.list() if one.ended_at is None]
    assert again == first
    assert [(one.function, one.id) for one in running] == [("planner", "b")]
    assert ended["a"].started_at == first <= ended["a"].ended_at
    assert ended["c"].ended_at == silent + BRIEF


async def ended_ones(instances) -> dict[str, FunctionInstance]:
    return {one.id: one for one in await instances.list() if one.ended_at is not None}


async def test_very_many_instances_are_forgotten_the_first_to_end_first(coordination, monkeypatch):
    monkeypatch.setattr("batch_gateway.adapters.redis_coordination.function_instances._MOST", 3)
    instances = coordination.function_instances
    for n in range(5):
        await instances.report("api", f"i{n}", started_at=None, lifetime=MINUTE * (n + 1))

    assert {one.id for one in await instances.list()} == {"i2", "i3", "i4"}


async def test_what_ended_is_forgotten_after_its_time(coordination, monkeypatch):
    monkeypatch.setattr("batch_gateway.adapters.redis_coordination.function_instances.KEPT", BRIEF)
    instances = coordination.function_instances
    await instances.report("api", "old", started_at=None, lifetime=BRIEF)

    async with asyncio.timeout(45):
        while await instances.list():
            await asyncio.sleep(0)
    await instances.report("api", "new", started_at=None, lifetime=MINUTE)

    assert [one.id for one in await instances.list()] == ["new"]


class Away:
    """Instances on a server that does not answer at first."""

    def __init__(self, instances):
        self._instances = instances
        self.refused = 0
        self.reported = asyncio.Event()

    async def report(self, *words, **more):
        if self.refused < 2:
            self.refused += 1
            raise Unavailable("away")
        started = await self._instances.report(*words, **more)
        self.reported.set()
        return started

    async def leave(self, *words, **more):
        await self._instances.leave(*words, **more)


async def test_a_process_reports_itself_until_it_ends(coordination):
    instances = Away(coordination.function_instances)
    heartbeat = InstanceHeartbeat(instances, "janitor", every=timedelta(milliseconds=400))
    async with asyncio.timeout(45):
        task = asyncio.create_task(heartbeat.run())
        await instances.reported.wait()
        (running,) = await coordination.function_instances.list()
        task.cancel()
        await asyncio.wait([task])
        (ended,) = await coordination.function_instances.list()

    assert (running.function, running.ended_at, instances.refused) == ("janitor", None, 2)
    assert ended.started_at == running.started_at <= ended.ended_at
