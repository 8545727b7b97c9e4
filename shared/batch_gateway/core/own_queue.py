"""Tells whether a probe waits behind our own calls or behind those of others.

An engine without metrics shows its queue by probes alone, and a probe waits for our own calls as it
does for users'. Engines take requests in order of arrival, more or less. So a probe that was sent
beside ``n`` of our calls, and answered in time although only ``c`` of them ended meanwhile, proves
that ``n + 1 - c`` requests fit beside those of others. Afterwards,

- a probe that is late although less than that many of our calls ran waits for others;
- any other one waits for ours, until more of our calls have ended than were too many.

For our own queue the limit is lowered, but no call is aborted.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import timedelta

from batch_gateway.core.limits import MonitorSignal

_EXPLORE_S = 10.0  # that the limit stays at what fits, until more is tried; doubles up to
_LONGEST_S = 160.0
_QUICK = 3  # calls that end during a probe in time: no user notices one that waits


@dataclass(slots=True)
class OwnQueue:
    """Times are seconds of any monotonic clock; ended calls are counted from any start."""

    window: timedelta = timedelta(minutes=5)
    _fits: deque[tuple[float, int]] = field(default_factory=deque)  # falling, by time
    _passed: int = 0  # calls that end during a probe in time, about the most of lately
    _running: int = 0  # when the present probe was sent
    _ended: int = 0
    _beyond: float | None = None  # since when more have ended than were too many
    _explore_at: float = 0.0
    _hold_s: float = _EXPLORE_S

    @property
    def fits(self) -> int | None:
        """Requests that fit beside those of others, as was seen lately; None: not known."""
        return self._fits[0][1] if self._fits else None

    def sent(self, running: int, ended: int) -> None:
        """A probe is sent beside ``running`` calls of ours; ``ended`` have ended until now."""
        self._running, self._ended, self._beyond = running, ended, None

    def answered(
        self, signal: MonitorSignal, at: float, running: int, ended: int, *, in_time: bool
    ) -> MonitorSignal:
        """What ``signal`` says of a probe that was answered at ``at``, ``in_time`` or not.

        It adds no slot beyond those that are known to fit, but now and then, or while calls end so
        quickly that one more is not noticed.
        """
        if in_time:
            self._prove(at, ended - self._ended)
        full = self.fits is not None and running >= self.fits - 1 and self._passed < _QUICK
        if signal.room and signal.room > 0 and full and at < self._explore_at:
            return replace(signal, room=0)
        return signal

    def late(
        self,
        signal: MonitorSignal,
        looks: int,
        at: float,
        running: int,
        ended: int,
        usual: timedelta | None,
        wait: timedelta,
    ) -> MonitorSignal:
        """What ``signal`` says of a probe that is unanswered at the look of this number.

        An answer that begins without waiting is there after ``usual`` and ``wait``.
        """
        answer = (usual or timedelta(0)) + wait
        if not signal.users_wait or self._others_wait(at, ended, answer.total_seconds()):
            return signal
        room = -self._give_up(at, running) if looks == 1 else 0
        return replace(signal, users_wait=False, room=room)

    def _prove(self, at: float, passed: int) -> None:
        self._passed = max(passed, self._passed // 2)
        fits = self._running + 1 - passed
        if self.fits is None or fits > self.fits:
            self._hold_s = _EXPLORE_S
        while self._fits and self._fits[-1][1] <= fits:
            self._fits.pop()
        self._fits.append((at, fits))
        while self._fits[0][0] < at - self.window.total_seconds():
            self._fits.popleft()

    def _others_wait(self, at: float, ended: int, answer_s: float) -> bool:
        fits = self.fits
        if fits is None:
            return False
        if self._running < fits:
            return True
        too_many = self._running - fits + 1 + self._passed
        if ended - self._ended <= too_many:
            return False
        if self._beyond is None:
            self._beyond = at
        return at - self._beyond >= answer_s

    def _give_up(self, at: float, running: int) -> int:
        """How many of our ``running`` calls are too many: the next probe is to find room.

        More is tried again after a while, and later each time that it was in vain.
        """
        if at >= self._explore_at:
            self._explore_at = at + self._hold_s
            self._hold_s = min(2 * self._hold_s, _LONGEST_S)
        return max(1, running - max(0, (self.fits or 0) - 1 + self._passed))
