"""The Scratch port on every kind of server."""

from collections.abc import AsyncIterator

import pytest
from fixtures.scratch import open_own

from batch_gateway.adapters.redis_coordination import RedisCoordinationStore


@pytest.fixture
async def coordination(redis_url: str) -> AsyncIterator[RedisCoordinationStore]:
    coordination = open_own(redis_url)
    yield coordination
    await coordination.close()
