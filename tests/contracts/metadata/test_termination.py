"""BatchRows: failing, cancelling, expiring, assembling; nothing changes what has ended."""

import pytest
from fixtures.metadata import (
    ALICE,
    FAR_AHEAD,
    LONG_AGO,
    SECOND,
    T0,
    a_batch,
    a_file,
    a_part,
    a_tally,
    an_event,
    claimed,
    finalizing,
    planned,
    unsent_ids,
)

from batch_gateway.core.ids import ActivationId
from batch_gateway.core.model import (
    BatchError,
    BatchStatus,
    ClosedShard,
    EndReason,
    LineCounts,
    ShardState,
    TokenUsage,
)

S = BatchStatus
LATER = T0 + 60 * SECOND
FENCE = LATER + 30 * SECOND
TTL = 15 * SECOND
ERRORS = [BatchError(code="invalid_json_line", message="no JSON", param="body", line=3)]


async def _states(metadata, batch):
    return [shard.state async for shard in metadata.shards.of_batch(batch.id)]


# Failing ----------------------------------------------------------------------------------------


async def test_a_batch_fails_with_its_errors_while_it_is_validated(metadata):
    batch = a_batch()
    await metadata.batches.create(batch, [])

    failed = await metadata.batches.fail(batch.id, ERRORS, now=LATER, events=[an_event(batch)])

    assert failed == batch.evolve(status=S.FAILED, failed_at=LATER, errors=tuple(ERRORS))
    assert await metadata.batches.load(batch.id) == failed
    assert await unsent_ids(metadata) == [an_event(batch).id]


async def test_failing_closes_all_shards_and_takes_their_leases(metadata):
    batch = await planned(metadata, shards=3)
    lease = await claimed(metadata, batch, 1)

    failed = await metadata.batches.fail(batch.id, ERRORS, now=LATER, events=[])

    assert (failed.status, failed.open_shards) == (S.FAILED, 0)
    assert await _states(metadata, batch) == [ShardState.CLOSED] * 3
    late = await metadata.shards.finish(lease.ref, [a_part()], a_tally(), now=LATER, events=[])
    assert late is None
    assert await metadata.shards.leased(limit=10) == []
    assert await metadata.batches.load(batch.id) == failed


async def test_a_finalizing_and_a_cancelling_batch_may_fail(metadata):
    merged = await finalizing(metadata)
    stopping = await planned(metadata)
    await metadata.batches.cancel(ALICE, stopping.id, now=LATER, fence_at=FENCE, events=[])

    for batch in (merged, stopping):
        assert await metadata.batches.fail(batch.id, ERRORS, now=LATER, events=[]) is not None


# Cancelling -------------------------------------------------------------------------------------


async def test_cancelling_closes_ready_shards_and_leaves_leased_ones_to_their_holders(metadata):
    batch = await planned(metadata, shards=3)
    lease = await claimed(metadata, batch, 1)

    result = await metadata.batches.cancel(
        ALICE, batch.id, now=LATER, fence_at=FENCE, events=[an_event(batch)]
    )

    assert result == batch.evolve(
        status=S.CANCELLING,
        cancelling_at=LATER,
        ending=EndReason.CANCELLED,
        fence_at=FENCE,
        open_shards=1,
    )
    assert await metadata.batches.load(batch.id) == result
    closed, leased = ShardState.CLOSED, ShardState.LEASED
    assert await _states(metadata, batch) == [closed, leased, closed]
    assert await unsent_ids(metadata) == [an_event(batch).id]
    last = await metadata.shards.release(lease.ref, [], a_tally(0), now=LATER, events=[])
    assert isinstance(last, ClosedShard)
    assert last.last
    assert (last.batch.status, last.batch.assemblable) == (S.CANCELLING, True)


async def test_cancelling_may_give_the_reason(metadata):
    batch = await planned(metadata)

    result = await metadata.batches.cancel(
        ALICE, batch.id, now=LATER, fence_at=FENCE, events=[], errors=ERRORS
    )

    assert result.errors == tuple(ERRORS)
    assert await metadata.batches.load(batch.id) == result


async def test_a_batch_is_cancelled_before_it_is_planned_and_while_it_is_finalized(metadata):
    unplanned = a_batch()
    await metadata.batches.create(unplanned, [])

    for batch in (unplanned, await finalizing(metadata)):
        result = await metadata.batches.cancel(
            ALICE, batch.id, now=LATER, fence_at=FENCE, events=[]
        )
        assert (result.status, result.ending) == (S.CANCELLING, EndReason.CANCELLED)
        assert result.assemblable


async def test_cancelling_again_changes_nothing_and_writes_no_event(metadata):
    batch = await planned(metadata)
    first = await metadata.batches.cancel(ALICE, batch.id, now=LATER, fence_at=FENCE, events=[])

    again = await metadata.batches.cancel(
        ALICE, batch.id, now=FENCE, fence_at=FAR_AHEAD, events=[an_event(batch)]
    )

    assert again is None
    assert await metadata.batches.load(batch.id) == first
    assert await unsent_ids(metadata) == []


async def test_what_a_handed_back_shard_had_finished_stays_in_its_row_when_it_is_closed(metadata):
    batch = await planned(metadata, shards=1)
    lease = await claimed(metadata, batch, 0)
    await metadata.shards.release(lease.ref, [a_part("kept", 4)], a_tally(4), now=LATER, events=[])

    result = await metadata.batches.cancel(ALICE, batch.id, now=LATER, fence_at=FENCE, events=[])

    [shard] = [shard async for shard in metadata.shards.of_batch(batch.id)]
    assert (shard.state, shard.parts, shard.tally) == (
        ShardState.CLOSED,
        (a_part("kept", 4),),
        a_tally(4),
    )
    assert result.assemblable
    assert result.counts == LineCounts(total=10, completed=4)


# Expiring ---------------------------------------------------------------------------------------


async def test_expiry_is_judged_by_the_databases_clock(metadata):
    due = await planned(metadata, deadline=LONG_AGO)
    not_due = await planned(metadata, deadline=FAR_AHEAD)

    too_late = FAR_AHEAD + SECOND
    refused = await metadata.batches.expire(
        not_due.id, now=too_late, fence_at=too_late, events=[an_event(not_due)]
    )
    expired = await metadata.batches.expire(
        due.id, now=LONG_AGO - SECOND, fence_at=FENCE, events=[an_event(due)]
    )

    assert refused is None
    assert await metadata.batches.load(not_due.id) == not_due
    assert expired.ending is EndReason.EXPIRED
    assert await unsent_ids(metadata) == [an_event(due).id]


async def test_expiry_closes_ready_shards_and_waits_for_leased_ones(metadata):
    batch = await planned(metadata, shards=2, deadline=LONG_AGO)
    lease = await claimed(metadata, batch, 1)

    result = await metadata.batches.expire(batch.id, now=LATER, fence_at=FENCE, events=[])

    assert result == batch.evolve(ending=EndReason.EXPIRED, fence_at=FENCE, open_shards=1)
    assert await metadata.batches.load(batch.id) == result
    last = await metadata.shards.release(
        lease.ref, [a_part()], a_tally(3), now=FENCE, events=[an_event(batch)]
    )
    assert last.last
    assert (last.batch.status, last.batch.finalizing_at) == (S.FINALIZING, FENCE)
    assert await unsent_ids(metadata) == [an_event(batch).id]


async def test_an_expired_batch_without_leased_shards_is_finalized_at_once(metadata):
    unplanned = a_batch(deadline=LONG_AGO)
    await metadata.batches.create(unplanned, [])
    idle = await planned(metadata, deadline=LONG_AGO)

    for batch in (unplanned, idle):
        result = await metadata.batches.expire(batch.id, now=LATER, fence_at=FENCE, events=[])
        assert (result.status, result.finalizing_at) == (S.FINALIZING, LATER)
        assert (result.ending, result.open_shards) == (EndReason.EXPIRED, 0)
        assert await metadata.batches.load(batch.id) == result


async def test_only_the_first_expiry_counts_and_finalizing_batches_do_not_expire(metadata):
    batch = await planned(metadata, deadline=LONG_AGO)
    await claimed(metadata, batch, 0)
    first = await metadata.batches.expire(batch.id, now=LATER, fence_at=FENCE, events=[])
    merged = await finalizing(metadata, deadline=LONG_AGO)

    for late in (first, merged):
        again = await metadata.batches.expire(
            late.id, now=LATER, fence_at=FAR_AHEAD, events=[an_event(late)]
        )
        assert again is None
        assert await metadata.batches.load(late.id) == late
    assert await unsent_ids(metadata) == []


async def test_cancel_replaces_expiry_before_the_end(metadata):
    batch = await planned(metadata, deadline=LONG_AGO)
    await claimed(metadata, batch, 0)
    await metadata.batches.expire(batch.id, now=LATER, fence_at=FENCE, events=[])

    result = await metadata.batches.cancel(
        ALICE, batch.id, now=LATER, fence_at=FENCE + SECOND, events=[]
    )

    assert (result.status, result.ending) == (S.CANCELLING, EndReason.CANCELLED)
    assert result.fence_at == FENCE + SECOND


async def test_expiry_does_not_replace_cancel(metadata):
    batch = await planned(metadata, deadline=LONG_AGO)
    await claimed(metadata, batch, 0)
    cancelling = await metadata.batches.cancel(
        ALICE, batch.id, now=LATER, fence_at=FENCE, events=[]
    )

    assert await metadata.batches.expire(batch.id, now=LATER, fence_at=FENCE, events=[]) is None
    assert await metadata.batches.load(batch.id) == cancelling


# Assembling -------------------------------------------------------------------------------------


async def _finish(metadata, batch, to=S.COMPLETED, holder="me", **changes):
    arguments = {
        "files": [],
        "output": None,
        "error": None,
        "counts": LineCounts(total=20, completed=20),
        "usage": TokenUsage(input_tokens=7),
        "now": FENCE,
        "events": [],
    }
    return await metadata.batches.finish(batch.id, to, holder=holder, **(arguments | changes))


async def test_one_holder_at_a_time_assembles(metadata):
    batch = await finalizing(metadata)
    claim = metadata.batches.claim_assembly

    assert await claim(batch.id, "first", now=LATER, ttl=TTL) == batch
    assert await claim(batch.id, "second", now=LATER + SECOND, ttl=TTL) is None
    assert await claim(batch.id, "first", now=LATER + 10 * SECOND, ttl=TTL) == batch  # renewed
    assert await claim(batch.id, "second", now=LATER + 20 * SECOND, ttl=TTL) is None
    assert await claim(batch.id, "second", now=LATER + 25 * SECOND, ttl=TTL) == batch
    assert await claim(batch.id, "first", now=LATER + 26 * SECOND, ttl=TTL) is None


async def test_only_a_batch_without_open_shards_is_assembled(metadata):
    running = await planned(metadata)
    stopping = await planned(metadata)
    await claimed(metadata, stopping, 0)
    await metadata.batches.cancel(ALICE, stopping.id, now=LATER, fence_at=FENCE, events=[])
    fresh = a_batch()
    await metadata.batches.create(fresh, [])

    for batch in (running, stopping, fresh):
        assert await metadata.batches.claim_assembly(batch.id, "me", now=LATER, ttl=TTL) is None


async def test_finishing_writes_files_counts_usage_and_status_together(metadata):
    batch = await finalizing(metadata)
    await metadata.batches.claim_assembly(batch.id, "me", now=LATER, ttl=TTL)
    output, error = a_file(purpose="batch_output"), a_file(purpose="batch_output")

    result = await _finish(
        metadata,
        batch,
        files=[output, error],
        output=output.id,
        error=error.id,
        counts=LineCounts(total=20, completed=15, failed=5),
        events=[an_event(batch)],
    )

    assert result == batch.evolve(
        status=S.COMPLETED,
        completed_at=FENCE,
        output_file_id=output.id,
        error_file_id=error.id,
        counts=LineCounts(total=20, completed=15, failed=5),
        usage=TokenUsage(input_tokens=7),
    )
    assert await metadata.batches.load(batch.id) == result
    assert await metadata.files.get(ALICE, output.id) == output
    assert await metadata.files.get(ALICE, error.id) == error
    assert await unsent_ids(metadata) == [an_event(batch).id]


async def test_finishing_may_replace_the_options(metadata):
    for options, then in ((None, {"a": 1}), ({"b": [2]}, {"b": [2]}), ({}, {})):
        batch = await finalizing(metadata, options={"a": 1})
        await metadata.batches.claim_assembly(batch.id, "me", now=LATER, ttl=TTL)

        done = await _finish(metadata, batch, options=options)

        assert done.options == then
        assert await metadata.batches.load(batch.id) == done


async def test_finishing_without_any_answer_leaves_usage_and_files_out(metadata):
    batch = await finalizing(metadata)
    await metadata.batches.claim_assembly(batch.id, "me", now=LATER, ttl=TTL)

    result = await _finish(metadata, batch, usage=None)

    assert (result.usage, result.output_file_id, result.error_file_id) == (None, None, None)
    assert await metadata.batches.load(batch.id) == result


async def test_only_the_holder_of_the_assembly_finishes(metadata):
    batch = await finalizing(metadata)
    file = a_file()

    assert await _finish(metadata, batch, files=[file], events=[an_event(batch)]) is None
    await metadata.batches.claim_assembly(batch.id, "me", now=LATER, ttl=TTL)
    await metadata.batches.claim_assembly(batch.id, "other", now=LATER + TTL, ttl=TTL)
    assert await _finish(metadata, batch, files=[file], events=[an_event(batch)]) is None

    assert await metadata.files.get(ALICE, file.id) is None
    assert await metadata.batches.load(batch.id) == batch
    assert await unsent_ids(metadata) == []


async def test_an_assembly_right_that_ran_out_counts_until_another_takes_it(metadata):
    batch = await finalizing(metadata)
    await metadata.batches.claim_assembly(batch.id, "me", now=LATER, ttl=TTL)

    assert await _finish(metadata, batch, now=LATER + 10 * TTL) is not None


@pytest.mark.parametrize(
    ("ending", "wrong", "right"),
    [
        (None, [S.EXPIRED, S.CANCELLED], S.COMPLETED),
        (EndReason.EXPIRED, [S.COMPLETED, S.CANCELLED], S.EXPIRED),
        (EndReason.CANCELLED, [S.COMPLETED, S.EXPIRED], S.CANCELLED),
    ],
)
async def test_the_ending_decides_how_a_batch_finishes(metadata, ending, wrong, right):
    if ending is EndReason.EXPIRED:
        batch = await planned(metadata, deadline=LONG_AGO)
        await metadata.batches.expire(batch.id, now=LATER, fence_at=FENCE, events=[])
    else:
        batch = await finalizing(metadata)
    if ending is EndReason.CANCELLED:
        await metadata.batches.cancel(ALICE, batch.id, now=LATER, fence_at=FENCE, events=[])
    await metadata.batches.claim_assembly(batch.id, "me", now=LATER, ttl=TTL)

    for status in wrong:
        assert await _finish(metadata, batch, to=status) is None

    result = await _finish(metadata, batch, to=right)
    assert (result.status, getattr(result, f"{right}_at")) == (right, FENCE)


async def test_cancelling_while_it_is_assembled_keeps_the_holder(metadata):
    batch = await finalizing(metadata)
    await metadata.batches.claim_assembly(batch.id, "me", now=LATER, ttl=TTL)
    await metadata.batches.cancel(ALICE, batch.id, now=LATER, fence_at=FENCE, events=[])

    assert await _finish(metadata, batch, to=S.COMPLETED) is None
    assert (await _finish(metadata, batch, to=S.CANCELLED)).status is S.CANCELLED


# The end ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [S.FAILED, S.COMPLETED, S.EXPIRED, S.CANCELLED])
async def test_a_batch_that_has_ended_never_changes(metadata, end):
    batch = await planned(metadata, shards=1, deadline=LONG_AGO)
    lease = await claimed(metadata, batch, 0)
    finish = {"now": LATER, "events": []}
    if end is S.FAILED:
        await metadata.batches.fail(batch.id, ERRORS, **finish)
    else:
        if end is S.EXPIRED:
            await metadata.batches.expire(batch.id, fence_at=FENCE, **finish)
        if end is S.CANCELLED:
            await metadata.batches.cancel(ALICE, batch.id, fence_at=FENCE, **finish)
        await metadata.shards.finish(lease.ref, [a_part()], a_tally(), **finish)
        await metadata.batches.claim_assembly(batch.id, "me", now=LATER, ttl=TTL)
        await _finish(metadata, batch, to=end)
    ended = await metadata.batches.load(batch.id)
    assert ended.status is end
    late = {"now": FENCE, "events": [an_event(batch)]}
    shard = lease.ref.shard
    claim = {"holder": ActivationId("late"), "token": "late", "now": FENCE}

    assert await metadata.batches.plan(batch.id, [], total=1, model="x", **late) is None
    assert await metadata.batches.fail(batch.id, ERRORS, **late) is None
    assert await metadata.batches.cancel(ALICE, batch.id, fence_at=FENCE, **late) is None
    assert await metadata.batches.expire(batch.id, fence_at=FENCE, **late) is None
    assert await metadata.batches.pause(ALICE, batch.id, True) is None
    assert await metadata.batches.finalize(batch.id, **late) is None
    assert await metadata.batches.claim_assembly(batch.id, "me", now=FENCE, ttl=TTL) is None
    for status in (S.COMPLETED, S.EXPIRED, S.CANCELLED):
        assert await _finish(metadata, batch, to=status, events=[an_event(batch)]) is None
    assert await metadata.shards.claim(shard, **claim) is None
    assert await metadata.shards.take_over(lease.ref, **claim) is None
    assert await metadata.shards.finish(lease.ref, [], a_tally(), **late) is None
    assert await metadata.shards.release(lease.ref, [], a_tally(), **late) is False

    assert await metadata.batches.load(batch.id) == ended
    assert await unsent_ids(metadata) == []
