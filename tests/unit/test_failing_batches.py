"""Batches whose calls fail while others are answered."""

from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from batch_gateway.core.failing_batches import FailingBatches
from batch_gateway.core.ids import BatchId

BAD, GOOD = BatchId("batch_bad"), BatchId("batch_good")


@dataclass(frozen=True)
class Rules:
    failures: int = 3
    pause_s: float = 1.0
    pause_max_s: float = 8.0


def fail(batches: FailingBatches, times: int, now: float, batch: BatchId = BAD) -> list[bool]:
    return [batches.failed(batch, now, started_at=now) for _ in range(times)]


def isolated() -> FailingBatches:
    batches = FailingBatches(Rules())
    for now in (1.0, 2.0):
        fail(batches, 3, now)
        batches.answered(GOOD, now + 0.5)
    assert batches.isolated(BAD)
    return batches


def test_a_batch_is_isolated_when_others_were_answered_after_its_failures_twice() -> None:
    batches = FailingBatches(Rules())

    assert fail(batches, 3, 1.0) == [True] * 3
    assert batches.failing(1.0) == [BAD]
    assert batches.answered(GOOD, 1.5) == []
    assert batches.failing(1.5) == []  # the endpoint may have been unavailable
    assert fail(batches, 3, 2.0) == [True] * 3
    assert batches.answered(GOOD, 2.5) == [BAD]

    assert batches.isolated(BAD)
    assert not batches.isolated(GOOD)
    assert batches.failing(2.5) == [BAD]


def test_calls_that_began_before_the_endpoint_was_available_again_are_not_counted() -> None:
    batches = FailingBatches(Rules())
    fail(batches, 3, 1.0)
    batches.answered(GOOD, 1.5)

    for _ in range(9):
        batches.failed(BAD, 2.0, started_at=1.2)

    assert batches.answered(GOOD, 2.5) == []


def test_few_failures_isolate_no_batch() -> None:
    batches = FailingBatches(Rules())
    for now in range(20):
        fail(batches, 2, now)
        batches.answered(BAD if now % 2 else GOOD, now + 0.5)

    assert not batches.isolated(BAD)


def test_an_isolated_batch_has_one_call_at_a_time_with_pauses_that_double() -> None:
    batches = isolated()
    now, began = 2.5, []
    while len(began) < 5:
        if batches.allows(BAD, now):
            batches.started(BAD, now)
            assert not batches.allows(BAD, now)
            batches.failed(BAD, now, started_at=now)
            began.append(now)
        now += 0.5

    assert [round(b - a) for a, b in pairwise(began)] == [2, 4, 8, 8]
    assert batches.allows(GOOD, now)


def test_its_failures_say_something_about_the_endpoint_only_if_no_other_was_answered() -> None:
    batches = isolated()

    assert fail(batches, 1, 3.0) == [False]
    assert fail(batches, 1, 4.0) == [True]
    batches.answered(GOOD, 4.5)
    assert fail(batches, 1, 5.0) == [False]


def test_an_answer_of_its_own_ends_the_isolation() -> None:
    batches = isolated()

    batches.answered(BAD, 3.0)

    assert not batches.isolated(BAD)
    assert batches.failures(BAD) == (0, 0)


def test_what_failed_long_ago_or_beyond_the_bound_is_forgotten() -> None:
    batches = isolated()
    assert batches.failing(100.0) == [BAD]
    assert batches.failing(1000.0) == []
    assert batches.allows(BAD, 1000.0)

    for number in range(200):
        fail(batches, 3, 2000.0, BatchId(f"batch_{number}"))

    assert len(batches.failing(2000.0)) == 64


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_a_batch_whose_calls_are_answered_is_never_isolated(calls: list[tuple[str, bool]]) -> None:
    batches = FailingBatches(Rules(failures=1))
    for now, (name, answered) in enumerate(calls):
        batch = BatchId(name)
        if answered:
            batches.answered(batch, now)
            assert not batches.isolated(batch)
        else:
            batches.failed(batch, now, started_at=now)
        answered_last = dict(calls[: now + 1])
        for other, ok in answered_last.items():
            assert not (ok and batches.isolated(BatchId(other)))
