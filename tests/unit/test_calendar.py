"""Off-peak calendars: what is allowed at an instant, and when that changes."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_gateway.core.calendar import CallLimitWindow, EndpointCalendar
from batch_gateway.core.cron import parse_cron

BERLIN = ZoneInfo("Europe/Berlin")
MINUTE = timedelta(minutes=1)


def calendar(*windows: tuple[str, int], zone: ZoneInfo = BERLIN) -> EndpointCalendar:
    return EndpointCalendar(
        zone=zone,
        windows=tuple(
            CallLimitWindow(when=(parse_cron(cron),), most=most) for cron, most in windows
        ),
    )


def berlin(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).astimezone(UTC)


OFFICE_HOURS = calendar(("* 9-17 * * mon-fri", 2))


@pytest.mark.parametrize(
    ("at", "most"),
    [
        ("2026-11-26 08:59", 64),  # a Thursday
        ("2026-11-26 09:00", 2),
        ("2026-11-26 17:59", 2),
        ("2026-11-26 18:00", 64),
        ("2026-11-28 12:00", 64),  # a Saturday
    ],
)
def test_nearly_nothing_runs_in_office_hours(at, most):
    assert OFFICE_HOURS.ceiling(berlin(at), 64) == most


@pytest.mark.parametrize(
    ("after", "change"),
    [
        ("2026-11-26 03:00", "2026-11-26 09:00"),
        ("2026-11-26 09:00", "2026-11-26 18:00"),
        ("2026-11-27 18:00", "2026-11-30 09:00"),  # over the weekend
    ],
)
def test_the_next_change_is_known(after, change):
    assert OFFICE_HOURS.next_change(berlin(after), 64) == berlin(change)


def test_a_window_never_allows_more_than_there_is():
    assert calendar(("* * * * *", 100)).ceiling(berlin("2026-11-26 03:00"), 64) == 64


def test_of_several_open_windows_the_lowest_holds():
    both = calendar(("* * * * *", 10), ("* 9-17 * * *", 0))

    assert both.ceiling(berlin("2026-11-26 12:00"), 64) == 0
    assert both.ceiling(berlin("2026-11-26 20:00"), 64) == 10


def test_what_never_changes_has_no_next_change():
    assert calendar(("* * * * *", 3)).next_change(berlin("2026-11-26 03:00"), 64) is None
    assert calendar().next_change(berlin("2026-11-26 03:00"), 64) is None


def test_summer_time_moves_the_window_with_the_clock_on_the_wall():
    night = calendar(("* 22-23 * * *", 0))

    assert night.next_change(berlin("2026-03-28 12:00"), 1) == datetime(
        2026, 3, 28, 21, 0, tzinfo=UTC
    )
    assert night.next_change(berlin("2026-03-29 12:00"), 1) == datetime(
        2026, 3, 29, 20, 0, tzinfo=UTC
    )


def test_an_hour_that_is_skipped_is_never_open_and_one_that_is_repeated_is_open_twice():
    two_o_clock = calendar(("* 2 * * *", 0))

    skipped = two_o_clock.next_change(datetime(2026, 3, 29, 0, 0, tzinfo=UTC), 1)
    assert skipped == datetime(2026, 3, 30, 0, 0, tzinfo=UTC)
    begin = two_o_clock.next_change(datetime(2026, 10, 24, 12, 0, tzinfo=UTC), 1)
    assert begin == datetime(2026, 10, 25, 0, 0, tzinfo=UTC)
    assert two_o_clock.next_change(begin, 1) == datetime(2026, 10, 25, 2, 0, tzinfo=UTC)


windows = st.sampled_from(
    [
        ("* 9-17 * * mon-fri", 2),
        ("30-59 8 * * *", 0),
        ("*/20 3 1,15 * *", 1),
        ("* * * * sat,sun", 50),
        ("* 0-5/2 * nov-dec,jan *", 7),
        ("* * 26 * thu", 0),
    ]
)
zones = st.sampled_from(
    ["UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/New_York"]
)
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
instants = st.integers(0, 500 * 24 * 60).map(lambda minutes: BEGIN + minutes * MINUTE)


@settings(deadline=None, max_examples=30)  # each reads minutes one by one
@given(chosen=st.lists(windows, max_size=3), zone=zones, after=instants)
def test_nothing_changes_before_the_next_change(chosen, zone, after):
    times = calendar(*chosen, zone=ZoneInfo(zone))
    now = times.ceiling(after, 64)

    change = times.next_change(after, 64)

    end = after + timedelta(days=3) if change is None else change
    if change is not None:
        assert change > after
        assert times.ceiling(change, 64) != now
    at = max(after, end - timedelta(hours=4))
    while at < end:
        assert times.ceiling(at, 64) == now
        at += MINUTE
