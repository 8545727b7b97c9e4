"""Calendars: the number of concurrent calls that an endpoint allows at a given time.

A window is open in every minute that one of its cron expressions matches, by the clock on the wall
of the zone. So whether it is open is a plain question about one instant, and summer time needs no
rule: a skipped hour is never open, a repeated one is open twice. Of several open windows the
lowest limit holds; a window never allows more than there is without it.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from batch_gateway.core.cron import CronSchedule

_MINUTE = timedelta(minutes=1)
#: A change that is further away is none.
HORIZON = timedelta(days=366)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimitWindow:
    """At most ``most`` calls at once (0: none) while one of ``when`` matches."""

    when: tuple[CronSchedule, ...]
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointCalendar:
    zone: ZoneInfo
    windows: tuple[CallLimitWindow, ...]

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
