"""The Scratch port on every kind of server."""

from collections.abc import AsyncIterator

import pytest
from fixtures.scratch import open_own

from batch_gateway.adapters.scratch import RedisScratch


@pytest.fixture
async def scratch(redis_url: str) -> AsyncIterator[RedisScratch]:
    scratch = open_own(redis_url)
    yield scratch
    await scratch.close()
