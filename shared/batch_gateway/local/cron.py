"""Cron schedules of five fields, as PingSources write them.

Each field is ``*``, a number, a range, a list of those, any of them with a ``/step``. As in every
cron, a day matches if either day field does when both are restricted.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_HORIZON = timedelta(days=4 * 366 + 1)  # a 29 February comes round within it
_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)


class Cron:
    """Raises ValueError for a schedule that it does not understand."""

    def __init__(self, schedule: str) -> None:
        fields = schedule.split()
        if len(fields) != len(_FIELDS):
            raise ValueError(f"a schedule has five fields: {schedule!r}")
        minutes, hours, days, months, weekdays = (
            frozenset(_values(field, low, high))
            for field, (_, low, high) in zip(fields, _FIELDS, strict=True)
        )
        self._minutes, self._hours, self._days, self._months = minutes, hours, days, months
        self._weekdays = frozenset(day % 7 for day in weekdays)  # 0 and 7 are both Sunday
        self._either_day = "*" not in (fields[2][0], fields[4][0])

    def next(self, after: datetime) -> datetime:
        """The first minute of the schedule later than ``after``. Raises ValueError if none."""
        moment = after.replace(second=0, microsecond=0) + _MINUTE
        while moment - after < _HORIZON:
            if not self._on(moment):
                moment = (moment + _DAY).replace(hour=0, minute=0)
            elif moment.hour not in self._hours or moment.minute not in self._minutes:
                moment += _MINUTE
            else:
                return moment
        raise ValueError("the schedule names no day that exists")

    def _on(self, moment: datetime) -> bool:
        day = moment.day in self._days
        weekday = moment.isoweekday() % 7 in self._weekdays
        matches = (day or weekday) if self._either_day else (day and weekday)
        return matches and moment.month in self._months


def _values(field: str, low: int, high: int) -> Iterable[int]:
    for item in field.split(","):
        span, _, step = item.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            start, end = low, high
        else:
            start = int(first)
            end = int(last) if dash else (high if step else start)
        if not low <= start <= end <= high:
            raise ValueError(f"{item!r} is not between {low} and {high}")
        yield from range(start, end + 1, int(step or 1))
