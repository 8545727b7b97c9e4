"""How many instances of a function ran at each moment."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from batch_gateway.core.function_instances import FunctionInstance, counts_over_time

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def at(minute: int) -> datetime:
    return BEGIN + timedelta(minutes=minute)


def ran(start: int, end: int | None) -> FunctionInstance:
    ended = None if end is None else at(end)
    return FunctionInstance(id="i", function="f", started_at=at(start), ended_at=ended)


def test_counts_begin_with_those_that_ran_then_and_change_with_each_start_and_end():
    instances = [ran(-9, -5), ran(-3, 4), ran(2, 6), ran(6, 8), ran(20, None)]

    assert counts_over_time(instances, BEGIN) == [
        (at(0), 1),
        (at(2), 2),
        (at(4), 1),
        (at(8), 0),
        (at(20), 1),
    ]
    assert counts_over_time([], BEGIN) == [(at(0), 0)]


spans = st.tuples(st.integers(-9, 9), st.one_of(st.none(), st.integers(0, 9)))


@given(st.lists(spans))
def test_at_each_moment_the_count_is_that_of_the_instances_that_run(found):
    instances = [ran(start, None if rest is None else start + rest) for start, rest in found]
    counts = counts_over_time(instances, BEGIN)

    for minute in range(20):
        shown = [n for when, n in counts if when <= at(minute)][-1]
        assert shown == sum(
            one.started_at <= at(minute) and (one.ended_at is None or one.ended_at > at(minute))
            for one in instances
        )
