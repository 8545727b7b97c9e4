"""At rest nothing runs, and the first request after that finds everything as it was."""

import asyncio

import pytest
from fixtures.gateway import chat_lines

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

#: A minute of the manifests' windows and timers in five seconds. Starts are not made faster, so
#: with more than that the janitor, which comes every minute, would never be gone.
SPEED_UP = 12
MINUTES = 2


async def until_at_rest(platform) -> None:
    """Wait until only the janitor is left, which its timer starts every minute."""
    async with asyncio.timeout(60):
        while any(platform.pids(name) for name in platform.services if name != "janitor"):
            await asyncio.sleep(0.05)


async def test_nothing_runs_without_work_and_the_first_request_wakes_it(start_gateway):
    gateway = await start_gateway(speed_up=SPEED_UP)
    platform = gateway.platform
    batch = await gateway.ended(await gateway.submit(chat_lines(50)))
    await until_at_rest(platform)

    others: set[str] = set()
    loop = asyncio.get_running_loop()
    end = loop.time() + MINUTES * 60 / SPEED_UP
    async with asyncio.timeout(90):
        while loop.time() < end or platform.pids("janitor"):
            others.update(n for n in platform.services if n != "janitor" and platform.pids(n))
            await asyncio.sleep(0.05)

    assert not others
    assert not any(platform.pids(name) for name in platform.services)
    found = await gateway.client.batches.retrieve(batch.id)
    assert (found.status, found.request_counts.completed) == ("completed", 50)
    assert platform.pids("api")
    again = await gateway.ended(await gateway.submit(chat_lines(10)))
    assert again.request_counts.completed == 10
