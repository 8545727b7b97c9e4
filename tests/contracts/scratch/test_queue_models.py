"""A queue with very many models: no call stops the server, and order and fairness hold."""

import asyncio
import time
from collections import Counter

import pytest
from fixtures.scratch import (
    ALICE,
    BOB,
    HOUR,
    MINUTE,
    NO_TIME,
    PAST,
    T0,
    a_lease,
    a_ticket,
    open_own,
    settle,
    sync,
)

from batch_gateway.adapters.redis_coordination import RedisCoordinationStore
from batch_gateway.core.ids import BatchId

pytestmark = pytest.mark.redis

MANY = 20_000


async def pushed(scratch: RedisCoordinationStore, count: int = MANY) -> None:
    """A batch of Alice that names that many models."""
    entries = [a_ticket("batch_a", n, model=f"model-{n:05}") for n in range(count)]
    await asyncio.gather(
        *(scratch.queue.push(entries[start : start + 1000]) for start in range(0, count, 1000))
    )


async def commands(scratch: RedisCoordinationStore) -> int:
    """How many commands the server has run so far, those of scripts included."""
    found = await scratch._client.info("commandstats")
    return sum(command["calls"] for command in found.values())


async def test_a_batch_that_names_very_many_models_stops_nobody(
    scratch: RedisCoordinationStore,
) -> None:
    await pushed(scratch)
    others = [a_ticket("batch_b", n, tenant=BOB) for n in range(10)]
    await scratch.queue.push(others)
    before = await commands(scratch)

    served = [await scratch.queue.propose(reserve=HOUR) for _ in range(20)]
    used = await commands(scratch) - before
    await scratch.queue.urge({BatchId("batch_b"): PAST})
    waiting = await scratch.queue.waiting(200, [BatchId("batch_a"), BatchId("batch_b")])

    assert Counter(t.tenant for t in served if t) == {ALICE: 10, BOB: 10}
    assert [t for t in served if t and t.tenant == BOB] == others
    assert [t.model for t in served if t and t.tenant == ALICE] == [
        f"model-{n:05}" for n in range(10)
    ]
    assert used < 20 * 100
    assert len(waiting[BatchId("batch_a")].cost) == MANY - 10


async def test_models_are_left_out_however_many_there_are(scratch: RedisCoordinationStore) -> None:
    await pushed(scratch, 500)
    other = a_ticket("batch_b", tenant=BOB)
    await scratch.queue.push([other, a_ticket("batch_c", tenant=BOB, model="qwen")])
    avoid = ["qwen", *(f"model-{n:05}" for n in range(1, 50))]

    first = await scratch.queue.propose(avoid=avoid, reserve=HOUR)
    second = await scratch.queue.propose(avoid=avoid, reserve=HOUR)
    third = await scratch.queue.propose(avoid=avoid, reserve=HOUR)

    assert first is not None
    assert third is not None
    assert (first.model, second, third.model) == ("model-00000", other, "model-00050")


async def test_urgent_work_of_very_many_models_comes_first(scratch: RedisCoordinationStore) -> None:
    await scratch.queue.push([a_ticket("batch_b", n, tenant=BOB) for n in range(10)])
    await pushed(scratch)

    await scratch.queue.urge({BatchId("batch_a"): PAST})
    first = await scratch.queue.propose(reserve=HOUR)
    avoided = await scratch.queue.propose(avoid=["model-00001"], reserve=HOUR)

    assert first is not None
    assert avoided is not None
    assert (first.model, first.urgent) == ("model-00000", True)
    assert (avoided.model, avoided.urgent) == ("model-00002", True)


async def test_a_batch_of_very_many_models_is_withdrawn_in_steps(
    scratch: RedisCoordinationStore,
) -> None:
    await pushed(scratch)
    before = await commands(scratch)

    assert await scratch.queue.withdraw(BatchId("batch_a")) == MANY

    steps = MANY / 200
    assert await commands(scratch) - before < steps * 200 * 30
    assert (await scratch.queue.depth()).ready == 0
    assert await scratch.queue.propose() is None
    assert not [key async for key in scratch._client.scan_iter(f"{scratch._keys.queue}:*model-*")]


async def test_what_is_given_back_of_very_many_models_is_proposed_again(
    scratch: RedisCoordinationStore,
) -> None:
    await pushed(scratch, 500)
    entry = await scratch.queue.propose(reserve=HOUR)
    assert entry is not None
    await scratch.queue.lease(entry, a_lease(entry), MINUTE)

    await scratch.queue.release(entry, refund=1.0)

    assert await scratch.queue.propose(reserve=NO_TIME) == entry


async def test_pools_that_are_remembered_cost_no_sync_under_a_ceiling(redis_url: str) -> None:
    scratch = open_own(redis_url, total=10)
    await settle(scratch)
    for start in range(0, 3000, 100):
        async with scratch._client.pipeline(transaction=False) as pipeline:
            for n in range(start, start + 100):
                pipeline.zadd(f"{scratch._keys.slots}:pools", {f"e/old-{n}": time.time() * 2000})
                pipeline.hset(f"{scratch._keys.slots}:limit:e/old-{n}", "endpoint", "e")
            await pipeline.execute()
    await sync(scratch, "b", want=20, pool="e/busy", endpoint="e")
    before = await commands(scratch)

    grant = await sync(scratch, "a", want=20, pool="e/new", endpoint="e")
    used = await commands(scratch) - before
    pools = {pool.pool for pool in await scratch.slots.pools()}

    assert 0 <= grant.slots <= 10
    assert (await sync(scratch, "b", want=20, pool="e/busy", endpoint="e")).slots <= 5
    assert len(pools) == 3002
    assert used < 100
    await scratch.close()


async def test_deadlines_are_kept_among_very_many_models(scratch: RedisCoordinationStore) -> None:
    await pushed(scratch, 500)
    sooner = a_ticket("batch_b", model="model-00300", deadline=T0 - HOUR)
    await scratch.queue.push([sooner])

    assert await scratch.queue.propose(reserve=HOUR) == sooner
