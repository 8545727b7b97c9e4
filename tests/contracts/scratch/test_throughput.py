"""How fast work goes, as executors report it."""

import asyncio
from datetime import timedelta

import pytest
from fixtures.scratch import MINUTE, NO_TIME

from batch_gateway.adapters.redis_coordination import RedisCoordinationStore
from batch_gateway.core.ids import ActivationId, BatchId
from batch_gateway.core.throughput import BUCKET, BlockedReason, LeasedWork
from batch_gateway.ports.throughput import WorkReport

pytestmark = pytest.mark.redis

ONE, OTHER = ActivationId("host-1"), ActivationId("host-2")
A, B = BatchId("batch_a"), BatchId("batch_b")


def report(batch: BatchId = A, *, model: str = "m", done: float = 0, left: float = 0) -> WorkReport:
    return WorkReport(batch=batch, model=model, done=done, left=left)


async def test_what_all_holders_did_adds_up_by_batch_and_by_model(
    coordination: RedisCoordinationStore,
) -> None:
    await coordination.throughput.report(
        ONE, [report(done=10, left=90), report(B, done=1)], ttl=MINUTE
    )
    await coordination.throughput.report(
        OTHER, [report(done=5.5, left=4, model="org/m:x")], ttl=MINUTE
    )

    batches = await coordination.throughput.of_batches([A, B, BatchId("batch_c")])
    models = await coordination.throughput.of_models(["m", "org/m:x", "unknown"])

    assert set(batches) == {A, B}
    assert sum(batches[A].done.values()) == 15.5
    assert batches[A].cost_held() == {"m": 90, "org/m:x": 4}
    assert [sum(done.values()) for done in models.values()] == [11, 5.5, 0]


async def test_what_is_left_is_a_holders_last_word_until_it_runs_out(
    coordination: RedisCoordinationStore,
) -> None:
    await coordination.throughput.report(ONE, [report(left=90)], ttl=MINUTE)
    await coordination.throughput.report(ONE, [report(left=40)], ttl=MINUTE)
    await coordination.throughput.report(OTHER, [report(left=7)], ttl=NO_TIME)
    assert (await coordination.throughput.of_batches([A]))[A].held == (
        LeasedWork(model="m", cost=40),
    )

    await coordination.throughput.report(ONE, [report(left=0)], ttl=MINUTE)
    assert (await coordination.throughput.of_batches([A]))[A].held == ()


async def test_a_holder_says_why_it_does_not_go_on(coordination: RedisCoordinationStore) -> None:
    why = WorkReport(batch=A, model="m", done=0, left=7, blocked=BlockedReason.NO_SLOTS)
    await coordination.throughput.report(ONE, [why], ttl=MINUTE)

    held = (await coordination.throughput.of_batches([A]))[A].held

    assert held == (LeasedWork(model="m", cost=7, blocked=BlockedReason.NO_SLOTS),)


async def test_the_first_report_begins_the_time_that_is_known(
    coordination: RedisCoordinationStore,
) -> None:
    await coordination.throughput.report(ONE, [report(left=90)], ttl=MINUTE)
    await asyncio.sleep(0.05)
    await coordination.throughput.report(ONE, [report(done=90)], ttl=MINUTE)
    first = (await coordination.throughput.of_batches([A]))[A].since

    await coordination.throughput.report(ONE, [report(B)], ttl=MINUTE)

    assert (
        first + timedelta(seconds=0.04) <= (await coordination.throughput.of_batches([B]))[B].since
    )


async def test_buckets_that_are_too_old_go_when_a_new_one_begins(
    coordination: RedisCoordinationStore,
) -> None:
    old = f"{coordination._keys.paces}:batch:{A}"
    await coordination._client.hset(old, mapping={"since": 1, "done:17": 5})

    await coordination.throughput.report(ONE, [report(done=3)], ttl=MINUTE)

    pace = (await coordination.throughput.of_batches([A]))[A]
    assert list(pace.done.values()) == [3]
    assert next(iter(pace.done)) > 1_600_000_000 / BUCKET.total_seconds()
