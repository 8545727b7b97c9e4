"""What happens at the same moment in several processes: each is a store of its own here."""

import asyncio
from collections import Counter

import pytest
from fixtures.metadata import (
    ALICE,
    FAR_AHEAD,
    LONG_AGO,
    SECOND,
    T0,
    a_batch,
    a_part,
    a_shard,
    a_tally,
    an_event,
    claimed,
    finalizing,
    planned,
    unsent_ids,
)

from batch_gateway.core.ids import ActivationId, shard_id
from batch_gateway.core.model import BatchStatus, ClosedShard, LineCounts, ShardState

S = BatchStatus
LATER = T0 + 60 * SECOND
STORES = 4


@pytest.fixture
async def stores(open_metadata):
    return [await open_metadata() for _ in range(STORES)]


async def test_of_concurrent_claims_of_a_shard_one_wins(stores):
    batch = await planned(stores[0], shards=5)

    claims = [
        store.shards.claim(
            shard_id(batch.id, index), holder=ActivationId(f"a{n}"), token=f"t{n}", now=LATER
        )
        for index in range(5)
        for n, store in enumerate(stores)
    ]
    won = [lease for lease in await asyncio.gather(*claims) if lease]

    assert sorted(lease.shard.index for lease in won) == list(range(5))
    rows = [shard async for shard in stores[0].shards.of_batch(batch.id)]
    assert rows == sorted((lease.shard for lease in won), key=lambda shard: shard.index)


async def test_of_concurrent_take_overs_one_wins(stores):
    batch = await planned(stores[0])
    lease = await claimed(stores[0], batch, 0)

    taken = await asyncio.gather(
        *(
            store.shards.take_over(
                lease.ref, holder=ActivationId(f"a{n}"), token=f"t{n}", now=LATER
            )
            for n, store in enumerate(stores)
        )
    )

    [winner] = [lease for lease in taken if lease]
    assert winner.shard.epoch == 2
    assert (await anext(stores[0].shards.of_batch(batch.id))) == winner.shard


async def test_of_concurrent_plans_one_wins(stores):
    batch = a_batch()
    await stores[0].batches.create(batch, [])

    plans = await asyncio.gather(
        *(
            store.batches.plan(
                batch.id,
                [a_shard(batch, index, model=f"m{n}") for index in range(20)],
                total=20,
                model=f"m{n}",
                now=LATER,
                events=[an_event(batch)],
            )
            for n, store in enumerate(stores)
        )
    )

    [winner] = [plan for plan in plans if plan]
    models = {shard.model async for shard in stores[0].shards.of_batch(batch.id)}
    assert models == {winner.model}
    assert await stores[0].batches.load(batch.id) == winner


async def test_of_concurrent_finishers_exactly_one_is_the_last(stores):
    batch = await planned(stores[0], shards=12)
    leases = [await claimed(stores[0], batch, index) for index in range(12)]

    closed = await asyncio.gather(
        *(
            stores[index % STORES].shards.finish(
                lease.ref, [a_part()], a_tally(1), now=LATER, events=[an_event(batch)]
            )
            for index, lease in enumerate(leases)
        )
    )

    assert Counter(it.last for it in closed) == {False: 11, True: 1}
    after = await stores[0].batches.load(batch.id)
    assert (after.status, after.open_shards) == (S.FINALIZING, 0)
    assert after.counts == LineCounts(total=120, completed=12)
    assert after.usage.input_tokens == 12 * 5
    assert await unsent_ids(stores[0]) == [an_event(batch).id]


async def test_of_concurrent_assemblers_one_holds_and_one_finishes(stores):
    batch = await finalizing(stores[0])

    async def assemble(store, holder):
        held = await store.batches.claim_assembly(batch.id, holder, now=LATER, ttl=SECOND)
        finished = await store.batches.finish(
            batch.id,
            S.COMPLETED,
            holder=holder,
            files=[],
            output=None,
            error=None,
            counts=batch.counts,
            usage=None,
            now=LATER,
            events=[],
        )
        return held is not None, finished is not None

    results = await asyncio.gather(*(assemble(store, f"h{n}") for n, store in enumerate(stores)))

    assert Counter(results) == {(True, True): 1, (False, False): STORES - 1}


async def _at_once(stores, attempt, batch, leases, verbs):
    """Cancel, expire and hand all ``leases`` back at the same time, from several processes."""
    turn = iter([stores[(attempt + n) % STORES] for n in range(2 + len(leases))])
    ending = {"now": LATER, "fence_at": FAR_AHEAD, "events": []}
    hand_back = {"now": LATER, "events": [an_event(batch)]}
    return await asyncio.gather(
        next(turn).batches.cancel(ALICE, batch.id, **ending),
        next(turn).batches.expire(batch.id, **ending),
        *(
            getattr(next(turn).shards, verb)(lease.ref, [a_part()], a_tally(1), **hand_back)
            for verb, lease in zip(verbs, leases, strict=True)
        ),
    )


@pytest.mark.parametrize("attempt", range(STORES))
async def test_finishers_under_cancel_and_expiry_have_exactly_one_last(stores, attempt):
    batch = await planned(stores[0], shards=6, deadline=LONG_AGO)
    leases = [await claimed(stores[0], batch, index) for index in range(6)]

    _, _, *closed = await _at_once(stores, attempt, batch, leases, ["finish"] * 6)

    assert Counter(it.last for it in closed) == {False: 5, True: 1}
    after = await stores[0].batches.load(batch.id)
    assert (after.status, after.ending, after.open_shards) == (S.CANCELLING, "cancelled", 0)
    assert after.counts.completed == 6
    assert await unsent_ids(stores[0]) == [an_event(batch).id]


@pytest.mark.parametrize("attempt", range(STORES))
async def test_hand_backs_under_cancel_and_expiry_lose_and_double_nothing(stores, attempt):
    """A shard that is released before the ending is ready, so the ending may close the last one."""
    batch = await planned(stores[0], shards=8, deadline=LONG_AGO)
    leases = [await claimed(stores[0], batch, index) for index in range(6)]
    verbs = ["finish", "release"] * 3

    cancelled, expired, *results = await _at_once(stores, attempt, batch, leases, verbs)

    after = await stores[0].batches.load(batch.id)
    assert (after.status, after.ending, after.open_shards) == (S.CANCELLING, "cancelled", 0)
    shards = [shard async for shard in stores[0].shards.of_batch(batch.id)]
    assert [shard.state for shard in shards] == [ShardState.CLOSED] * 8
    closed = [result for result in results if isinstance(result, ClosedShard)]
    lasts = [result for result in closed if result.last]
    assert len(lasts) == 1 or any(
        ending and not ending.open_shards for ending in (cancelled, expired)
    )
    assert len(lasts) <= 1
    assert await unsent_ids(stores[0]) == [an_event(batch).id] * len(lasts)
    recorded = [shard.tally.completed for shard in shards if shard.tally is not None]
    assert after.counts.completed == sum(recorded)
    assert len(closed) <= sum(recorded) <= 6


async def test_claims_and_cancel_at_once_never_leave_a_ready_shard(stores):
    batch = await planned(stores[0], shards=6)

    cancelled, *leases = await asyncio.gather(
        stores[0].batches.cancel(ALICE, batch.id, now=LATER, fence_at=FAR_AHEAD, events=[]),
        *(
            stores[index % STORES].shards.claim(
                shard_id(batch.id, index), holder=ActivationId("a"), token="t", now=LATER
            )
            for index in range(6)
        ),
    )

    granted = [lease for lease in leases if lease]
    after = await stores[0].batches.load(batch.id)
    assert cancelled.open_shards == after.open_shards == len(granted)
    states = Counter([shard.state async for shard in stores[0].shards.of_batch(batch.id)])
    assert states == Counter({ShardState.LEASED: len(granted), ShardState.CLOSED: 6 - len(granted)})


async def test_a_caller_who_is_cancelled_leaves_no_lock_behind(stores):
    batch = await planned(stores[0], shards=40)

    async def claim(index: int) -> None:
        await stores[0].shards.claim(
            shard_id(batch.id, index), holder=ActivationId("a"), token="t", now=LATER
        )

    for index in range(40):
        task = asyncio.create_task(claim(index))
        for _ in range(index):  # lets it come a little further each time
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async with asyncio.timeout(45):
        done = await stores[1].batches.cancel(
            ALICE, batch.id, now=LATER, fence_at=FAR_AHEAD, events=[]
        )
    leased = [lease async for lease in stores[1].shards.of_batch(batch.id) if lease.holder]
    assert done.open_shards == len(leased)
