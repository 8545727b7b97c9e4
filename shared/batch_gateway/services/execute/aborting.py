"""Which calls an activation aborts when interactive users need their slots.

The youngest: they have cost least. Not those that were aborted often enough already, and none once
too much slot time was lost that way. When all slots are full of long calls, no lower limit helps a
user who comes now; giving slots back at once does.

A line that was aborted is sent again as soon as it is calm. Until then others go first, or the
same few would be aborted again and again until they may not be any more.
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta

from batch_gateway.core.aborts import SlotTime
from batch_gateway.services.execute.holding import Work
from batch_gateway.settings import Watching


class Aborting:
    """One for all pools of an activation."""

    def __init__(self, settings: Watching) -> None:
        self._settings = settings
        self._clock = asyncio.get_running_loop().time
        self._time = SlotTime()
        self._as_of = self._clock()
        self._unrest_until = self._as_of

    def unrest(self) -> None:
        """Users wait just now."""
        self._unrest_until = self._clock() + self._settings.calm_s

    @property
    def calm(self) -> bool:
        """No user has waited for a while."""
        return self._clock() >= self._unrest_until

    def used(self, seconds: float) -> None:
        """A call has ended by itself after that long."""
        self._time = self._time.used(seconds)

    def choose(self, running: Iterable[Work], excess: int) -> Sequence[Work]:
        """Up to ``excess`` of the ``running`` lines whose calls are to be aborted."""
        if not self._settings.abort:
            return ()
        now = self._clock()
        self._time = self._time.after(timedelta(seconds=now - self._as_of))
        self._as_of = now
        chosen: list[Work] = []
        for work in sorted(running, key=lambda work: -work.started_at):
            age = now - work.started_at
            if len(chosen) == excess or not self._time.affords(age, self._settings.abort_share):
                break
            if work.aborts < self._settings.abort_times:
                self._time = self._time.wasted(age)
                chosen.append(work)
        return chosen
