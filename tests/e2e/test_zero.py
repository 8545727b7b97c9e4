"""At rest nothing runs, and the first request after that gets the same data as before."""

import asyncio

import pytest
from fixtures.gateway import chat_lines

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

#: Ten minutes, the period of the janitor's timer, in ten seconds. Starts are not made faster.
SPEED_UP = 60
TICKS = 2


def running(platform) -> set[str]:
    return {name for name in platform.services if platform.pids(name)}


async def until_at_rest(platform) -> None:
    async with asyncio.timeout(60):
        while running(platform):
            await asyncio.sleep(0.05)


async def test_nothing_runs_without_work_and_the_first_request_wakes_it(start_gateway):
    gateway = await start_gateway(speed_up=SPEED_UP)
    platform = gateway.platform
    batch = await gateway.ended(await gateway.submit(chat_lines(50)))
    await until_at_rest(platform)

    seen: set[str] = set()
    loop = asyncio.get_running_loop()
    end = loop.time() + TICKS * 600 / SPEED_UP
    while loop.time() < end:
        seen |= running(platform)
        await asyncio.sleep(0.05)
    await until_at_rest(platform)

    assert seen == {"janitor"}  # its timer has called it, and it found nothing to do
    found = await gateway.client.batches.retrieve(batch.id)
    assert (found.status, found.request_counts.completed) == ("completed", 50)
    assert platform.pids("api")
    again = await gateway.ended(await gateway.submit(chat_lines(10)))
    assert again.request_counts.completed == 10
