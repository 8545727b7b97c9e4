"""When a PingSource ticks."""

from datetime import datetime

import pytest

from batch_gateway.local.cron import Cron


@pytest.mark.parametrize(
    ("schedule", "after", "due"),
    [
        ("* * * * *", "2026-01-31T23:59:30", "2026-02-01T00:00:00"),
        ("* * * * *", "2026-01-31T23:59:00", "2026-02-01T00:00:00"),
        ("*/15 * * * *", "2026-01-01T10:15:00", "2026-01-01T10:30:00"),
        ("5,50-52 3 * * *", "2026-01-01T03:05:00", "2026-01-01T03:50:00"),
        ("0 0 1 */3 *", "2026-01-01T00:00:00", "2026-04-01T00:00:00"),
        ("0 9 * * 1-5", "2026-01-02T09:00:00", "2026-01-05T09:00:00"),  # Friday -> Monday
        ("0 0 * * 7", "2026-01-01T00:00:00", "2026-01-04T00:00:00"),  # Sunday, as 0
        ("0 0 13 * 5", "2026-01-03T00:00:00", "2026-01-09T00:00:00"),  # the 13th or a Friday
        ("0 0 29 2 *", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("20/20 * * * *", "2026-01-01T00:21:00", "2026-01-01T00:40:00"),
    ],
)
def test_the_next_tick_is_the_first_minute_that_matches(schedule, after, due):
    assert Cron(schedule).next(datetime.fromisoformat(after)) == datetime.fromisoformat(due)


@pytest.mark.parametrize(
    "schedule",
    ["", "* * * *", "60 * * * *", "* 24 * * *", "5-1 * * * *", "x * * * *", "*/0 * * * *"],
)
def test_nonsense_is_refused(schedule):
    with pytest.raises(ValueError, match=r".+"):
        Cron(schedule)


def test_a_day_that_never_comes_is_refused():
    with pytest.raises(ValueError, match="no day that exists"):
        Cron("0 0 30 2 *").next(datetime.fromisoformat("2026-01-01"))
