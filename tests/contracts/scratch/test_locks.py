"""Rights to do something alone."""

import asyncio

import pytest
from fixtures.scratch import MINUTE, NO_TIME, another_process

pytestmark = pytest.mark.redis


async def test_one_of_many_gets_it_and_may_renew_it(coordination):
    got = await asyncio.gather(
        *(coordination.locks.acquire("a", f"h{n}", MINUTE) for n in range(8))
    )

    assert sum(got) == 1
    assert await coordination.locks.acquire("a", f"h{got.index(True)}", MINUTE)
    assert await coordination.locks.acquire("b", "another", MINUTE)


async def test_it_is_free_when_it_is_given_back_or_runs_out(coordination, redis_url):
    other = another_process(coordination, redis_url)
    assert await coordination.locks.acquire("a", "one", MINUTE)

    await other.locks.release("a", "two")
    assert not await other.locks.acquire("a", "two", MINUTE)
    await other.locks.release("a", "one")
    assert await other.locks.acquire("a", "two", NO_TIME)
    async with asyncio.timeout(45):
        while not await coordination.locks.acquire("a", "one", MINUTE):
            await asyncio.sleep(0)
    await other.close()
