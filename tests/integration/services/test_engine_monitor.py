"""Brakes and aborts: the real executor beside an engine that others want to use too."""

import asyncio
from collections import Counter

import pytest
from fixtures.simulator import is_probe, until
from fixtures.world import chat_lines

from batch_gateway.core.limits import Brake
from batch_gateway.settings import EngineMonitorSettings, PlanningSettings, RetrySettings

pytestmark = pytest.mark.redis

QUICK = {
    "interval_s": 0.02,
    "probe_interval_s": 0.02,
    "probe_wait_ms": 30,
    "abort_share": 1.0,
    "calm_s": 0.2,
}
BY_METRICS = {**QUICK, "probe": False, "stale_s": 30}  # however slow the machine is


async def planned(world, count):
    batch = await world.submit(chat_lines(count, max_tokens=10))
    await world.planner.plan(batch.id)
    return batch


async def pool(world):
    (state,) = await world.coordination.slots.pools()
    return state


async def worked(world, batch):
    """Work to the end; the batch's output lines by custom_id."""
    await world.work()
    await world.assembler.assemble(batch.id)
    output, errors = await world.results(await world.reload(batch))
    assert errors == []
    return Counter(line["custom_id"] for line in output)


async def probes_of(world):
    return [call for call in await world.arrivals(probes=True) if is_probe(call)]


async def calls_of_batch(world):
    """Those of users have no id."""
    named = [call for call in await world.arrivals() if call["request_id"]]
    return [call for call in named if call["request_id"].startswith("batch")]


async def test_a_queue_in_the_engine_brakes_and_the_youngest_calls_are_given_back_unharmed(
    make_world,
):
    world = make_world(
        watching=EngineMonitorSettings(**BY_METRICS), retry=RetrySettings(attempts=1)
    )
    await world.configure(slots=4, ttft_ms=300)
    batch = await planned(world, 20)

    async with Users(world.inference_url, 2):
        done = await worked(world, batch)

    state = await pool(world)
    calls = await calls_of_batch(world)
    aborted = [call for call in calls if call["aborted"]]
    assert done == Counter(f"line-{n}" for n in range(1, 21))
    assert state.limit.last_brake is Brake.ENGINE
    assert "in the engine" in state.limit.reason
    assert state.aborted >= len(aborted) == len(calls) - 20 > 0  # some before they arrived


async def test_an_engine_without_metrics_is_probed_and_a_probe_that_waits_brakes(make_world):
    """What is aborted then is held in virtual time (``tests/unit/test_own_queue.py``)."""
    world = make_world(watching=EngineMonitorSettings(**QUICK), retry=RetrySettings(attempts=1))
    await world.configure(slots=4, tpot_ms=25, metrics=False)
    batch = await planned(world, 40)

    done = await worked(world, batch)

    state = await pool(world)
    assert done == Counter(f"line-{n}" for n in range(1, 41))
    assert state.limit.last_brake is Brake.PROBE
    assert "a probe has waited" in state.limit.reason


async def test_there_is_one_probe_at_a_time_and_only_while_there_is_work(make_world):
    world = make_world(watching=EngineMonitorSettings(**QUICK))
    await world.configure(ttft_ms=50, metrics=False)
    batch = await planned(world, 40)

    await asyncio.gather(world.work(), make_world(watching=EngineMonitorSettings(**QUICK)).work())

    probes = await probes_of(world)
    ends = [call["ended_at"] for call in probes]
    assert (await world.reload(batch)).counts.completed == 40
    assert len(probes) > 2
    assert all(later["arrived_at"] >= end for end, later in zip(ends, probes[1:], strict=False))
    await asyncio.sleep(0.1)
    assert len(await probes_of(world)) == len(probes)


async def test_aborting_can_be_switched_off(make_world):
    world = make_world(watching=EngineMonitorSettings(**BY_METRICS, abort=False))
    await world.configure(slots=4, ttft_ms=100)
    batch = await planned(world, 20)

    done = await worked(world, batch)

    assert done.total() == 20
    assert (await pool(world)).limit.last_brake is Brake.ENGINE
    assert not any(call["aborted"] for call in await world.arrivals())


async def test_watching_can_be_switched_off(make_world):
    world = make_world(watching=EngineMonitorSettings(metrics=False, probe=False))
    await world.configure(slots=2, ttft_ms=50)
    batch = await planned(world, 12)

    done = await worked(world, batch)

    assert done.total() == 12
    assert len(await world.arrivals()) == 12
    assert (await pool(world)).limit.last_brake is None


async def test_a_line_is_left_in_peace_after_some_aborts(make_world):
    world = make_world(
        watching=EngineMonitorSettings(**BY_METRICS, abort_times=1),
        planning=PlanningSettings(shard_lines=4),
    )
    await world.configure(slots=2, ttft_ms=200)
    batch = await planned(world, 6)

    async with Users(world.inference_url, 1):
        await worked(world, batch)

    times = Counter(call["digest"] for call in await calls_of_batch(world) if call["aborted"])
    assert times
    assert set(times.values()) == {1}


async def test_aborted_lines_do_not_wait_for_calm_when_slots_are_free_and_nothing_else_is_left(
    make_world,
):
    world = make_world(watching=EngineMonitorSettings(**{**BY_METRICS, "calm_s": 1000}))
    await world.configure(slots=4, ttft_ms=300)
    batch = await planned(world, 12)

    async with asyncio.timeout(30), Users(world.inference_url, 2):  # half of the longest wait
        done = await worked(world, batch)

    assert done.total() == 12
    assert (await pool(world)).aborted > 0


async def test_bunches_of_calls_that_a_quick_engine_takes_at_once_all_end_once(make_world):
    """How many are aborted depends on the machine; unit tests of brakes hold it without a clock."""
    world = make_world(watching=EngineMonitorSettings(**{**BY_METRICS, "probe_wait_ms": 10_000}))
    await world.configure(slots=4, ttft_ms=20)
    batch = await planned(world, 200)

    done = await worked(world, batch)

    assert done == Counter(f"line-{n}" for n in range(1, 201))
    assert (await pool(world)).aborted == len(await calls_of_batch(world)) - 200


async def test_an_engine_full_of_users_gets_no_batch_call_until_there_is_room(
    make_world, start_simulator
):
    here = await start_simulator(slots=2)
    world = make_world(watching=EngineMonitorSettings(**BY_METRICS))
    world.inference_url = here.url
    engine = here.simulator.engines["sim-large"]
    await world.configure(ttft_ms=100)
    users = Users(here.url, 4)
    batch = await planned(world, 20)

    async with users:
        working = asyncio.create_task(world.work())
        await until(lambda: engine.totals.aborted > 0)
        await asyncio.sleep(0.5)
        assert (await pool(world)).in_use == 0
    await working

    assert (await world.reload(batch)).counts.completed == 20


class Users:
    """Some who are never without an open request."""

    def __init__(self, url, count):
        self._url, self._count = url, count

    async def __aenter__(self):
        import httpx

        self._http = httpx.AsyncClient(base_url=self._url, timeout=60)
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(self._count)]

    async def _ask(self):
        body = {"model": "sim-large", "messages": [{"role": "user", "content": "?"}]}
        while True:
            await self._http.post("/v1/chat/completions", json=body)

    async def __aexit__(self, *_):
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self._http.aclose()
