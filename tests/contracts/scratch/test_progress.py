"""Live tallies of open shards."""

import pytest
from fixtures.scratch import MINUTE, NO_TIME

from batch_gateway.adapters.scratch import RedisScratch
from batch_gateway.core.ids import BatchId, ShardId
from batch_gateway.core.model import Tally, Usage

pytestmark = pytest.mark.redis

A, B = BatchId("batch_a"), BatchId("batch_b")
TALLY = Tally(
    completed=3,
    failed=1,
    usage=Usage(input_tokens=10, cached_tokens=4, output_tokens=7, reasoning_tokens=2),
)


async def test_tallies_are_read_by_batch(scratch: RedisScratch) -> None:
    await scratch.progress.report(ShardId("batch_a.0"), Tally(completed=1), MINUTE)
    await scratch.progress.report(ShardId("batch_a.1"), Tally(failed=2), MINUTE)

    assert await scratch.progress.read([A, B]) == {
        A: {"batch_a.0": Tally(completed=1), "batch_a.1": Tally(failed=2)},
        B: {},
    }
    assert await scratch.progress.read([]) == {}


async def test_a_report_replaces_the_one_before(scratch: RedisScratch) -> None:
    await scratch.progress.report(ShardId("batch_a.0"), Tally(completed=9), MINUTE)
    await scratch.progress.report(ShardId("batch_a.0"), TALLY, MINUTE)

    assert await scratch.progress.read([A]) == {A: {"batch_a.0": TALLY}}


async def test_a_tally_runs_out_although_others_of_the_batch_are_reported(
    scratch: RedisScratch,
) -> None:
    await scratch.progress.report(ShardId("batch_a.0"), TALLY, NO_TIME)
    await scratch.progress.report(ShardId("batch_a.1"), TALLY, MINUTE)
    await scratch.progress.report(ShardId("batch_a.2"), TALLY, NO_TIME)

    assert await scratch.progress.read([A]) == {A: {"batch_a.1": TALLY}}


async def test_forgotten_shards_have_no_tally(scratch: RedisScratch) -> None:
    for shard in ("batch_a.0", "batch_a.1", "batch_b.0"):
        await scratch.progress.report(ShardId(shard), TALLY, MINUTE)

    await scratch.progress.forget([ShardId("batch_a.0"), ShardId("batch_b.0")])
    await scratch.progress.forget([])

    assert await scratch.progress.read([A, B]) == {A: {"batch_a.1": TALLY}, B: {}}
