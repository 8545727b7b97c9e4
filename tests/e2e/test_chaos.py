"""Faults on purpose, in the middle of a batch: nothing is lost, nothing is double."""

import asyncio
import shutil

import pytest
from fixtures.gateway import BRISK, chat_lines, custom_ids

from batch_gateway.core.layout import runs_prefix, work_prefix
from batch_gateway.local.platform import BrokerFaults

pytestmark = [pytest.mark.e2e, pytest.mark.chaos]

COUNT = 400
SLOW = {"ttft_ms": 40, "slots": 16}


async def assert_complete(gateway, batch, count=COUNT):
    batch = await gateway.ended(batch)
    output, errors = await gateway.results(batch)
    assert batch.status == "completed"
    assert errors == []
    assert custom_ids(output) == [f"line-{n}" for n in range(1, count + 1)]


async def process_of(gateway, service):
    """Wait until a process of the service runs."""
    async with asyncio.timeout(90):
        while not gateway.platform.pids(service):
            await asyncio.sleep(0.005)


async def test_an_executor_is_killed_in_mid_batch(start_gateway):
    gateway = await start_gateway(simulator=SLOW, speed_up=10)
    batch = await gateway.halfway(await gateway.submit(chat_lines(COUNT)), done=COUNT // 4)

    gateway.platform.kill("executor")

    await assert_complete(gateway, batch)
    sent = len(await gateway.arrivals())
    assert sent - COUNT < COUNT * 3 / 4


async def test_an_executor_is_asked_to_stop_in_mid_batch(start_gateway):
    gateway = await start_gateway(simulator=SLOW, speed_up=10)
    batch = await gateway.halfway(await gateway.submit(chat_lines(COUNT)), done=COUNT // 4)

    gateway.platform.terminate("executor")

    await assert_complete(gateway, batch)
    finished = [request for request in await gateway.arrivals() if not request["aborted"]]
    assert len(finished) == COUNT


@pytest.mark.parametrize("service", ["planner", "assembler"])
async def test_a_function_is_killed_as_soon_as_it_starts(start_gateway, service):
    gateway = await start_gateway(speed_up=10)
    batch = await gateway.submit(chat_lines(COUNT))

    await process_of(gateway, service)
    await asyncio.sleep(0.3)
    gateway.platform.kill(service)

    await assert_complete(gateway, batch)


async def test_an_assembler_killed_in_mid_assembly_is_followed_by_one_that_goes_on(
    start_gateway, tmp_path
):
    lines, shard, data = 200, 2, tmp_path / "data"
    execution = BRISK["execution"] | {"assembly_run_bytes": 1}  # a run every four shards
    settings = {"planning": {"shard_lines": shard}, "execution": execution}
    gateway = await start_gateway(speed_up=10, data=data, settings=settings)
    batch = await gateway.submit(chat_lines(lines))
    runs = data / "files" / runs_prefix(batch.id, None)
    attempts = data / "files" / work_prefix(batch.id)

    async with asyncio.timeout(60):
        while not (kept := [*runs.glob("*")]):
            await asyncio.sleep(0.001)
    gateway.platform.kill("assembler")
    gathered = max(int(run.name.split("-")[1]) for run in kept)
    for parts in attempts.glob("*/*/parts"):
        if int(parts.parent.name) < gathered:
            shutil.rmtree(parts)

    assert gathered >= 4
    await assert_complete(gateway, batch, lines)


async def test_the_api_is_killed_and_answers_again(start_gateway):
    gateway = await start_gateway(simulator=SLOW)
    batch = await gateway.halfway(await gateway.submit(chat_lines(COUNT)), done=10)

    gateway.platform.kill("api")

    await assert_complete(gateway, batch)


async def test_the_broker_is_killed_in_mid_batch(start_gateway):
    gateway = await start_gateway(simulator=SLOW, speed_up=10)
    batch = await gateway.submit(chat_lines(COUNT))
    await gateway.platform.kill_broker()
    batch = await gateway.halfway(batch, done=COUNT // 4)

    await gateway.platform.kill_broker()

    await assert_complete(gateway, batch)


async def test_redis_is_wiped_in_mid_batch(start_gateway):
    unwilling = {"watching": {"abort": False}}  # to give calls back for the engine's users
    gateway = await start_gateway(simulator=SLOW, speed_up=10, settings=unwilling)
    batch = await gateway.halfway(await gateway.submit(chat_lines(COUNT)), done=COUNT // 4)

    await gateway.wipe_redis()

    await assert_complete(gateway, batch)
    assert len(await gateway.arrivals()) == COUNT


async def test_events_are_lost_doubled_delayed_and_disordered(start_gateway):
    gateway = await start_gateway(faults=True, speed_up=30)
    await gateway.platform.set_faults(
        BrokerFaults(drop=0.3, duplicate=0.2, delay=0.1, reorder=0.2, delay_s=0.5)
    )

    batches = [await gateway.submit(chat_lines(100)) for _ in range(6)]

    for batch in batches:
        await assert_complete(gateway, batch, 100)


async def test_a_model_that_is_away_costs_time_and_no_line(start_gateway, spawn_simulator):
    gateway = await start_gateway(simulator=SLOW)
    await gateway.configure(fault_rate=1.0, fault_kinds=["503", "disconnect"])
    batch = await gateway.submit(chat_lines(30))
    async with asyncio.timeout(90):
        while len(await gateway.arrivals()) < 10:
            await asyncio.sleep(0.05)

    await gateway.configure(fault_rate=0.0)

    await assert_complete(gateway, batch, 30)
