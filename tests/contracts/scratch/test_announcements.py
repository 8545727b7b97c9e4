"""What is announced under a name: the newest value."""

import pytest

from batch_gateway.adapters.redis_coordination import RedisCoordinationStore

pytestmark = pytest.mark.redis


async def test_the_newest_announcement_of_a_name_counts(scratch: RedisCoordinationStore) -> None:
    assert await scratch.announced("janitor") is None

    await scratch.announce("janitor", "1:old")
    await scratch.announce("janitor", "2:new")
    await scratch.announce("api", "1:ä")

    assert await scratch.announced("janitor") == "2:new"
    assert await scratch.announced("api") == "1:ä"
