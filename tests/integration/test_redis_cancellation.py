"""A cancelled task ends, whatever it was asking Redis for.

The driver's own time-outs lose a cancellation about every third time on Python 3.11; one that is
lost keeps an activation alive for ever.
"""

import asyncio
import random
from datetime import timedelta

import pytest
from fixtures.redis import valkey_server

from batch_gateway.adapters.redis_coordination import open_scratch
from batch_gateway.adapters.redis_metadata import open_redis_metadata

pytestmark = pytest.mark.redis


async def assert_always_cancellable(ask):
    async def asking():
        while True:
            await ask()

    for _ in range(100):
        task = asyncio.create_task(asking())
        await asyncio.sleep(random.uniform(0, 0.005))
        task.cancel()
        _, pending = await asyncio.wait([task], timeout=5)
        assert not pending


async def test_of_the_scratch_server(valkey_url):
    coordination = open_scratch(valkey_url, prefix="t")

    await assert_always_cancellable(lambda: coordination.once("anything", timedelta(seconds=5)))

    await coordination.close()


async def test_of_the_metadata_server(tmp_path):
    with valkey_server(tmp_path, appendonly=True) as url:
        metadata = open_redis_metadata(url)

        await assert_always_cancellable(lambda: metadata.batches.count_by_status())

        await metadata.close()
