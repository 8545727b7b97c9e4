"""Selects the calls to abort when interactive users need their slots.

The youngest calls are aborted first: they have cost least. A line that was preempted often enough
is left alone, and no call is aborted once too much slot time was lost that way. When all slots are
full of long calls, a lower limit does not help a user who comes now; giving slots back at once
does.

A preempted line is sent again as soon as it is calm: no user has waited for some seconds, or the
pool has about as much room as it had at best lately (near its limit some user always waits for a
moment). Until then other lines go first. Otherwise the same few would be preempted again and again
until they may not be any more, just when every slot counts. Where there are no other lines, they
need not wait while half of the slots are free: the end of a batch would only come later.
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta

from batch_gateway.core.preemption_budget import PreemptionBudget
from batch_gateway.services.execute.line_in_flight import LineInFlight
from batch_gateway.settings import EngineMonitorSettings

_AMPLE = 0.75  # of the most that a pool's limit was lately
_LATELY = timedelta(minutes=5)  # half-life of that memory


class LimitHeadroom:
    """How a pool's limit stands against the most that it was lately."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._as_of = self._clock()
        self._limit = self._most = 0.0

    def now(self, limit: int) -> None:
        """The limit is ``limit`` now."""
        passed = timedelta(seconds=self._clock() - self._as_of)
        self._as_of = self._clock()
        self._limit = limit
        self._most = max(limit, self._most * 0.5 ** (passed / _LATELY))

    @property
    def ample(self) -> bool:
        return self._limit >= _AMPLE * self._most

    def mostly_free(self, in_use: int) -> bool:
        """Whether less than half of the slots would be used by ``in_use`` calls."""
        return 2 * in_use < self._limit


class Preemption:
    """One for all pools of an activation."""

    def __init__(self, settings: EngineMonitorSettings) -> None:
        self._settings = settings
        self._clock = asyncio.get_running_loop().time
        self._time = PreemptionBudget()
        self._used_s = 0.0  # by calls that ended by themselves, and not yet part of ``_time``
        self._as_of = self._clock()
        self._unrest_until = self._as_of

    def unrest(self) -> None:
        """Users wait just now."""
        self._unrest_until = self._clock() + self._settings.calm_s

    def calm(self, room: "LimitHeadroom") -> bool:
        """Whether preempted lines of a pool with that ``room`` are to be sent again."""
        return self._clock() >= self._unrest_until or room.ample

    def used(self, seconds: float) -> None:
        """A call has ended by itself after that long."""
        self._used_s += seconds

    def choose(self, running: Iterable[LineInFlight], excess: int) -> Sequence[LineInFlight]:
        """Up to ``excess`` of the ``running`` lines whose calls are to be aborted."""
        if not self._settings.abort:
            return ()
        now = self._clock()
        passed = timedelta(seconds=now - self._as_of)
        self._time = self._time.used(self._used_s).after(passed)
        self._used_s = 0.0
        self._as_of = now
        chosen: list[LineInFlight] = []
        for work in sorted(running, key=lambda work: -work.started_at):
            age = now - work.started_at
            if len(chosen) == excess or not self._time.affords(age, self._settings.abort_share):
                break
            if work.aborts < self._settings.abort_times:
                self._time = self._time.wasted(age)
                chosen.append(work)
        return chosen
