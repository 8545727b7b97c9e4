"""ShardRows: leases, handing back, closing, and queries."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from fixtures.metadata import (
    ALICE,
    BOB,
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
    planned,
    unsent_ids,
)

from batch_gateway.core.ids import ActivationId, ShardId, shard_id
from batch_gateway.core.model import (
    BatchStatus,
    ClosedShard,
    EndReason,
    Lease,
    LeaseRef,
    LineCounts,
    QueueEntry,
    ResultTally,
    ShardState,
    TokenUsage,
)

S = BatchStatus
LATER = T0 + 60 * SECOND
ME, OTHER = ActivationId("me"), ActivationId("other")


async def _shards(metadata, batch):
    return [shard async for shard in metadata.shards.of_batch(batch.id)]


async def _end(metadata, batch, ending):
    if ending is EndReason.CANCELLED:
        await metadata.batches.cancel(ALICE, batch.id, now=LATER, fence_at=LATER, events=[])
    else:
        await metadata.batches.expire(batch.id, now=LATER, fence_at=LATER, events=[])


# Claiming ---------------------------------------------------------------------------------------


async def test_a_claim_grants_all_that_the_holder_must_know(metadata):
    batch = a_batch(priority=2, options={"a": [1]}, traceparent="00-aa-bb-01", deadline=FAR_AHEAD)
    await metadata.batches.create(batch, [])
    shards = [a_shard(batch, 0), shard := a_shard(batch, 1)]
    await metadata.batches.plan(batch.id, shards, total=20, model="m", now=T0, events=[])

    lease = await metadata.shards.claim(shard.id, holder=ME, token="secret", now=LATER)

    _, row = await _shards(metadata, batch)
    assert lease == Lease(
        shard=row,
        tenant=ALICE,
        deadline=FAR_AHEAD,
        priority=2,
        options={"a": [1]},
        traceparent="00-aa-bb-01",
    )
    assert (row.state, row.epoch, row.token) == (ShardState.LEASED, 1, "secret")
    assert (row.holder, row.leased_at) == (ME, LATER)
    assert (row.key, row.lines, row.cost) == (shard.key, shard.lines, shard.cost)


async def test_a_leased_or_closed_or_unknown_shard_is_not_claimed(metadata):
    batch = await planned(metadata, shards=2)
    lease = await claimed(metadata, batch, 0)
    done = await claimed(metadata, batch, 1)
    await metadata.shards.finish(done.ref, [], a_tally(), now=LATER, events=[])

    for shard in (lease.shard.id, done.shard.id, shard_id(batch.id, 2), ShardId("batch_x.0")):
        assert await metadata.shards.claim(shard, holder=OTHER, token="o", now=LATER) is None

    assert (await _shards(metadata, batch))[0] == lease.shard


async def test_nothing_is_claimed_while_the_batch_is_paused(metadata):
    batch = await planned(metadata)
    await metadata.batches.pause(ALICE, batch.id, True)
    claim = {"holder": ME, "token": "t", "now": LATER}

    assert await metadata.shards.claim(shard_id(batch.id, 0), **claim) is None
    await metadata.batches.pause(ALICE, batch.id, False)
    assert await metadata.shards.claim(shard_id(batch.id, 0), **claim) is not None


@pytest.mark.parametrize("ending", EndReason)
async def test_nothing_is_claimed_of_a_batch_with_an_ending(metadata, ending):
    batch = await planned(metadata, shards=2, deadline=LONG_AGO)
    await claimed(metadata, batch, 0)
    await _end(metadata, batch, ending)

    shard = shard_id(batch.id, 1)

    assert await metadata.shards.claim(shard, holder=ME, token="t", now=LATER) is None


# Taking over ------------------------------------------------------------------------------------


async def test_taking_over_raises_the_epoch_and_ends_the_old_lease(metadata):
    batch = await planned(metadata)
    first = await claimed(metadata, batch, 0)
    found = [a_part("found")]
    await metadata.shards.release(first.ref, found, a_tally(), now=LATER, events=[])
    old = await claimed(metadata, batch, 0)

    new = await metadata.shards.take_over(old.ref, holder=OTHER, token="new", now=LATER)

    assert new.ref == LeaseRef(shard=old.shard.id, epoch=3, token="new")
    assert (new.shard.holder, new.shard.leased_at) == (OTHER, LATER)
    assert new.shard.parts == (a_part("found"),)
    late = {"now": LATER, "events": [an_event(batch)]}
    assert await metadata.shards.release(old.ref, [], a_tally(), **late) is False
    assert await metadata.shards.finish(old.ref, [], a_tally(), **late) is None
    assert (await _shards(metadata, batch))[0] == new.shard
    assert await metadata.batches.load(batch.id) == counting(batch, a_tally())
    assert await unsent_ids(metadata) == []


async def test_only_the_observed_lease_is_taken_over(metadata):
    batch = await planned(metadata)
    lease = await claimed(metadata, batch, 0, token="token")
    other_epoch = LeaseRef(shard=lease.shard.id, epoch=2, token="token")
    other_token = LeaseRef(shard=lease.shard.id, epoch=1, token="Token")
    unknown = LeaseRef(shard=ShardId("batch_x.0"), epoch=1, token="token")
    take = {"holder": OTHER, "token": "new", "now": LATER}

    for observed in (other_epoch, other_token, unknown):
        assert await metadata.shards.take_over(observed, **take) is None
    await metadata.shards.release(lease.ref, [], a_tally(0), now=LATER, events=[])
    assert await metadata.shards.take_over(lease.ref, **take) is None


@pytest.mark.parametrize("ending", EndReason)
async def test_a_lease_is_taken_over_in_spite_of_pause_and_ending(metadata, ending):
    paused = await planned(metadata)
    ended = await planned(metadata, deadline=LONG_AGO)
    leases = [await claimed(metadata, batch, 0) for batch in (paused, ended)]
    await metadata.batches.pause(ALICE, paused.id, True)
    await _end(metadata, ended, ending)

    for lease in leases:
        taken = await metadata.shards.take_over(lease.ref, holder=OTHER, token="n", now=LATER)
        assert taken.shard.epoch == 2


# Counts of open leases ---------------------------------------------------------------------------


def counting(batch, tally):
    """``batch`` with what is recorded of its shards."""
    counts = LineCounts(total=batch.counts.total, completed=tally.completed, failed=tally.failed)
    return batch.evolve(counts=counts, usage=tally.usage)


async def test_a_checkpoint_records_what_is_finished_and_the_lease_goes_on(metadata):
    batch, other = await planned(metadata), await planned(metadata)
    leases = [
        await claimed(metadata, batch, 0),
        await claimed(metadata, batch, 1),
        await claimed(metadata, other, 0),
    ]
    tallies = dict(zip([lease.ref for lease in leases], map(a_tally, (3, 4, 5)), strict=True))

    changed = await metadata.shards.checkpoint(tallies)

    assert {found.id: found for found in changed} == {
        batch.id: counting(batch, a_tally(3) + a_tally(4)),
        other.id: counting(other, a_tally(5)),
    }
    assert await metadata.batches.load(batch.id) == counting(batch, a_tally(3) + a_tally(4))
    [first, second] = await _shards(metadata, batch)
    assert (first, second.tally) == (replace(leases[0].shard, tally=a_tally(3)), a_tally(4))
    assert await metadata.shards.checkpoint(tallies) == []
    assert await metadata.shards.checkpoint({}) == []


async def test_recorded_counts_never_fall_and_are_counted_once(metadata):
    batch = await planned(metadata)
    lease = await claimed(metadata, batch, 0)
    await metadata.shards.checkpoint({lease.ref: a_tally(6, tokens=2**61)})

    await metadata.shards.checkpoint({lease.ref: a_tally(2, tokens=2**61 + 1)})
    await metadata.shards.release(lease.ref, [], a_tally(4), now=LATER, events=[])

    most = a_tally(6, tokens=2**61)
    seen = await metadata.batches.load(batch.id)
    assert (seen.counts.completed, seen.usage.input_tokens) == (6, 2**61 + 1)
    again = await claimed(metadata, batch, 0)
    assert again.shard.tally.completed == most.completed
    closed = await metadata.shards.finish(again.ref, [], a_tally(10), now=LATER, events=[])
    assert closed.batch.counts.completed == 10


async def test_counts_stay_when_a_batch_is_cancelled_with_shards_half_done(metadata):
    batch = await planned(metadata)
    lease = await claimed(metadata, batch, 0)
    await metadata.shards.release(lease.ref, [], a_tally(4), now=LATER, events=[])

    await _end(metadata, batch, EndReason.CANCELLED)

    assert (await metadata.batches.load(batch.id)).counts.completed == 4


async def test_a_lost_lease_records_nothing(metadata):
    batch = await planned(metadata)
    old = await claimed(metadata, batch, 0)
    await metadata.shards.take_over(old.ref, holder=OTHER, token="new", now=LATER)

    assert await metadata.shards.checkpoint({old.ref: a_tally(3)}) == []

    assert (await metadata.batches.load(batch.id)).counts.completed == 0


async def test_time_left_is_told_by_the_databases_clock(metadata):
    """Whatever the holder's clock says: ``now`` is its own."""
    deadline = datetime.now(UTC) + timedelta(minutes=10)
    batch = await planned(metadata, deadline=deadline)

    lease = await metadata.shards.claim(
        shard_id(batch.id, 0), holder=ME, token="t", now=deadline + timedelta(days=1)
    )

    assert timedelta(minutes=9) < lease.time_left < timedelta(minutes=10, seconds=5)
    [status] = await metadata.shards.standings([lease.ref])
    assert timedelta(minutes=9) < status.time_left < timedelta(minutes=10, seconds=5)


# Handing back and closing -----------------------------------------------------------------------


async def test_a_released_shard_is_ready_again_and_keeps_its_parts(metadata):
    batch = await planned(metadata)
    lease = await claimed(metadata, batch, 0)
    parts = (a_part("b", 3), a_part("a", 2))

    result = await metadata.shards.release(
        lease.ref, parts, a_tally(5), now=LATER, events=[an_event(batch)]
    )

    assert result is True
    shard = (await _shards(metadata, batch))[0]
    assert (shard.state, shard.holder, shard.leased_at) == (ShardState.READY, None, None)
    assert (shard.parts, shard.tally, shard.epoch) == (parts, a_tally(5), 1)
    assert await metadata.batches.load(batch.id) == counting(batch, a_tally(5))
    assert await unsent_ids(metadata) == []
    again = await claimed(metadata, batch, 0, token="again")
    assert (again.shard.epoch, again.shard.parts) == (2, parts)


async def test_a_shard_of_a_paused_batch_is_ready_after_release(metadata):
    batch = await planned(metadata)
    lease = await claimed(metadata, batch, 0)
    await metadata.batches.pause(ALICE, batch.id, True)

    assert await metadata.shards.release(lease.ref, [], a_tally(0), now=LATER, events=[]) is True


async def test_finishing_closes_the_shard_and_adds_its_tally(metadata):
    batch = await planned(metadata, shards=2)
    lease = await claimed(metadata, batch, 0)

    closed = await metadata.shards.finish(
        lease.ref, [a_part()], a_tally(7, failed=3), now=LATER, events=[an_event(batch)]
    )

    expected = batch.evolve(
        open_shards=1,
        counts=LineCounts(total=20, completed=7, failed=3),
        usage=TokenUsage(input_tokens=5, cached_tokens=1, output_tokens=10, reasoning_tokens=2),
    )
    assert closed == ClosedShard(batch=expected, last=False)
    assert await metadata.batches.load(batch.id) == expected
    shard = (await _shards(metadata, batch))[0]
    assert (shard.state, shard.holder, shard.leased_at) == (ShardState.CLOSED, None, None)
    assert (shard.parts, shard.tally) == ((a_part(),), a_tally(7, failed=3))
    assert await unsent_ids(metadata) == []


async def test_the_last_shard_moves_the_batch_to_finalizing_and_announces_it(metadata):
    batch = await planned(metadata, shards=2)
    leases = [await claimed(metadata, batch, index) for index in (0, 1)]
    await metadata.shards.finish(leases[1].ref, [], a_tally(10), now=LATER, events=[])

    closed = await metadata.shards.finish(
        leases[0].ref, [], a_tally(4, failed=6), now=LATER + SECOND, events=[an_event(batch)]
    )

    assert closed.last
    assert (closed.batch.status, closed.batch.finalizing_at) == (S.FINALIZING, LATER + SECOND)
    assert closed.batch.counts == LineCounts(total=20, completed=14, failed=6)
    assert closed.batch.usage == a_tally().usage + a_tally().usage
    assert await metadata.batches.load(batch.id) == closed.batch
    assert await unsent_ids(metadata) == [an_event(batch).id]


async def test_sums_of_tokens_end_at_the_largest_integer_that_a_database_holds(metadata):
    batch = await planned(metadata, shards=2)
    largest = ResultTally(completed=10, usage=TokenUsage(input_tokens=2**63 - 1, output_tokens=2))
    for index in (0, 1):
        lease = await claimed(metadata, batch, index)
        assert await metadata.shards.finish(lease.ref, [], largest, now=LATER, events=[])

    found = await metadata.batches.load(batch.id)

    assert found.usage == TokenUsage(input_tokens=2**63 - 1, output_tokens=4)
    assert found.counts == LineCounts(total=20, completed=20)


async def test_finishing_twice_counts_once(metadata):
    batch = await planned(metadata, shards=1)
    lease = await claimed(metadata, batch, 0)
    first = await metadata.shards.finish(lease.ref, [a_part()], a_tally(), now=LATER, events=[])

    again = await metadata.shards.finish(
        lease.ref, [], a_tally(), now=LATER, events=[an_event(batch)]
    )

    assert again is None
    assert await metadata.batches.load(batch.id) == first.batch
    assert await unsent_ids(metadata) == []


async def test_usage_stays_unknown_until_a_line_was_answered(metadata):
    batch = await planned(metadata, shards=1)
    lease = await claimed(metadata, batch, 0)

    closed = await metadata.shards.finish(lease.ref, [], a_tally(0, tokens=0), now=LATER, events=[])

    assert closed.batch.usage is None


@pytest.mark.parametrize("ending", EndReason)
@pytest.mark.parametrize("verb", ["finish", "release"])
async def test_handing_back_under_an_ending_closes_the_shard(metadata, ending, verb):
    batch = await planned(metadata, shards=2, deadline=LONG_AGO)
    leases = [await claimed(metadata, batch, index) for index in (0, 1)]
    await _end(metadata, batch, ending)
    hand_back = getattr(metadata.shards, verb)
    arguments = {"now": LATER + SECOND, "events": [an_event(batch)]}

    first = await hand_back(leases[0].ref, [a_part("x", 2)], a_tally(2), **arguments)
    before_last = await unsent_ids(metadata)
    second = await hand_back(leases[1].ref, [], a_tally(1, failed=1), **arguments)

    assert (first.last, before_last) == (False, [])
    assert second.last
    assert second.batch.status is (S.CANCELLING if ending is EndReason.CANCELLED else S.FINALIZING)
    assert second.batch.assemblable
    assert second.batch.counts == LineCounts(total=20, completed=3, failed=1)
    assert await metadata.batches.load(batch.id) == second.batch
    assert await unsent_ids(metadata) == [an_event(batch).id]
    shards = await _shards(metadata, batch)
    assert [shard.state for shard in shards] == [ShardState.CLOSED] * 2
    assert shards[0].parts == (a_part("x", 2),)


# Questions --------------------------------------------------------------------------------------


async def test_ready_shards_are_those_that_may_run_in_order(metadata):
    batch = await planned(metadata, shards=12, priority=1, tenant=BOB)
    await claimed(metadata, batch, 3)
    paused = await planned(metadata)
    await metadata.batches.pause(ALICE, paused.id, True)
    expired = await planned(metadata, deadline=LONG_AGO)
    await claimed(metadata, expired, 0)
    await _end(metadata, expired, EndReason.EXPIRED)
    last = await planned(metadata, shards=1)

    entries = await metadata.shards.ready(after=None, limit=100)

    expected = [shard_id(batch.id, index) for index in range(12) if index != 3]
    assert [entry.shard for entry in entries] == [*expected, shard_id(last.id, 0)]
    assert entries[1] == QueueEntry(
        shard=shard_id(batch.id, 1),
        tenant=BOB,
        model="m",
        cost=1001,
        priority=1,
        deadline=FAR_AHEAD,
    )


async def test_ready_shards_are_paged_without_gaps(metadata):
    batches = [await planned(metadata, shards=11) for _ in range(3)]
    everything = [shard_id(batch.id, index) for batch in batches for index in range(11)]

    seen, after = [], None
    while page := await metadata.shards.ready(after=after, limit=4):
        seen += [entry.shard for entry in page]
        after = page[-1].shard
        await claimed(metadata, batches[0], 10) if len(seen) == 4 else None

    everything.remove(shard_id(batches[0].id, 10))
    assert seen == everything


async def test_leases_are_listed_with_the_longest_held_first(metadata):
    batch = await planned(metadata, shards=4)
    times = [LATER, T0, LATER + SECOND]
    leases = [
        await metadata.shards.claim(shard_id(batch.id, index), holder=ME, token="t", now=time)
        for index, time in enumerate(times)
    ]
    by_age = [(leases[n].ref, times[n]) for n in (1, 0, 2)]

    assert list(await metadata.shards.leased(limit=10)) == by_age
    assert list(await metadata.shards.leased(limit=2)) == by_age[:2]
    taken = await metadata.shards.take_over(
        leases[1].ref, holder=OTHER, token="n", now=LATER + 9 * SECOND
    )
    await metadata.shards.release(leases[0].ref, [], a_tally(0), now=LATER, events=[])
    assert list(await metadata.shards.leased(limit=10)) == [
        (leases[2].ref, times[2]),
        (taken.ref, LATER + 9 * SECOND),
    ]


async def test_the_leases_of_one_holder_are_listed(metadata):
    batch, other = await planned(metadata, shards=3), await planned(metadata, shards=1)
    mine = [
        await metadata.shards.claim(
            shard_id(batch.id, n), holder=ME, token="t", now=T0 + n * SECOND
        )
        for n in (2, 0, 1)
    ]
    await metadata.shards.claim(shard_id(other.id, 0), holder=OTHER, token="t", now=T0)
    await metadata.shards.finish(mine[1].ref, [], a_tally(), now=LATER, events=[])

    held = await metadata.shards.held_by(ME, limit=9)

    assert held == [mine[2].ref, mine[0].ref]  # longest held first
    assert await metadata.shards.held_by(ME, limit=1) == held[:1]
    assert await metadata.shards.held_by(ActivationId("none"), limit=9) == []


async def test_standings_come_in_the_order_asked_and_say_what_became_of_leases(metadata):
    running = await planned(metadata, shards=3)
    paused = await planned(metadata)
    ending = await planned(metadata, deadline=LONG_AGO)
    failed = await planned(metadata)
    held = await claimed(metadata, running, 0)
    lost = await claimed(metadata, running, 1)
    refs = [(await claimed(metadata, batch, 0)).ref for batch in (paused, ending, failed)]
    await metadata.shards.take_over(lost.ref, holder=OTHER, token="n", now=LATER)
    await metadata.batches.pause(ALICE, paused.id, True)
    await _end(metadata, ending, EndReason.EXPIRED)
    await metadata.batches.fail(failed.id, [], now=LATER, events=[])
    await metadata.batches.swept(failed.id)
    unknown = LeaseRef(shard=ShardId("batch_unknown.0"), epoch=1, token="t")
    asked = [refs[2], lost.ref, unknown, held.ref, refs[1], refs[0]]

    standings = await metadata.shards.standings(asked)

    assert [standing.lease for standing in standings] == asked
    assert [it.ready for it in standings] == [False] * 6
    assert [(it.held, it.paused, it.ending) for it in standings] == [
        (False, False, True),
        (False, False, False),
        (False, False, True),
        (True, False, False),
        (True, False, True),
        (True, True, False),
    ]
    assert standings[3].deadline == FAR_AHEAD
    assert standings[4].deadline == LONG_AGO
    assert await metadata.shards.standings([]) == []


async def test_a_shard_whose_lease_has_ended_is_ready_or_closed(metadata):
    batch = await planned(metadata, shards=2)
    handed_back, finished = [await claimed(metadata, batch, index) for index in range(2)]
    await metadata.shards.release(handed_back.ref, [], a_tally(), now=LATER, events=[])
    await metadata.shards.finish(finished.ref, [a_part()], a_tally(), now=LATER, events=[])

    standings = await metadata.shards.standings([handed_back.ref, finished.ref])

    assert [(it.held, it.ready) for it in standings] == [(False, True), (False, False)]
