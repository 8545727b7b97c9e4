"""BatchRows: what sweeps find, and what they do with it."""

from fixtures.metadata import (
    ALICE,
    BOB,
    FAR_AHEAD,
    LONG_AGO,
    SECOND,
    T0,
    a_batch,
    a_tally,
    an_event,
    assembled,
    claimed,
    finalizing,
    planned,
    unsent_ids,
)

from batch_gateway.core.model import BatchStatus, ShardState
from batch_gateway.ports.batches import Backlog

S = BatchStatus
LATER = T0 + 60 * SECOND
AGES_AGO = LONG_AGO - SECOND


def _ids(batches):
    return [batch.id for batch in batches]


async def test_unfinished_batches_come_by_the_time_in_their_present_status(metadata):
    fresh = a_batch(created_at=T0 + 5 * SECOND)
    await metadata.batches.create(fresh, [])
    running = await planned(metadata)  # since T0 + 1
    merged = await finalizing(metadata)  # since T0 + 2
    stopping = await planned(metadata)
    await metadata.batches.cancel(ALICE, stopping.id, now=LATER, fence_at=LATER, events=[])

    async def found(*statuses, before, limit=10):
        return _ids(await metadata.batches.unfinished(statuses, before=before, limit=limit))

    four = (S.VALIDATING, S.IN_PROGRESS, S.FINALIZING, S.CANCELLING)
    by_age = [running.id, merged.id, fresh.id, stopping.id]
    assert await found(*four, before=FAR_AHEAD) == by_age
    assert await found(*four, before=FAR_AHEAD, limit=2) == by_age[:2]
    assert await found(*four, before=LATER) == by_age[:3]
    assert await found(S.CANCELLING, S.VALIDATING, before=FAR_AHEAD) == by_age[2:]


async def test_unfinished_batches_are_gone_through_piece_by_piece(metadata):
    same_time = [a_batch(created_at=T0) for _ in range(3)]
    for batch in same_time:
        await metadata.batches.create(batch, [])
    running = await planned(metadata)  # since T0 + 1
    four = (S.VALIDATING, S.IN_PROGRESS)
    found, after = [], None

    while some := await metadata.batches.unfinished(four, before=LATER, limit=2, after=after):
        found += _ids(some)
        after = some[-1]

    assert found == [*sorted(_ids(same_time)), running.id]


async def test_batches_that_wait_for_another_one_are_found_among_those_in_validating(metadata):
    first = await planned(metadata)
    after = {"batch_id": first.id, "template": {"model": "m"}}
    later = a_batch(created_at=T0 + SECOND, options={"after": after})
    earlier = a_batch(created_at=T0, options={"deduplicate": True, "after": after})
    no_option = a_batch(options={"deduplicate": True}, metadata={"after": '{"after":1}'})
    for batch in (later, no_option, earlier):
        await metadata.batches.create(batch, [])
    await planned(metadata, options={"after": after})  # waits no more

    assert _ids(await metadata.batches.dependent(10)) == [earlier.id, later.id]


async def test_running_batches_come_by_their_deadline_piece_by_piece(metadata):
    same = [a_batch(deadline=FAR_AHEAD - SECOND) for _ in range(5)]
    for batch in same:
        await metadata.batches.create(batch, [])
    later = await planned(metadata)
    sooner = await planned(metadata, deadline=FAR_AHEAD - 2 * SECOND)
    await finalizing(metadata)
    stopping = await planned(metadata)
    await metadata.batches.cancel(ALICE, stopping.id, now=LATER, fence_at=LATER, events=[])
    found, after = [], None

    while some := await metadata.batches.running(limit=2, after=after):
        assert len(some) <= 2
        found += _ids(some)
        after = some[-1]

    assert found == [sooner.id, *sorted(_ids(same)), later.id]


async def test_overdue_batches_are_judged_by_the_databases_clock(metadata):
    unplanned = a_batch(deadline=LONG_AGO)
    await metadata.batches.create(unplanned, [])
    running = await planned(metadata, deadline=AGES_AGO)
    await planned(metadata, deadline=FAR_AHEAD)
    await finalizing(metadata, deadline=LONG_AGO)
    expiring = await planned(metadata, deadline=LONG_AGO)
    await claimed(metadata, expiring, 0)
    await metadata.batches.expire(expiring.id, now=T0, fence_at=FAR_AHEAD, events=[])

    assert _ids(await metadata.batches.overdue(10)) == [running.id, unplanned.id]
    assert _ids(await metadata.batches.overdue(1)) == [running.id]


async def test_fenced_batches_are_judged_by_the_databases_clock(metadata):
    async def ended(fence_at, held=True):
        batch = await planned(metadata)
        lease = await claimed(metadata, batch, 0) if held else None
        await metadata.batches.cancel(ALICE, batch.id, now=T0, fence_at=fence_at, events=[])
        return batch, lease

    passed, lease = await ended(LONG_AGO)
    earlier, _ = await ended(AGES_AGO)
    await ended(FAR_AHEAD)
    await ended(LONG_AGO, held=False)

    assert _ids(await metadata.batches.fenced(10)) == [earlier.id, passed.id]
    assert _ids(await metadata.batches.fenced(1)) == [earlier.id]
    await metadata.shards.release(lease.ref, [], a_tally(0), now=LATER, events=[])
    assert _ids(await metadata.batches.fenced(10)) == [earlier.id]


async def test_a_batch_that_was_stranded_is_found_and_finalized(metadata):
    await planned(metadata)
    stranded = a_batch(status=S.IN_PROGRESS, in_progress_at=T0)
    await metadata.batches.create(stranded, [])

    assert _ids(await metadata.batches.stranded(10)) == [stranded.id]
    result = await metadata.batches.finalize(stranded.id, now=LATER, events=[an_event(stranded)])

    assert result == stranded.evolve(status=S.FINALIZING, finalizing_at=LATER)
    assert await metadata.batches.load(stranded.id) == result
    assert await metadata.batches.stranded(10) == []
    assert await unsent_ids(metadata) == [an_event(stranded).id]


async def test_a_batch_with_open_shards_is_not_finalized(metadata):
    running = await planned(metadata)
    fresh = a_batch()
    await metadata.batches.create(fresh, [])

    for batch in (running, fresh):
        event = an_event(batch)
        assert await metadata.batches.finalize(batch.id, now=LATER, events=[event]) is None
        assert await metadata.batches.load(batch.id) == batch
    assert await unsent_ids(metadata) == []


async def test_ended_batches_are_found_until_they_are_swept(metadata):
    running = await planned(metadata)
    batches = [await planned(metadata) for _ in range(2)]
    for number, batch in enumerate(reversed(batches)):
        await metadata.batches.fail(batch.id, [], now=LATER + number * SECOND, events=[])
    second, first = [await metadata.batches.load(batch.id) for batch in batches]

    assert list(await metadata.batches.ended(limit=10)) == [first, second]
    assert list(await metadata.batches.ended(limit=1)) == [first]
    await metadata.batches.swept(first.id)
    await metadata.batches.swept(first.id)
    await metadata.batches.swept(running.id)

    assert list(await metadata.batches.ended(limit=10)) == [second]
    assert await metadata.batches.load(first.id) == first
    assert [shard async for shard in metadata.shards.of_batch(first.id)] == []
    kept = [shard.state async for shard in metadata.shards.of_batch(running.id)]
    assert kept == [ShardState.READY] * 2


async def test_swept_batches_are_found_by_when_they_ended(metadata):
    ended = []
    for number, status in enumerate((S.FAILED, S.CANCELLED, S.COMPLETED, S.FAILED)):
        batch = await planned(metadata, shards=1)
        now = LATER + (3 - number) * SECOND
        if status is S.FAILED:
            await metadata.batches.fail(batch.id, [], now=now, events=[])
        elif status is S.CANCELLED:
            await metadata.batches.cancel(ALICE, batch.id, now=T0, fence_at=T0, events=[])
            await assembled(metadata, batch.id, status, now=now)
        else:
            lease = await claimed(metadata, batch, 0)
            await metadata.shards.finish(lease.ref, [], a_tally(), now=T0, events=[])
            await assembled(metadata, batch.id, status, now=now)
        ended.append(batch.id)
    running = await planned(metadata)
    unswept = await planned(metadata)
    await metadata.batches.fail(unswept.id, [], now=LATER, events=[])
    for name in (*ended, running.id):
        await metadata.batches.swept(name)

    async def found(before, limit=10, after=None):
        return list(await metadata.batches.outlived(before=before, limit=limit, after=after))

    by_age = list(reversed(ended))
    assert _ids(await found(FAR_AHEAD)) == by_age
    assert _ids(await found(LATER + 2 * SECOND)) == by_age[:2]
    assert await found(LATER) == []
    first = await found(FAR_AHEAD, limit=3)
    assert _ids(first) == by_age[:3]
    assert _ids(await found(FAR_AHEAD, after=first[0], limit=1)) == by_age[1:2]
    assert _ids(await found(FAR_AHEAD, after=first[-1])) == by_age[3:]
    await metadata.batches.delete(ALICE, by_age[0])
    assert _ids(await found(FAR_AHEAD, after=first[0])) == by_age[1:]
    assert _ids(await found(FAR_AHEAD)) == by_age[1:]


async def test_batches_that_are_not_swept_hide_none_behind_them(metadata):
    for _ in range(3):
        unswept = await planned(metadata)
        await metadata.batches.fail(unswept.id, [], now=T0, events=[])
    swept = await planned(metadata)
    await metadata.batches.fail(swept.id, [], now=LATER, events=[])
    await metadata.batches.swept(swept.id)

    assert _ids(await metadata.batches.outlived(before=FAR_AHEAD, limit=1)) == [swept.id]


async def test_batches_are_counted_by_status(metadata):
    assert sum((await metadata.batches.count_by_status()).values()) == 0
    for _ in range(3):
        await planned(metadata)
    await finalizing(metadata)

    counts = await metadata.batches.count_by_status()

    assert {status: count for status, count in counts.items() if count} == {
        S.IN_PROGRESS: 3,
        S.FINALIZING: 1,
    }


async def test_the_backlog_is_that_of_batches_that_have_not_ended(metadata):
    nothing = await metadata.batches.backlog()
    soon = FAR_AHEAD - 60 * SECOND
    begun = await planned(metadata, shards=3, deadline=soon)
    lease = await claimed(metadata, begun, 0)
    await metadata.shards.finish(lease.ref, [], a_tally(8, 2), now=LATER, events=[])
    await planned(metadata, shards=2, tenant=BOB)
    await metadata.batches.create(a_batch(tenant=BOB), [])
    await finalizing(metadata, deadline=LONG_AGO)
    stopping = await planned(metadata, deadline=LONG_AGO)
    await metadata.batches.cancel(ALICE, stopping.id, now=LATER, fence_at=LATER, events=[])
    ended = await planned(metadata, deadline=LONG_AGO)
    await metadata.batches.fail(ended.id, [], now=LATER, events=[])

    backlog = await metadata.batches.backlog()

    assert nothing == Backlog(first_deadline=None, requests={}, open_batches={})
    assert backlog == Backlog(
        first_deadline=soon, requests={"m": 40}, open_batches={ALICE: 3, BOB: 2}
    )
