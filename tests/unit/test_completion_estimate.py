"""The estimated completion of a running batch."""

from datetime import UTC, datetime, timedelta

import pytest

from batch_gateway.core.completion_estimate import PoolUsage, blocked_reason, completes_at
from batch_gateway.core.ids import BatchId, FileId, TenantId
from batch_gateway.core.model import Batch, BatchBlockedReason, BatchStatus, EndReason
from batch_gateway.core.throughput import BatchThroughput, BlockedReason, LeasedWork

T0 = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
BATCH = Batch(
    id=BatchId("batch_a"),
    tenant=TenantId("t"),
    status=BatchStatus.IN_PROGRESS,
    endpoint="/v1/chat/completions",
    input_file_id=FileId("file-a"),
    completion_window="24h",
    deadline=T0 + 24 * HOUR,
    created_at=T0,
)
FULL = PoolUsage(model="m", full=True, braked_at=None)
BRAKED = PoolUsage(model="m", full=True, braked_at=T0 - timedelta(seconds=5))


def pace(*reasons: BlockedReason | None) -> BatchThroughput:
    held = tuple(LeasedWork(model="m", cost=1, blocked=one) for one in reasons)
    return BatchThroughput(since=T0, at=T0, done={}, held=held)


def why(batch=BATCH, known=None, *, left=None, shut=(), pools=()):
    return blocked_reason(
        batch,
        known,
        left={"m": 5.0} if left is None else left,
        shut=lambda model: model in shut,
        pools=pools,
        now=T0,
    )


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(why(), None, id="nobody has begun, nothing is known"),
        pytest.param(why(BATCH.evolve(paused=True)), BatchBlockedReason.PAUSED, id="paused"),
        pytest.param(why(BATCH.evolve(ending=EndReason.CANCELLED)), None, id="ending"),
        pytest.param(why(BATCH.evolve(status=BatchStatus.VALIDATING)), None, id="not running yet"),
        pytest.param(why(shut={"m"}), BatchBlockedReason.OFF_PEAK, id="no model may be called"),
        pytest.param(why(left={"m": 1, "n": 1}, shut={"m"}), None, id="one model may be called"),
        pytest.param(why(known=pace(None, BlockedReason.NO_SLOTS)), None, id="somebody works"),
        pytest.param(
            why(known=pace(BlockedReason.NO_SLOTS)), BatchBlockedReason.NO_SLOTS, id="no slots"
        ),
        pytest.param(
            why(known=pace(BlockedReason.NO_SLOTS), pools=[BRAKED]),
            BatchBlockedReason.ENGINE_SATURATED,
            id="no slots because of a brake",
        ),
        pytest.param(
            why(known=pace(BlockedReason.ENGINE_SATURATED)),
            BatchBlockedReason.ENGINE_SATURATED,
            id="refused",
        ),
        pytest.param(
            why(known=pace(BlockedReason.NO_SLOTS, BlockedReason.WAITING_FOR_MODEL)),
            BatchBlockedReason.WAITING_FOR_MODEL,
            id="the model is away",
        ),
        pytest.param(
            why(pools=[FULL]), BatchBlockedReason.NO_SLOTS, id="queued while others use all slots"
        ),
        pytest.param(
            why(pools=[FULL, PoolUsage(model="m", full=False, braked_at=None)]),
            None,
            id="queued with room at another replica",
        ),
        pytest.param(
            why(pools=[PoolUsage(model="n", full=True, braked_at=None)]),
            None,
            id="slots of other models do not matter",
        ),
    ],
)
def test_a_batch_says_what_it_waits_for(found, expected):
    assert found is expected


def at_night(at: datetime) -> int:
    """Four calls at once by day, none from six to twelve."""
    return 0 if 6 <= at.hour < 12 else 4


def next_of(at: datetime) -> datetime:
    day = at.replace(hour=0)
    return next(day + hours * HOUR for hours in (6, 12, 30) if day + hours * HOUR > at)


@pytest.mark.parametrize(
    ("now", "hours", "done"),
    [
        (T0, 2, T0 + 2 * HOUR),
        (T0, 6, T0 + 6 * HOUR),
        (T0, 8, T0 + 14 * HOUR),
        (T0 + 7 * HOUR, 1, T0 + 13 * HOUR),
        (T0, 25, T0 + 37 * HOUR),
    ],
)
def test_an_estimate_leaves_out_the_hours_without_calls(now, hours, done):
    assert completes_at(now, hours * HOUR, ceiling=at_night, next_change=next_of) == done


def test_fewer_calls_later_mean_more_time_and_more_calls_promise_nothing():
    change = T0 + HOUR

    def one_change(later):
        return completes_at(
            T0,
            2 * HOUR,
            ceiling=lambda at: 4 if at < change else later,
            next_change=lambda at: change if at < change else None,
        )

    assert one_change(2) == T0 + 3 * HOUR
    assert one_change(40) == T0 + 2 * HOUR
    assert one_change(0) is None
