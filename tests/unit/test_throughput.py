from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_gateway.core.throughput import (
    BUCKET,
    KEPT,
    BatchThroughput,
    bucket_of,
    speed,
    speed_at_work,
    time_left,
    time_needed,
    urgent_after,
)

T0 = datetime(2030, 1, 1, 0, 0, 3, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def steady(per_s: float, *, seconds: int) -> BatchThroughput:
    """A batch that has been worked on at one speed since ``T0``."""
    done: dict[int, float] = {}
    for n in range(seconds):
        number = bucket_of(T0 + n * SECOND)
        done[number] = done.get(number, 0) + per_s
    return BatchThroughput(since=T0, at=T0 + seconds * SECOND, done=done)


@given(per_s=st.floats(0.1, 1e6), seconds=st.integers(3, 600))
def test_a_steady_speed_is_found_however_long_it_has_been_going(per_s, seconds):
    found = speed(steady(per_s, seconds=seconds), T0 + seconds * SECOND)

    assert found == pytest.approx(per_s, rel=0.01)


def test_nothing_is_said_before_enough_is_known():
    assert speed(steady(100, seconds=1), T0 + SECOND) is None


def test_an_estimate_follows_a_change_by_half_in_a_minute():
    fast = steady(100, seconds=240)
    later = T0 + 240 * SECOND
    slow = {bucket_of(later + n * BUCKET): 50.0 for n in range(1, 13)}  # 10 per second
    pace = BatchThroughput(since=T0, at=later + 12 * BUCKET, done={**fast.done, **slow})

    found = speed(pace, later + 12 * BUCKET)

    assert found == pytest.approx(55, rel=0.15)


def test_a_batch_that_stands_still_gets_slower_and_then_has_no_speed():
    pace = steady(100, seconds=60)

    assert speed(pace, T0 + 120 * SECOND) < 50
    assert speed(pace, T0 + 60 * SECOND + KEPT * BUCKET) is None


def test_between_two_reports_time_goes_on():
    pace = steady(100, seconds=60)

    assert time_left(pace, 1000, T0 + 60 * SECOND) == pytest.approx(10 * SECOND, rel=0.01)
    assert time_left(pace, 1000, T0 + 61 * SECOND) == pytest.approx(9 * SECOND, rel=0.01)
    assert time_left(pace, 50, T0 + 61 * SECOND) == timedelta(0)
    assert time_left(steady(100, seconds=1), 1000, T0 + SECOND) is None


def test_a_models_speed_is_that_of_the_time_in_which_it_had_work():
    began = bucket_of(T0)
    with_pauses = {began: 100.0, began + 1: 500.0, began + 9: 500.0, began + 10: 20.0}

    assert speed_at_work(with_pauses) == 100
    assert speed_at_work({began: 50.0}) == 10
    assert speed_at_work({}) is None


def test_models_are_worked_on_side_by_side():
    left = {"a": 100.0, "b": 50.0, "c": 0.0}

    assert time_needed(left, {"a": 10.0, "b": 1.0}) == timedelta(seconds=50)
    assert time_needed(left, {"a": 10.0, "b": None}) is None
    assert time_needed({}, {}) == timedelta(0)


def test_a_batch_is_urgent_as_soon_as_its_time_may_not_suffice():
    deadline = T0 + timedelta(hours=1)

    def urgent(needed: timedelta | None) -> datetime:
        return urgent_after(deadline, needed, margin=timedelta(minutes=1), safety=2)

    assert urgent(timedelta(minutes=10)) == T0 + timedelta(minutes=39)
    assert urgent(None) == T0 + timedelta(minutes=59)
