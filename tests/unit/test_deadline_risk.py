from datetime import timedelta

import pytest
from fixtures.metadata import T0, a_batch

from batch_gateway.core.deadline_risk import is_at_risk
from batch_gateway.core.model import LineCounts

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("hours", "done", "expected"),
    [
        (0.5, 0, False),  # too early to tell
        (2.4, 0, False),
        (2.5, 0, True),
        (5, 50, False),
        (5, 49, True),
        (9.9, 99, False),
        (11, 100, True),
    ],
)
def test_without_an_estimate_a_batch_is_late_if_less_of_it_is_done_than_of_its_time_is_gone(
    hours, done, expected
):
    batch = a_batch(deadline=T0 + 10 * HOUR, counts=LineCounts(total=100, completed=done))

    assert is_at_risk(batch, T0 + hours * HOUR) is expected


@pytest.mark.parametrize(
    ("hours", "end", "expected"),
    [
        (0.4, 30, False),  # of the first minutes nothing follows
        (0.5, 10.1, True),
        (0.5, 9.9, False),
        (5, 9.9, False),  # although only a tenth is done
        (9.9, 10.1, True),
    ],
)
def test_where_its_end_is_foreseen_only_that_counts(hours, end, expected):
    counts = LineCounts(total=100, completed=10)
    batch = a_batch(deadline=T0 + 10 * HOUR, counts=counts)

    foreseen = batch.evolve(estimated_completion_at=T0 + end * HOUR)

    assert is_at_risk(foreseen, T0 + hours * HOUR) is expected


def test_a_batch_that_waits_to_be_planned_can_be_late():
    assert is_at_risk(a_batch(deadline=T0 + HOUR), T0 + HOUR / 2)
    assert not is_at_risk(a_batch(deadline=T0), T0 - HOUR)
