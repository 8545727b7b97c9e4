"""BatchRows: rows, listings, planning and pause."""

import asyncio
from dataclasses import replace

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
    planned,
    unsent_ids,
)

from batch_gateway.core.batch_request import SourceEvent
from batch_gateway.core.errors import Conflict
from batch_gateway.core.ids import BatchId, TenantId
from batch_gateway.core.model import (
    Batch,
    BatchError,
    BatchStatus,
    EndReason,
    LineCounts,
    ShardState,
    TokenUsage,
)
from batch_gateway.ports.batches import BatchFilter

S = BatchStatus
CAROL = TenantId("carol")
LATER = T0 + 60 * SECOND


async def test_a_batch_comes_back_as_it_was_created(metadata):
    plain = a_batch()
    full = a_batch(
        metadata={"näme": 'with "quotes" and \\', "": "\u0000"},
        output_expires_after_s=3600,
        priority=0,
        paused=True,
        model="org/model",
        ending=EndReason.CANCELLED,
        fence_at=T0,
        counts=LineCounts(total=3, completed=2, failed=1),
        usage=TokenUsage(input_tokens=2**40, output_tokens=1),
        errors=(
            BatchError(code="c", message="m", param="p", line=2**31),
            BatchError(code="d", message=""),
        ),
        output_file_id="file-out",
        error_file_id="file-err",
        traceparent="00-aa-bb-01",
        options={"nested": {"list": [1, 2.5, None, True, 2**63]}},
        status=S.FAILED,
        **{f"{name}_at": T0 + n * SECOND for n, name in enumerate(S) if name is not S.VALIDATING},
    )

    await metadata.batches.create(plain, [])
    await metadata.batches.create(full, [])

    assert await metadata.batches.get(ALICE, plain.id) == plain
    assert await metadata.batches.get(ALICE, full.id) == full
    assert await metadata.batches.load(full.id) == full


async def test_empty_metadata_is_not_absent_metadata(metadata):
    batch = a_batch(metadata={})

    await metadata.batches.create(batch, [])

    assert (await metadata.batches.load(batch.id)).metadata == {}


async def test_creating_a_taken_id_is_a_conflict_and_writes_nothing(metadata):
    batch = a_batch()
    await metadata.batches.create(batch, [])

    with pytest.raises(Conflict):
        await metadata.batches.create(replace(batch, tenant=BOB), [an_event(batch)])

    assert await metadata.batches.load(batch.id) == batch
    assert await unsent_ids(metadata) == []


async def test_batches_that_are_created_at_once_succeed_or_fail_each_by_itself(metadata):
    cause = SourceEvent(source="/a", id="1")
    taken = a_batch()
    await metadata.batches.create(taken, [], cause=cause)
    new = [a_batch(tenant=tenant) for tenant in (ALICE, BOB) * 10]
    again = [replace(taken, tenant=BOB), new[0]]

    def create(batch, **options):
        return metadata.batches.create(batch, [an_event(batch)], **options)

    results = await asyncio.gather(
        *map(create, new),
        *map(create, again),
        create(a_batch(), cause=cause),
        return_exceptions=True,
    )

    assert results[: len(new)] == [None] * len(new)
    assert [type(result) for result in results[len(new) :]] == [Conflict] * 3
    assert [await metadata.batches.load(batch.id) for batch in new] == new
    assert sorted(await unsent_ids(metadata)) == sorted(an_event(batch).id for batch in new)
    assert (await metadata.accounts.get(ALICE)).open_batches == 11
    assert (await metadata.accounts.get(BOB)).open_batches == 10


async def test_another_tenants_batch_is_not_there(metadata):
    batch = await planned(metadata)

    assert await metadata.batches.get(BOB, batch.id) is None
    assert await metadata.batches.list(BOB, limit=10, after=batch.id) is None
    assert (await metadata.batches.list(BOB, limit=10)).items == []
    assert await metadata.batches.pause(BOB, batch.id, True) is None
    assert await metadata.batches.update(BOB, batch.id, priority=1) is None
    cancelled = await metadata.batches.cancel(
        BOB, batch.id, now=LATER, fence_at=LATER, events=[an_event(batch)]
    )
    assert cancelled is None
    assert await metadata.batches.get(ALICE, batch.id) == batch
    assert await unsent_ids(metadata) == []


async def test_an_unknown_batch_is_none_everywhere(metadata):
    unknown = BatchId("batch_unknown")

    assert await metadata.batches.get(ALICE, unknown) is None
    assert await metadata.batches.load(unknown) is None
    assert await metadata.batches.list(ALICE, limit=1, after=unknown) is None
    assert await metadata.batches.pause(ALICE, unknown, True) is None
    assert await metadata.batches.update(ALICE, unknown, priority=1) is None
    assert await metadata.batches.fail(unknown, [], now=T0, events=[]) is None
    assert await metadata.batches.finalize(unknown, now=T0, events=[]) is None
    assert await metadata.batches.expire(unknown, now=T0, fence_at=T0, events=[]) is None
    assert await metadata.batches.claim_assembly(unknown, "h", now=T0, ttl=SECOND) is None
    plan = {"total": 0, "model": None, "now": T0, "events": []}
    assert await metadata.batches.plan(unknown, [], **plan) is None


async def test_batches_are_listed_newest_first_and_ties_by_id(metadata):
    old = a_batch(created_at=T0 - SECOND)
    ties = [a_batch(), a_batch()]
    new = a_batch(created_at=T0 + SECOND)
    for batch in (ties[1], new, ties[0], old):
        await metadata.batches.create(batch, [])

    page = await metadata.batches.list(ALICE, limit=10)

    assert list(page.items) == [new, ties[1], ties[0], old]
    assert not page.more


FILTERS = [
    (BatchFilter(), "dcba"),
    (BatchFilter(status=S.IN_PROGRESS), "dc"),
    (BatchFilter(status=S.EXPIRED), ""),
    (BatchFilter(model="m"), "dc"),
    (BatchFilter(model="other"), ""),
    (BatchFilter(metadata={"team": "blue"}), "ca"),
    (BatchFilter(metadata={"team": "blue", 'odd "key".ü': "välue"}), "a"),
    (BatchFilter(metadata={"team": ""}), ""),
    (BatchFilter(since=T0 + SECOND), "dcb"),
    (BatchFilter(before=T0 + 3 * SECOND), "cba"),
    (BatchFilter(since=T0 + SECOND, before=T0 + 3 * SECOND), "cb"),
    (BatchFilter(since=T0 + 3 * SECOND, before=T0 + SECOND), ""),
    (BatchFilter(status=S.IN_PROGRESS, metadata={"team": "blue"}, since=T0 + SECOND), "c"),
]


async def test_a_listing_has_only_what_its_filter_admits(metadata):
    blue = {"team": "blue"}
    a = a_batch(metadata={**blue, 'odd "key".ü': "välue"})
    b = a_batch(created_at=T0 + SECOND)
    for batch in (a, b):
        await metadata.batches.create(batch, [])
    c = await planned(metadata, created_at=T0 + 2 * SECOND, metadata=blue)
    d = await planned(metadata, created_at=T0 + 3 * SECOND, metadata={"blue": "team"})
    await metadata.batches.create(a_batch(tenant=BOB, metadata=blue), [])
    names = {a.id: "a", b.id: "b", c.id: "c", d.id: "d"}

    for only, expected in FILTERS:
        page = await metadata.batches.list(ALICE, limit=10, only=only)
        assert ("".join(names[batch.id] for batch in page.items), page.more) == (expected, False)


async def test_a_filtered_listing_is_paged_from_any_batch_of_the_tenant(metadata):
    made = [a_batch(created_at=T0 + n * SECOND, metadata={"odd": str(n % 2)}) for n in range(450)]
    for batch in made:
        await metadata.batches.create(batch, [])
    odd = BatchFilter(metadata={"odd": "1"}, before=T0 + 440 * SECOND)

    first = await metadata.batches.list(ALICE, limit=219, only=odd)
    last = await metadata.batches.list(ALICE, limit=219, only=odd, after=first.items[-1].id)
    between = await metadata.batches.list(ALICE, limit=1, only=odd, after=made[2].id)

    wanted = [batch.id for batch in reversed(made[:440]) if batch.metadata == {"odd": "1"}]
    assert [batch.id for batch in [*first.items, *last.items]] == wanted
    assert (first.more, last.more) == (True, False)
    assert [batch.id for batch in between.items] == [made[1].id]


async def test_a_listing_passes_over_as_many_as_it_is_told(metadata):
    made = [a_batch(created_at=T0 + n * SECOND, metadata={"odd": str(n % 2)}) for n in range(6)]
    for batch in made:
        await metadata.batches.create(batch, [])
    await metadata.batches.create(a_batch(tenant=BOB), [])
    even = BatchFilter(metadata={"odd": "0"})

    async def listed(**query):
        page = await metadata.batches.list(ALICE, **query)
        return [made.index(batch) for batch in page.items], page.more

    assert await listed(limit=2, offset=0) == ([5, 4], True)
    assert await listed(limit=2, offset=3) == ([2, 1], True)
    assert await listed(limit=2, offset=4) == ([1, 0], False)
    assert await listed(limit=2, offset=6) == ([], False)
    assert await listed(limit=1, offset=1, only=even) == ([2], True)
    assert await listed(limit=9, offset=2, only=even) == ([0], False)
    assert await listed(limit=2, offset=1, after=made[4].id) == ([2, 1], True)


async def test_batches_of_all_tenants_are_listed_newest_first_and_ties_by_id(metadata):
    made = [
        a_batch(tenant=tenant, created_at=T0 + n // 2 * SECOND)
        for n, tenant in enumerate([ALICE, BOB, BOB, ALICE, ALICE, BOB, CAROL])
    ]
    for batch in made:
        await metadata.batches.create(batch, [])
    wanted = sorted(made, key=lambda batch: (batch.created_at, batch.id), reverse=True)

    whole = await metadata.batches.list_all(limit=10)
    seen, after, more = [], None, True
    while more:
        page = await metadata.batches.list_all(limit=2, after=after)
        seen += page.items
        after, more = seen[-1].id, page.more
        await metadata.batches.create(a_batch(created_at=T0 + 100 * SECOND), [])

    assert (list(whole.items), whole.more) == (wanted, False)
    assert seen == wanted
    assert await metadata.batches.list_all(limit=1, after=BatchId("batch_unknown")) is None


async def test_a_listing_of_all_tenants_has_only_what_its_filter_admits(metadata):
    made = [
        a_batch(
            tenant=BOB if n % 3 else ALICE,
            created_at=T0 + n * SECOND,
            metadata={"odd": str(n % 2)},
        )
        for n in range(450)
    ]
    for batch in made:
        await metadata.batches.create(batch, [])
    odd = BatchFilter(metadata={"odd": "1"}, before=T0 + 440 * SECOND, since=T0 + 4 * SECOND)

    first = await metadata.batches.list_all(limit=210, only=odd)
    last = await metadata.batches.list_all(limit=210, only=odd, after=first.items[-1].id)
    between = await metadata.batches.list_all(limit=1, only=odd, after=made[8].id)
    none = await metadata.batches.list_all(limit=5, only=BatchFilter(status=S.EXPIRED))

    wanted = [batch.id for batch in reversed(made[4:440]) if batch.metadata == {"odd": "1"}]
    assert [batch.id for batch in [*first.items, *last.items]] == wanted
    assert (first.more, last.more) == (True, False)
    assert ([batch.id for batch in between.items], between.more) == ([made[7].id], True)
    assert (list(none.items), none.more) == ([], False)


async def test_paging_visits_each_batch_once_while_batches_are_added(metadata):
    batches = [a_batch(created_at=T0 + (n // 3) * SECOND) for n in range(10)]
    for batch in batches:
        await metadata.batches.create(batch, [])

    seen, after, more = [], None, True
    while more:
        page = await metadata.batches.list(ALICE, limit=3, after=after)
        seen += [batch.id for batch in page.items]
        after, more = seen[-1], page.more
        await metadata.batches.create(a_batch(created_at=T0 + 100 * SECOND), [])

    assert seen == [batch.id for batch in reversed(batches)]


# Planning ---------------------------------------------------------------------------------------


async def test_planning_starts_the_batch_with_its_shards(metadata):
    batch = a_batch()
    await metadata.batches.create(batch, [])
    shards = [a_shard(batch, 0), a_shard(batch, 1, model="other", key="", cost=2**40)]

    result = await metadata.batches.plan(
        batch.id, shards, total=20, model="m", now=LATER, events=[an_event(batch)]
    )

    assert result == batch.evolve(
        status=S.IN_PROGRESS,
        in_progress_at=LATER,
        open_shards=2,
        counts=LineCounts(total=20),
        model="m",
    )
    assert await metadata.batches.load(batch.id) == result
    assert [shard async for shard in metadata.shards.of_batch(batch.id)] == shards
    assert await unsent_ids(metadata) == [an_event(batch).id]


async def test_planning_may_replace_the_options(metadata):
    batch = a_batch(options={"dry_run": True})
    await metadata.batches.create(batch, [])
    options = {"dry_run": True, "estimated_tokens": {"m": 2**40}}
    plan = {"total": 5, "model": "m", "now": LATER, "events": []}

    result = await metadata.batches.plan(batch.id, [], options=options, **plan)

    assert result.options == options
    assert (result.status, result.counts.total) == (S.FINALIZING, 5)
    assert await metadata.batches.load(batch.id) == result


async def test_a_redelivered_plan_changes_nothing(metadata):
    batch = await planned(metadata, shards=2)
    others = [a_shard(batch, index, model="other") for index in range(3)]

    again = await metadata.batches.plan(
        batch.id, others, total=99, model="other", now=LATER, events=[an_event(batch)]
    )

    assert again is None
    assert await metadata.batches.load(batch.id) == batch
    assert [shard.model async for shard in metadata.shards.of_batch(batch.id)] == ["m", "m"]
    assert await unsent_ids(metadata) == []


async def test_a_batch_with_an_ending_is_not_planned(metadata):
    batch = a_batch(deadline=LONG_AGO)
    await metadata.batches.create(batch, [])
    ending = await metadata.batches.expire(batch.id, now=LATER, fence_at=LATER, events=[])

    result = await metadata.batches.plan(
        batch.id, [a_shard(batch, 0)], total=10, model="m", now=LATER, events=[an_event(batch)]
    )

    assert result is None
    assert await metadata.batches.load(batch.id) == ending
    assert [shard async for shard in metadata.shards.of_batch(batch.id)] == []


async def test_shards_that_come_closed_are_counted_and_not_open(metadata):
    batch = a_batch()
    await metadata.batches.create(batch, [])
    answered = a_shard(
        batch,
        0,
        key="",
        state=ShardState.CLOSED,
        parts=(a_part("first", 3),),
        tally=a_tally(1, failed=2),
    )

    result = await metadata.batches.plan(
        batch.id, [answered, a_shard(batch, 1)], total=13, model="m", now=LATER, events=[]
    )

    assert (result.status, result.open_shards) == (S.IN_PROGRESS, 1)
    assert result.counts == LineCounts(total=13, completed=1, failed=2)
    assert result.usage == answered.tally.usage
    assert await anext(metadata.shards.of_batch(batch.id)) == answered
    assert [entry.shard for entry in await metadata.shards.ready(after=None, limit=9)] == [
        f"{batch.id}.1"
    ]


@pytest.mark.parametrize("closed", [0, 2])
async def test_a_plan_without_open_shards_goes_to_finalizing_at_once(metadata, closed):
    batch = a_batch()
    await metadata.batches.create(batch, [])
    shards = [
        a_shard(batch, index, state=ShardState.CLOSED, tally=a_tally(0, failed=1))
        for index in range(closed)
    ]

    result = await metadata.batches.plan(
        batch.id, shards, total=closed, model=None, now=LATER, events=[an_event(batch)]
    )

    assert (result.status, result.open_shards) == (S.FINALIZING, 0)
    assert (result.in_progress_at, result.finalizing_at) == (LATER, LATER)
    assert result.counts == LineCounts(total=closed, failed=closed)
    assert (result.usage is None) == (closed == 0)
    assert result.assemblable
    assert await metadata.batches.load(batch.id) == result
    assert await unsent_ids(metadata) == [an_event(batch).id]


async def test_twenty_thousand_shards_are_planned_at_once(metadata):
    batch = a_batch()
    await metadata.batches.create(batch, [])
    shards = [a_shard(batch, index) for index in range(20_000)]

    result = await metadata.batches.plan(
        batch.id, shards, total=200_000, model="m", now=LATER, events=[]
    )

    assert result.open_shards == 20_000
    assert [shard async for shard in metadata.shards.of_batch(batch.id)] == shards


# Pause ------------------------------------------------------------------------------------------


async def test_a_batch_is_paused_and_resumed(metadata):
    batch = await planned(metadata)

    paused = await metadata.batches.pause(ALICE, batch.id, True)
    again = await metadata.batches.pause(ALICE, batch.id, True)

    assert paused == again == batch.evolve(paused=True)
    assert await metadata.batches.pause(ALICE, batch.id, False) == batch
    assert await metadata.batches.load(batch.id) == batch


async def test_a_batch_that_is_ending_or_has_ended_is_not_paused(metadata):
    cancelling = await planned(metadata)
    await metadata.batches.cancel(ALICE, cancelling.id, now=LATER, fence_at=LATER, events=[])
    expiring = await planned(metadata, deadline=LONG_AGO)
    await metadata.batches.expire(expiring.id, now=LATER, fence_at=LATER, events=[])
    failed = await planned(metadata)
    await metadata.batches.fail(failed.id, [], now=LATER, events=[])

    for batch in (cancelling, expiring, failed):
        before = await metadata.batches.load(batch.id)
        assert await metadata.batches.pause(ALICE, batch.id, True) is None
        assert await metadata.batches.update(ALICE, batch.id, priority=1) is None
        assert await metadata.batches.load(batch.id) == before


# Update -----------------------------------------------------------------------------------------


async def test_a_live_batch_gets_another_priority(metadata):
    batch = await planned(metadata)

    updated = await metadata.batches.update(ALICE, batch.id, priority=0)

    assert updated == batch.evolve(priority=0)
    assert await metadata.batches.load(batch.id) == updated
    assert {entry.priority for entry in await metadata.shards.ready(after=None, limit=9)} == {0}


async def test_a_live_batch_gets_another_window(metadata):
    batch = await planned(metadata)

    updated = await metadata.batches.update(
        ALICE, batch.id, completion_window="1m", deadline=LONG_AGO
    )

    assert updated == batch.evolve(completion_window="1m", deadline=LONG_AGO)
    assert await metadata.batches.load(batch.id) == updated
    assert [overdue.id for overdue in await metadata.batches.overdue(10)] == [batch.id]


async def test_an_update_of_nothing_changes_nothing(metadata):
    batch = await planned(metadata)

    assert await metadata.batches.update(ALICE, batch.id) == batch
    assert await metadata.batches.load(batch.id) == batch


async def test_instants_keep_their_microseconds_far_in_the_future(metadata):
    batch: Batch = a_batch(deadline=FAR_AHEAD.replace(microsecond=999_999))

    await metadata.batches.create(batch, [])

    assert (await metadata.batches.load(batch.id)).deadline == batch.deadline


# Deleting ---------------------------------------------------------------------------------------


async def test_an_ended_batch_is_deleted_with_its_shards(metadata):
    batch = await planned(metadata)
    ended = await metadata.batches.fail(batch.id, [], now=LATER, events=[])

    assert await metadata.batches.delete(ALICE, batch.id) == ended

    assert await metadata.batches.load(batch.id) is None
    assert [shard async for shard in metadata.shards.of_batch(batch.id)] == []
    assert (await metadata.batches.list(ALICE, limit=10)).items == []
    assert await metadata.batches.ended(limit=10) == []
    assert not any((await metadata.batches.count_by_status()).values())
    assert await metadata.batches.delete(ALICE, batch.id) is None
    await metadata.batches.swept(batch.id)
    assert await metadata.batches.load(batch.id) is None


async def test_a_batch_that_has_not_ended_or_is_anothers_is_not_deleted(metadata):
    live = await planned(metadata)
    ended = await planned(metadata)
    ended = await metadata.batches.fail(ended.id, [], now=LATER, events=[])

    assert await metadata.batches.delete(ALICE, live.id) is None
    assert await metadata.batches.delete(BOB, ended.id) is None
    assert await metadata.batches.load(live.id) == live
    assert await metadata.batches.load(ended.id) == ended
