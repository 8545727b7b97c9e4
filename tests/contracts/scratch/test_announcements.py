"""What is announced under a name: the newest value."""

import pytest

from batch_gateway.adapters.redis_coordination import RedisCoordinationStore

pytestmark = pytest.mark.redis


async def test_the_newest_announcement_of_a_name_counts(
    coordination: RedisCoordinationStore,
) -> None:
    assert await coordination.announced("janitor") is None

    await coordination.announce("janitor", "1:old")
    await coordination.announce("janitor", "2:new")
    await coordination.announce("api", "1:ä")

    assert await coordination.announced("janitor") == "2:new"
    assert await coordination.announced("api") == "1:ä"
