"""ShardRows.complete: a batch of one shard is closed and completed in one transaction."""

import asyncio
from datetime import timedelta

import pytest
from fixtures.metadata import (
    ALICE,
    BOB,
    FAR_AHEAD,
    SECOND,
    T0,
    a_batch,
    a_file,
    a_shard,
    a_tally,
    an_event,
    claimed,
    planned,
    unsent_ids,
)

from batch_gateway.core.errors import Conflict
from batch_gateway.core.events import EventType
from batch_gateway.core.ids import ActivationId, FileId, shard_id
from batch_gateway.core.model import BatchStatus, LineCounts
from batch_gateway.core.quotas import QuotaUsage
from batch_gateway.core.usage import BatchReport, UsageRecord

LATER = T0 + 60 * SECOND


async def complete(metadata, lease, tally=None, **changes):
    given = {
        "deadline": FAR_AHEAD,
        "files": [],
        "output": None,
        "error": None,
        "now": LATER,
        "events": [],
    }
    return await metadata.shards.complete(lease.ref, tally or a_tally(), **{**given, **changes})


async def shards_of(metadata, batch):
    return [shard async for shard in metadata.shards.of_batch(batch.id)]


async def test_the_batch_is_completed_with_its_files_counts_usage_and_event(metadata):
    batch = await planned(metadata, shards=1, options={"a": 1})
    lease = await claimed(metadata, batch, 0)
    output, error = a_file(purpose="batch_output"), a_file(purpose="batch_output")
    tally = a_tally(completed=7, failed=3)
    event = an_event(batch, EventType.BATCH_COMPLETED)
    used = UsageRecord(day=LATER.date(), tenant=ALICE, api_key="", model="m", completed=7)

    done = await complete(
        metadata,
        lease,
        tally,
        files=[output, error],
        output=output.id,
        error=error.id,
        events=[event],
        report=BatchReport(summary="a summary", usage=(used,)),
        options={"a": 1, "saved_tokens": 5},
    )

    assert done == await metadata.batches.load(batch.id)
    assert done.status is BatchStatus.COMPLETED
    assert (done.finalizing_at, done.completed_at) == (LATER, LATER)
    assert done.counts == LineCounts(total=10, completed=7, failed=3)
    assert (done.usage, done.open_shards) == (tally.usage, 0)
    assert (done.output_file_id, done.error_file_id) == (output.id, error.id)
    assert done.options == {"a": 1, "saved_tokens": 5}
    assert await metadata.files.get(ALICE, output.id) == output
    assert await metadata.files.get(ALICE, error.id) == error
    assert await unsent_ids(metadata) == [event.id]
    assert await metadata.accounts.get(ALICE) == QuotaUsage(
        files=2, stored_bytes=output.size + error.size
    )
    assert [b.id for b in await metadata.batches.ended(limit=9)] == [batch.id]  # until it is swept
    assert await metadata.batches.summary(batch.id) == "a summary"
    day = LATER.date()
    assert await metadata.usage.between(day, day + timedelta(days=1), tenant=ALICE) == [used]
    assert await metadata.shards.leased(limit=9) == []
    assert await shards_of(metadata, batch) == []


async def test_a_batch_is_completed_once(metadata):
    batch = await planned(metadata, shards=1)
    lease = await claimed(metadata, batch, 0)

    assert await complete(metadata, lease) is not None
    assert await complete(metadata, lease, files=[a_file()]) is None
    assert (await metadata.accounts.get(ALICE)).files == 0


async def test_small_batches_may_be_planned_leased_and_completed_at_once(metadata):
    batches = [a_batch(tenant=tenant) for tenant in (ALICE, BOB) * 4]
    for batch in batches:
        await metadata.batches.create(batch, [])
    paused, taken, *others = batches

    def plan(batch):
        return metadata.batches.plan(
            batch.id,
            [a_shard(batch, 0)],
            total=10,
            model="m",
            now=T0,
            events=[an_event(batch, EventType.BATCH_IN_PROGRESS)],
        )

    planned = one_of_two(await asyncio.gather(*map(plan, [*batches, others[0]])))
    assert [batch.status for batch in planned] == [BatchStatus.IN_PROGRESS] * 8
    await metadata.batches.pause(paused.tenant, paused.id, True)

    leases = one_of_two(
        await asyncio.gather(
            *(
                metadata.shards.claim(
                    shard_id(batch.id, 0), holder=ActivationId("a"), token=f"{n}", now=T0
                )
                for n, batch in enumerate([*batches, others[0]])
            )
        )
    )
    assert leases[0] is None  # paused
    assert await metadata.shards.take_over(
        leases[1].ref, holder=ActivationId("b"), token="b", now=T0
    )

    files = [a_file(tenant=batch.tenant) for batch in others]
    done = await asyncio.gather(
        *(
            complete(
                metadata,
                lease,
                files=[file],
                output=file.id,
                events=[an_event(batch, EventType.BATCH_COMPLETED)],
                report=a_report(batch),
            )
            for batch, lease, file in zip(others, leases[2:], files, strict=True)
        ),
        complete(metadata, leases[1], files=[a_file()]),
    )

    assert done[-1] is None
    assert [batch.status for batch in done[:-1]] == [BatchStatus.COMPLETED] * 6
    assert [await metadata.batches.load(batch.id) for batch in others] == done[:-1]
    assert [await shards_of(metadata, batch) for batch in others] == [[]] * 6
    assert [lease.shard for lease, _ in await metadata.shards.leased(limit=9)] == [
        shard_id(taken.id, 0)
    ]
    for tenant in (ALICE, BOB):
        assert await metadata.accounts.get(tenant) == QuotaUsage(
            files=3,
            stored_bytes=sum(file.size for file in files if file.tenant == tenant),
            open_batches=1,
            queued_requests=10,
        )
        [used] = await metadata.usage.between(T0.date(), FAR_AHEAD.date(), tenant=tenant)
        assert used.completed == 30
    assert sorted(await unsent_ids(metadata)) == sorted(
        [an_event(batch, EventType.BATCH_IN_PROGRESS).id for batch in batches]
        + [an_event(batch, EventType.BATCH_COMPLETED).id for batch in others]
    )


def one_of_two(results):
    """``results``, of which the last is another try at the third: just one of them succeeded."""
    *rest, again = results
    assert [rest[2], again].count(None) == 1
    rest[2] = rest[2] or again
    return rest


def a_report(batch):
    used = UsageRecord(day=LATER.date(), tenant=batch.tenant, api_key="", model="m", completed=10)
    return BatchReport(summary="a summary", usage=(used,))


async def test_the_grant_tells_the_batch(metadata):
    batch = await planned(metadata, shards=1, output_expires_after_s=3600)
    lease = await claimed(metadata, batch, 0)

    assert lease.batch == await metadata.batches.load(batch.id)


async def unchanged(metadata, batch, lease, **changes):
    """``complete`` answers None, and all is as it was."""
    before = (
        await metadata.batches.load(batch.id),
        await shards_of(metadata, batch),
        await metadata.accounts.get(ALICE),
    )
    file = a_file()
    event = an_event(batch, EventType.BATCH_COMPLETED)
    events = [*await unsent_ids(metadata)]

    found = await complete(
        metadata, lease, **{"files": [file], "output": file.id, "events": [event], **changes}
    )

    assert found is None
    assert await metadata.files.get(ALICE, file.id) is None
    assert await unsent_ids(metadata) == events
    return before == (
        await metadata.batches.load(batch.id),
        await shards_of(metadata, batch),
        await metadata.accounts.get(ALICE),
    )


async def test_a_lost_lease_completes_nothing(metadata):
    batch = await planned(metadata, shards=1)
    lost = await claimed(metadata, batch, 0, token="lost")
    await metadata.shards.take_over(lost.ref, holder=ActivationId("other"), token="new", now=LATER)

    assert await unchanged(metadata, batch, lost)


async def test_a_batch_with_other_open_shards_is_not_completed(metadata):
    batch = await planned(metadata, shards=2)
    lease = await claimed(metadata, batch, 0)

    assert await unchanged(metadata, batch, lease, tally=a_tally(completed=20))


async def test_a_batch_with_other_closed_shards_is_not_completed(metadata):
    batch = await planned(metadata, shards=2)
    other, lease = await claimed(metadata, batch, 0), await claimed(metadata, batch, 1)
    await metadata.shards.finish(other.ref, [], a_tally(), now=LATER, events=[])

    assert await unchanged(metadata, batch, lease)


async def test_a_batch_whose_deadline_has_moved_is_not_completed(metadata):
    batch = await planned(metadata, shards=1)
    lease = await claimed(metadata, batch, 0)
    await metadata.batches.update(ALICE, batch.id, deadline=FAR_AHEAD - timedelta(days=1))

    assert await unchanged(metadata, batch, lease)


@pytest.mark.parametrize("end", ["cancel", "fail", "expire"])
async def test_a_batch_that_is_ending_is_not_completed(metadata, end):
    batch = await planned(metadata, shards=1, **({"deadline": T0} if end == "expire" else {}))
    lease = await claimed(metadata, batch, 0)
    if end == "cancel":
        await metadata.batches.cancel(ALICE, batch.id, now=LATER, fence_at=LATER, events=[])
    elif end == "fail":
        await metadata.batches.fail(batch.id, [], now=LATER, events=[])
    else:
        await metadata.batches.expire(batch.id, now=LATER, fence_at=LATER, events=[])

    deadline = T0 if end == "expire" else FAR_AHEAD
    assert await unchanged(metadata, batch, lease, deadline=deadline)


async def test_a_file_id_that_is_taken_undoes_everything(metadata):
    batch = await planned(metadata, shards=1)
    lease = await claimed(metadata, batch, 0)
    taken = a_file()
    await metadata.files.add(taken)

    with pytest.raises(Conflict):
        await complete(metadata, lease, files=[taken], output=FileId(taken.id))

    assert (await metadata.batches.load(batch.id)).status is BatchStatus.IN_PROGRESS
    assert await shards_of(metadata, batch) == [lease.shard]
    assert await complete(metadata, lease) is not None
