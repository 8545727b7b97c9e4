"""Cron expressions of five fields: calendars of endpoints and the schedules of PingSources."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)
_HORIZON = timedelta(days=4 * 366 + 1)  # a 29 February comes round within it

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


@dataclass(frozen=True, slots=True)
class CronSchedule:
    """Minutes that a cron expression matches; cron's own rules, five fields.

    ``minute hour day month weekday``, each ``*``, a number, a range ``a-b``, either with a step
    ``/n``, or a list of those; months and weekdays also by their first three letters; 0 and 7 are
    Sunday. Where day and weekday are both restricted, either is enough.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  # 0 is Sunday
    either_day: bool  # day and weekday are both restricted

    def matches(self, local: datetime) -> bool:
        return (
            local.minute in self.minutes
            and local.hour in self.hours
            and local.month in self.months
            and self._day(local)
        )

    def next(self, after: datetime) -> datetime:
        """The first minute later than ``after`` that matches. Raises ValueError if none does."""
        moment = after.replace(second=0, microsecond=0) + _MINUTE
        while moment - after < _HORIZON:
            if moment.month not in self.months or not self._day(moment):
                moment = (moment + _DAY).replace(hour=0, minute=0)
            elif moment.hour not in self.hours or moment.minute not in self.minutes:
                moment += _MINUTE
            else:
                return moment
        raise ValueError("the schedule names no day that exists")

    def splits(self, local: datetime) -> bool:
        """Whether only some minutes of this hour match."""
        return len(self.minutes) < 60 and local.hour in self.hours

    def _day(self, local: datetime) -> bool:
        day = local.day in self.days
        weekday = local.isoweekday() % 7 in self.weekdays
        return day or weekday if self.either_day else day and weekday


def parse_cron(text: str) -> CronSchedule:
    """Raises ValueError with the name of the wrong field."""
    fields = text.split()
    if len(fields) != 5:
        raise ValueError(f"{text!r} must have five fields: minute hour day month weekday")
    minute, hour, day, month, weekday = fields
    return CronSchedule(
        minutes=_field("minute", minute, 0, 59),
        hours=_field("hour", hour, 0, 23),
        days=_field("day", day, 1, 31),
        months=_field("month", month, 1, 12, {name: n for n, name in enumerate(_MONTHS, 1)}),
        weekdays=frozenset(
            n % 7
            for n in _field("weekday", weekday, 0, 7, {name: n for n, name in enumerate(_WEEKDAYS)})
        ),
        either_day=not (day.startswith("*") or weekday.startswith("*")),
    )


def _field(
    name: str, text: str, first: int, last: int, names: Mapping[str, int] | None = None
) -> frozenset[int]:
    """The numbers of one field."""
    found: set[int] = set()
    for item in text.split(","):
        span, slash, step_text = item.partition("/")
        begin, dash, end = span.partition("-")
        try:
            low = first if span == "*" else _number(begin, names)
            if span == "*" or (slash and not dash):
                high = last
            else:
                high = _number(end, names) if dash else low
            if names and dash and high == 0 == first:  # fri-sun
                high = last
            step = int(step_text) if slash else 1
        except ValueError:
            raise ValueError(f"{name} {item!r} is not a number, a range or *") from None
        if not first <= low <= high <= last or step < 1:
            raise ValueError(f"{name} {item!r} is not within {first}-{last}")
        found.update(range(low, high + 1, step))
    return frozenset(found)


def _number(text: str, names: Mapping[str, int] | None) -> int:
    if names is not None and (named := names.get(text.lower())) is not None:
        return named
    if not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    return int(text)
