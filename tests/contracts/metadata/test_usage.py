"""Reports of ended batches: statistics that go with the batch, usage that stays; exactly once."""

import asyncio
from dataclasses import replace
from datetime import date, timedelta

from fixtures.metadata import (
    ALICE,
    BOB,
    SECOND,
    T0,
    a_batch,
    a_part,
    a_tally,
    claimed,
    finalizing,
    planned,
)

from batch_gateway.core.engine_values import MOST
from batch_gateway.core.model import BatchStatus, LineCounts
from batch_gateway.core.usage import BatchReport, UsageRecord

DAY = T0.date()
NEXT = DAY + timedelta(days=1)
LATER = T0 + 60 * SECOND


def a_record(**changes) -> UsageRecord:
    fields = {
        "day": DAY,
        "tenant": ALICE,
        "api_key": "key_1",
        "model": "m",
        "batches": 1,
        "completed": 10,
        "input_tokens": 7,
        "cached_tokens": 2,
        "output_tokens": 3,
        "reasoning_tokens": 1,
    }
    return UsageRecord(**(fields | changes))


def report(*records: UsageRecord, summary: str = "{}") -> BatchReport:
    return BatchReport(summary=summary, usage=records)


async def finished(metadata, batch, kept, *, holder="me", now=LATER):
    await metadata.batches.claim_assembly(batch.id, holder, now=now, ttl=SECOND)
    return await metadata.batches.finish(
        batch.id,
        BatchStatus.COMPLETED,
        holder=holder,
        files=[],
        output=None,
        error=None,
        counts=LineCounts(),
        usage=None,
        now=now,
        events=[],
        report=kept,
    )


async def all_usage(metadata, tenant=None, first=DAY, end=NEXT):
    return list(await metadata.usage.between(first, end, tenant=tenant))


async def test_a_batch_that_ends_adds_its_usage_and_keeps_its_summary(metadata):
    batch = await finalizing(metadata)
    records = [a_record(model='m"1:[]'), a_record(model="", api_key="", batches=0, failed=3)]

    await finished(metadata, batch, report(*records, summary='{"x": "ü"}'))

    assert await metadata.batches.summary(batch.id) == '{"x": "ü"}'
    assert await all_usage(metadata) == [records[1], records[0]]


async def test_the_usage_of_a_day_is_the_sum_over_batches(metadata):
    for _ in range(3):
        await finished(metadata, await finalizing(metadata), report(a_record()))

    assert await all_usage(metadata) == [
        a_record(
            batches=3,
            completed=30,
            input_tokens=21,
            cached_tokens=6,
            output_tokens=9,
            reasoning_tokens=3,
        )
    ]


async def test_batches_that_end_at_once_lose_no_usage(metadata):
    batches = [await finalizing(metadata) for _ in range(6)]
    models = ["a", "b", "c"]

    await asyncio.gather(
        *(
            finished(metadata, batch, report(*(a_record(model=m) for m in models[:: 1 - 2 * odd])))
            for odd, batch in zip([0, 1] * 3, batches, strict=True)
        )
    )

    assert [(r.model, r.batches) for r in await all_usage(metadata)] == [(m, 6) for m in models]


async def test_a_batch_that_was_ended_by_another_adds_nothing(metadata):
    batch = await finalizing(metadata)
    await finished(metadata, batch, report(a_record()))

    assert await finished(metadata, batch, report(a_record())) is None
    assert await metadata.batches.fail(
        batch.id, [], now=LATER, events=[], report=report(a_record())
    ) is None  # fmt: skip

    assert await all_usage(metadata) == [a_record()]


async def test_a_batch_that_fails_adds_its_usage_too(metadata):
    batch = await planned(metadata)

    await metadata.batches.fail(batch.id, [], now=LATER, events=[], report=report(a_record()))

    assert await all_usage(metadata) == [a_record()]
    assert await metadata.batches.summary(batch.id) == "{}"


async def test_usage_survives_the_batch_and_its_summary_does_not(metadata):
    batch = await finalizing(metadata)
    await finished(metadata, batch, report(a_record()))

    assert await metadata.batches.delete(ALICE, batch.id) is not None

    assert await metadata.batches.summary(batch.id) is None
    assert await all_usage(metadata) == [a_record()]


async def test_usage_is_found_by_day_and_tenant(metadata):
    records = [
        a_record(day=date(2026, 2, 28)),
        a_record(day=date(2026, 3, 1), tenant=BOB),
        a_record(day=date(2026, 3, 1)),
        a_record(day=date(2026, 3, 2)),
    ]
    for record in records:
        await finished(metadata, await finalizing(metadata), report(record))

    march = {"first": date(2026, 3, 1), "end": date(2026, 3, 2)}
    assert await all_usage(metadata, **march) == [records[2], records[1]]
    assert await all_usage(metadata, BOB, **march) == [records[1]]
    assert await all_usage(metadata, ALICE, date(2026, 1, 1), date(2027, 1, 1)) == [
        records[0],
        records[2],
        records[3],
    ]


async def test_old_usage_is_forgotten(metadata):
    for day in (date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 3)):
        await finished(metadata, await finalizing(metadata), report(a_record(day=day)))
    before = T0.replace(month=1, day=3)

    assert await metadata.usage.forget(before, 1) == 1
    assert await metadata.usage.forget(before, 10) == 1
    assert await metadata.usage.forget(before, 10) == 0

    assert [r.day for r in await all_usage(metadata, first=date(2026, 1, 1))] == [date(2026, 1, 3)]


async def test_a_sum_ends_at_the_largest_integer(metadata):
    for _ in range(2):
        await finished(metadata, await finalizing(metadata), report(a_record(input_tokens=MOST)))

    (record,) = await all_usage(metadata)
    assert (record.input_tokens, record.batches) == (MOST, 2)


async def test_a_batch_knows_the_key_that_created_it(metadata):
    batch = a_batch(api_key="key_7")
    await metadata.batches.create(batch, [])

    assert await metadata.batches.get(ALICE, batch.id) == batch


# Statistics of shards -----------------------------------------------------------------------------


async def statistics_of(metadata, batch) -> list[str]:
    return [shard.tally.statistics async for shard in metadata.shards.of_batch(batch.id)]


def a_tally_with(statistics: str, completed: int):
    return replace(a_tally(completed=completed), statistics=statistics)


async def test_statistics_are_recorded_with_the_counts(metadata):
    batch = await planned(metadata)
    lease = await claimed(metadata, batch, 0)

    await metadata.shards.checkpoint({lease.ref: a_tally_with('{"a": 1}', 3)})

    assert await statistics_of(metadata, batch) == ['{"a": 1}', ""]


async def test_of_two_statistics_those_of_more_lines_are_kept(metadata):
    batch = await planned(metadata)
    lease = await claimed(metadata, batch, 0)

    await metadata.shards.checkpoint({lease.ref: a_tally_with("five", 5)})
    await metadata.shards.checkpoint({lease.ref: a_tally_with("three", 3)})
    assert await statistics_of(metadata, batch) == ["five", ""]

    await metadata.shards.release(
        lease.ref, [a_part()], a_tally_with("seven", 7), now=LATER, events=[]
    )
    assert await statistics_of(metadata, batch) == ["seven", ""]
    lease = await claimed(metadata, batch, 0, "u")
    assert lease.shard.tally.statistics == "seven"

    await metadata.shards.finish(
        lease.ref, [a_part()], a_tally_with("ten", 10), now=LATER, events=[]
    )
    assert await statistics_of(metadata, batch) == ["ten", ""]


async def test_a_lost_lease_records_no_statistics(metadata):
    batch = await planned(metadata)
    lease = await claimed(metadata, batch, 0)
    lost = replace(lease.ref, token="another")

    await metadata.shards.checkpoint({lost: a_tally_with("x", 3)})

    assert await statistics_of(metadata, batch) == ["", ""]
