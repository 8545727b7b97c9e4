"""Batches that kill each process that plans or assembles them, with real processes."""

import asyncio
import multiprocessing
import signal
from pathlib import Path

import pytest
from fixtures import victim
from fixtures.victim import ALIVE, RULES, delivered
from fixtures.world import chat_lines

from batch_gateway.core.model import BatchStatus
from batch_gateway.services import process_deaths
from batch_gateway.services.process_deaths import DEATHS

pytestmark = pytest.mark.redis


@pytest.fixture
def world(make_world, monkeypatch):
    monkeypatch.setattr(process_deaths, "_ALIVE", ALIVE)
    monkeypatch.setenv("PYTHONPATH", str(Path(victim.__file__).parent.parent))  # of the children
    return make_world(execution=RULES)


PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["fixtures.victim"])


async def dies(world, work, poison, *others):
    """One more process works on these batches at once, and is killed by ``poison``."""
    words = [world.scratch_dir.parent, world.scratch_url, work]
    names = [batch.id for batch in (poison, *others)]
    child = PROCESSES.Process(target=victim.run, args=[*map(str, words), *names])
    child.start()
    try:
        await asyncio.to_thread(child.join, 60)
        assert child.exitcode == -signal.SIGKILL
    finally:
        child.kill()


async def test_a_batch_that_kills_its_planner_fails_after_some_deaths(world):
    poison = await world.submit(chat_lines(3))
    for _ in range(DEATHS):
        await dies(world, "plan", poison)
        assert (await world.reload(poison)).status is BatchStatus.VALIDATING

    await delivered(world.planner.plan, poison.id)

    failed = await world.reload(poison)
    assert failed.status is BatchStatus.FAILED
    assert [error.code for error in failed.errors] == ["planning_failed"]
    assert "5 processes died" in failed.errors[0].message


async def test_batches_beside_it_are_planned_however_often_it_kills(world):
    poison = await world.submit(chat_lines(3))
    others = [await world.submit(chat_lines(2)) for _ in range(2)]

    for _ in range(DEATHS):
        await dies(world, "plan", poison, *others)
    planner = world.planner
    await asyncio.gather(*(delivered(planner.plan, batch.id) for batch in (poison, *others)))

    assert (await world.reload(poison)).status is BatchStatus.FAILED
    for batch in others:
        assert (await world.reload(batch)).status is BatchStatus.IN_PROGRESS


async def test_a_batch_that_kills_its_assembler_fails_after_some_deaths(world):
    poison = await world.submit(chat_lines(3))
    await world.planner.plan(poison.id)
    await world.work()
    for _ in range(DEATHS):
        await dies(world, "assemble", poison)

    await delivered(world.assembler.assemble, poison.id)

    failed = await world.reload(poison)
    assert failed.status is BatchStatus.FAILED
    assert [error.code for error in failed.errors] == ["assembly_failed"]
    assert "5 processes died" in failed.errors[0].message


async def test_attempts_that_end_in_any_other_way_are_not_counted(world, monkeypatch):
    batch = await world.submit(chat_lines(3))
    planner = world.planner

    async def hangs(*_):
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(planner, "_plan", hangs)
        for _ in range(2 * DEATHS):  # as when a process is told to stop
            attempt = asyncio.create_task(planner.plan(batch.id))
            await asyncio.sleep(0.01)
            attempt.cancel()
            await asyncio.wait([attempt])

    await planner.plan(batch.id)
    assert (await world.reload(batch)).status is BatchStatus.IN_PROGRESS
