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


async def pushed(coordination: RedisCoordinationStore, count: int = MANY) -> None:
    """A batch of Alice that names that many models."""
    entries = [a_ticket("batch_a", n, model=f"model-{n:05}") for n in range(count)]
    await asyncio.gather(
        *(coordination.queue.push(entries[start : start + 1000]) for start in range(0, count, 1000))
    )


async def commands(coordination: RedisCoordinationStore) -> int:
    """How many commands the server has run so far, those of scripts included."""
    found = await coordination._client.info("commandstats")
    return sum(command["calls"] for command in found.values())


async def test_a_batch_that_names_very_many_models_stops_nobody(
    coordination: RedisCoordinationStore,
) -> None:
    await pushed(coordination)
    others = [a_ticket("batch_b", n, tenant=BOB) for n in range(10)]
    await coordination.queue.push(others)
    before = await commands(coordination)

    served = [await coordination.queue.propose(reserve=HOUR) for _ in range(20)]
    used = await commands(coordination) - before
    await coordination.queue.urge({BatchId("batch_b"): PAST})
    waiting = await coordination.queue.waiting(200, [BatchId("batch_a"), BatchId("batch_b")])

    assert Counter(t.tenant for t in served if t) == {ALICE: 10, BOB: 10}
    assert [t for t in served if t and t.tenant == BOB] == others
    assert [t.model for t in served if t and t.tenant == ALICE] == [
        f"model-{n:05}" for n in range(10)
    ]
    assert used < 20 * 100
    assert len(waiting[BatchId("batch_a")].cost) == MANY - 10


async def test_models_are_left_out_however_many_there_are(
    coordination: RedisCoordinationStore,
) -> None:
    await pushed(coordination, 500)
    other = a_ticket("batch_b", tenant=BOB)
    await coordination.queue.push([other, a_ticket("batch_c", tenant=BOB, model="qwen")])
    avoid = ["qwen", *(f"model-{n:05}" for n in range(1, 50))]

    first = await coordination.queue.propose(avoid=avoid, reserve=HOUR)
    second = await coordination.queue.propose(avoid=avoid, reserve=HOUR)
    third = await coordination.queue.propose(avoid=avoid, reserve=HOUR)

    assert first is not None
    assert third is not None
    assert (first.model, second, third.model) == ("model-00000", other, "model-00050")


async def test_urgent_work_of_very_many_models_comes_first(
    coordination: RedisCoordinationStore,
) -> None:
    await coordination.queue.push([a_ticket("batch_b", n, tenant=BOB) for n in range(10)])
    await pushed(coordination)

    await coordination.queue.urge({BatchId("batch_a"): PAST})
    first = await coordination.queue.propose(reserve=HOUR)
    avoided = await coordination.queue.propose(avoid=["model-00001"], reserve=HOUR)

    assert first is not None
    assert avoided is not None
    assert (first.model, first.urgent) == ("model-00000", True)
    assert (avoided.model, avoided.urgent) == ("model-00002", True)


async def test_a_batch_of_very_many_models_is_withdrawn_in_steps(
    coordination: RedisCoordinationStore,
) -> None:
    await pushed(coordination)
    before = await commands(coordination)

    assert await coordination.queue.withdraw(BatchId("batch_a")) == MANY

    steps = MANY / 200
    assert await commands(coordination) - before < steps * 200 * 30
    assert (await coordination.queue.depth()).ready == 0
    assert await coordination.queue.propose() is None
    assert not [
        key async for key in coordination._client.scan_iter(f"{coordination._keys.queue}:*model-*")
    ]


async def test_what_is_given_back_of_very_many_models_is_proposed_again(
    coordination: RedisCoordinationStore,
) -> None:
    await pushed(coordination, 500)
    entry = await coordination.queue.propose(reserve=HOUR)
    assert entry is not None
    await coordination.queue.lease(entry, a_lease(entry), MINUTE)

    await coordination.queue.release(entry, refund=1.0)

    assert await coordination.queue.propose(reserve=NO_TIME) == entry


async def test_pools_that_are_remembered_cost_no_sync_under_a_ceiling(redis_url: str) -> None:
    coordination = open_own(redis_url, total=10)
    await settle(coordination)
    for start in range(0, 3000, 100):
        async with coordination._client.pipeline(transaction=False) as pipeline:
            for n in range(start, start + 100):
                pipeline.zadd(
                    f"{coordination._keys.slots}:pools", {f"e/old-{n}": time.time() * 2000}
                )
                pipeline.hset(f"{coordination._keys.slots}:limit:e/old-{n}", "endpoint", "e")
            await pipeline.execute()
    await sync(coordination, "b", want=20, pool="e/busy", endpoint="e")
    before = await commands(coordination)

    grant = await sync(coordination, "a", want=20, pool="e/new", endpoint="e")
    used = await commands(coordination) - before
    pools = {pool.pool for pool in await coordination.slots.pools()}

    assert 0 <= grant.slots <= 10
    assert (await sync(coordination, "b", want=20, pool="e/busy", endpoint="e")).slots <= 5
    assert len(pools) == 3002
    assert used < 100
    await coordination.close()


async def test_deadlines_are_kept_among_very_many_models(
    coordination: RedisCoordinationStore,
) -> None:
    await pushed(coordination, 500)
    sooner = a_ticket("batch_b", model="model-00300", deadline=T0 - HOUR)
    await coordination.queue.push([sooner])

    assert await coordination.queue.propose(reserve=HOUR) == sooner
