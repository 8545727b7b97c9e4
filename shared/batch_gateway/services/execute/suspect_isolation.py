"""Keeps lines apart that were in flight when workers died, so that the next crash names its cause.

A *suspect* was in flight in one worker that died: it runs while no other suspect of its activation
does. An *accused* line was the one suspect of a second worker that died: it runs while no other
call of its activation is in flight at all. So only a line that was alone is ever written off.
"""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batch_gateway.services.execute.leased_shard import LeasedShard
    from batch_gateway.services.execute.line_in_flight import LineInFlight

ACCUSED = 2
"""Deaths of workers from which on a line runs alone."""
WRITTEN_OFF = ACCUSED + 1
"""Deaths of workers from which on a line is not tried again: it was alone in the last one."""
_LAPSE_S = 10.0  # an accused line that cannot start for so long keeps the others no longer


class SuspectIsolation:
    """Of one activation.

    An accused line *requests* isolation: from then on no other line starts until its call has ended
    and the outcome is stored. It requests it again after at least as long a time as that took,
    so at least half of the time is the others'.
    """

    def __init__(self) -> None:
        self.running = 0  # calls of the activation
        self.holder: LeasedShard | None = None  # whose suspect is in flight
        self.alone: LineInFlight | None = None  # the accused line that the others wait for
        self._asked_at = -math.inf  # loop.time()
        self._seen_at = -math.inf  # time of its last request
        self._rest_until = -math.inf

    def is_free(self) -> bool:
        """No suspect is in flight."""
        return self.holder is None

    def stops(self, shard: "LeasedShard", now: float) -> bool:
        """Whether ``shard`` starts no line for the sake of another shard's accused line."""
        if self.alone is None or self.alone.shard is shard:
            return False
        if self._lapsed(now):
            self._give_up(self.alone, now)
        return self.alone is not None

    def may_ask(self, work: "LineInFlight", now: float) -> bool:
        """Whether ``work`` is the accused line that is to run next, or could be."""
        return self.alone is work if self.alone is not None else now >= self._rest_until

    def ask(self, work: "LineInFlight", now: float) -> bool:
        """Ask for ``work`` to be alone; whether it is."""
        if not self.may_ask(work, now):
            return False
        if self.alone is None:
            self.alone, self._asked_at = work, now
        self._seen_at = now
        return not self.running

    def release(self, work: "LineInFlight", now: float) -> None:
        """Let the others continue, if they have waited for ``work``."""
        if self.alone is work:
            self.alone = None
            self._rest_until = now + (now - self._asked_at)

    def leave(self, shard: "LeasedShard") -> None:
        """``shard`` is not held any more."""
        if self.holder is shard:
            self.holder = None
        if self.alone is not None and self.alone.shard is shard:
            self.alone = None

    def _lapsed(self, now: float) -> bool:
        assert self.alone is not None
        shard = self.alone.shard
        busy = shard.running or shard.writing.locked()
        return not busy and now >= self._seen_at + _LAPSE_S

    def _give_up(self, work: "LineInFlight", now: float) -> None:
        """A note that is stored is taken back before others start, if that can be done soon."""
        if work.noted:
            work.noted, self._seen_at = False, now
        else:
            self.release(work, now)
