"""Calendars: the number of concurrent calls that an endpoint allows at a given time.

A window is open in every minute that one of its cron expressions matches, by the clock on the wall
of the zone. So whether it is open is a plain question about one instant, and summer time needs no
rule: a skipped hour is never open, a repeated one is open twice. Of several open windows the
lowest limit holds; a window never allows more than there is without it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_MINUTE = timedelta(minutes=1)
#: A change that is further away is none.
HORIZON = timedelta(days=366)

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


@dataclass(frozen=True, slots=True)
class Cron:
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

    def splits(self, local: datetime) -> bool:
        """Whether only some minutes of this hour match."""
        return len(self.minutes) < 60 and local.hour in self.hours

    def _day(self, local: datetime) -> bool:
        day = local.day in self.days
        weekday = local.isoweekday() % 7 in self.weekdays
        return day or weekday if self.either_day else day and weekday


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """At most ``most`` calls at once (0: none) while one of ``when`` matches."""

    when: tuple[Cron, ...]
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    zone: ZoneInfo
    windows: tuple[Window, ...]

    def ceiling(self, at: datetime, usual: int) -> int:
        """Calls allowed at once at the instant ``at``, where ``usual`` are without any window."""
        local = at.astimezone(self.zone)
        limits = (
            window.most
            for window in self.windows
            if any(cron.matches(local) for cron in window.when)
        )
        return min((usual, *limits))

    def next_change(self, after: datetime, usual: int) -> datetime | None:
        """The first instant after ``after`` with another ceiling; None: none within a year."""
        before = self.ceiling(after, usual)
        at = after.astimezone(UTC).replace(second=0, microsecond=0)
        end = at + HORIZON
        while at < end:
            at += self._step(at)
            if self.ceiling(at, usual) != before:
                return at
        return None

    def _step(self, at: datetime) -> timedelta:
        """How long after the full minute ``at`` the ceiling may be different at the earliest."""
        local = at.astimezone(self.zone)
        if any(cron.splits(local) for window in self.windows for cron in window.when):
            return _MINUTE
        return timedelta(minutes=60 - local.minute)


def parse_cron(text: str) -> Cron:
    """Raises ValueError, saying which field is wrong."""
    fields = text.split()
    if len(fields) != 5:
        raise ValueError(f"{text!r} must have five fields: minute hour day month weekday")
    minute, hour, day, month, weekday = fields
    return Cron(
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
