"""Cron expressions: which minutes match, and which comes next."""

from datetime import datetime

import pytest

from batch_gateway.core.cron import parse_cron


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
        ("0 9 * * mon-fri", "2026-01-02T09:00:00", "2026-01-05T09:00:00"),
        ("20/20 * * * *", "2026-01-01T00:21:00", "2026-01-01T00:40:00"),
    ],
)
def test_the_next_tick_is_the_first_minute_that_matches(schedule, after, due):
    assert parse_cron(schedule).next(datetime.fromisoformat(after)) == datetime.fromisoformat(due)


@pytest.mark.parametrize(
    "schedule",
    ["", "* * * *", "60 * * * *", "* 24 * * *", "5-1 * * * *", "x * * * *", "*/0 * * * *"],
)
def test_nonsense_is_refused(schedule):
    with pytest.raises(ValueError, match=r".+"):
        parse_cron(schedule)


def test_a_day_that_never_comes_is_refused():
    with pytest.raises(ValueError, match="no day that exists"):
        parse_cron("0 0 30 2 *").next(datetime.fromisoformat("2026-01-01"))


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("*/15 * * * *", "2026-11-26 10:45", "2026-11-26 10:46"),
        ("5/20 * * * *", "2026-11-26 10:25", "2026-11-26 10:20"),
        ("* * * * 7", "2026-11-29 10:00", "2026-11-30 10:00"),
        ("* * * * fri-sun", "2026-11-29 10:00", "2026-11-30 10:00"),
        ("* * 13 * fri", "2026-11-27 10:00", "2026-11-26 10:00"),  # either is enough
        ("* * 26 NOV *", "2026-11-26 10:00", "2026-12-26 10:00"),
        ("0,30 6-8,20 * * *", "2026-11-26 20:30", "2026-11-26 20:31"),
    ],
)
def test_cron_expressions_mean_what_cron_means_by_them(text, inside, outside):
    cron = parse_cron(text)

    assert cron.matches(datetime.fromisoformat(inside))
    assert not cron.matches(datetime.fromisoformat(outside))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("* * * *", "five fields"),
        ("60 * * * *", "minute '60' is not within 0-59"),
        ("* 17-9 * * *", "hour '17-9' is not within 0-23"),
        ("* * 0 * *", "day '0' is not within 1-31"),
        ("* * * foo *", "month 'foo' is not a number"),
        ("* * * * */0", "weekday '*/0' is not within 0-7"),
        ("*  * * * -", "weekday '-' is not a number"),
        ("² * * * *", "minute '²' is not a number"),
    ],
)
def test_a_wrong_cron_expression_names_its_field(text, message):
    with pytest.raises(ValueError, match=message.replace("*", r"\*").replace("[", r"\[")):
        parse_cron(text)
