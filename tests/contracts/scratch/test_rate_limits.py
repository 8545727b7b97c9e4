"""Rates: how often something may happen, counted by the server's clock."""

import asyncio

import pytest
from fixtures.scratch import HOUR, another_process

pytestmark = pytest.mark.redis


async def test_as_many_as_the_limit_pass_and_no_more(coordination):
    passages = await asyncio.gather(
        *(coordination.rate_limiter.take("a", 5, HOUR) for _ in range(8))
    )

    assert sum(passage.passed for passage in passages) == 5
    assert sorted(p.remaining for p in passages if p.passed) == [0, 1, 2, 3, 4]
    refused = [passage for passage in passages if not passage.passed]
    assert all(0 < (p.next_in / HOUR) <= 1 / 5 for p in refused)
    assert all(4 / 5 < (p.full_in / HOUR) <= 1 for p in refused)


async def test_names_are_counted_apart_and_processes_together(coordination, redis_url):
    other = another_process(coordination, redis_url)

    assert (await coordination.rate_limiter.take("a", 1, HOUR)).passed
    assert not (await other.rate_limiter.take("a", 1, HOUR)).passed
    assert (await other.rate_limiter.take("b", 1, HOUR)).passed
    await other.close()


async def test_it_refills_evenly_and_not_all_at_once(coordination):
    window = HOUR / 36_000  # a tenth of a second
    assert (await coordination.rate_limiter.take("a", 1, window)).passed

    async with asyncio.timeout(45):
        while not (passage := await coordination.rate_limiter.take("a", 1, window)).passed:
            await asyncio.sleep(0)

    assert passage.remaining == 0


async def test_what_is_given_back_may_be_taken_again(coordination):
    for _ in range(20):
        taken = [(await coordination.rate_limiter.take("a", 2, HOUR)).passed for _ in range(3)]
        assert taken == [True, True, False]
        for _ in range(2):
            await coordination.rate_limiter.give_back("a", 2, HOUR)

    await coordination.rate_limiter.give_back("a", 2, HOUR)  # more than was taken
    assert (await coordination.rate_limiter.take("a", 2, HOUR)).remaining == 1
