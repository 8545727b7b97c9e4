"""Decides whether a probe waits behind our own calls or behind those of others.

An engine without metrics shows its queue by probes alone, and a probe waits for our own calls as it
does for users'. Engines take requests in order of arrival, more or less. So a probe that was sent
beside ``n`` of our calls, and answered in time although only ``c`` of them ended meanwhile, proves
that ``n + 1 - c`` requests fit beside those of others. Afterwards,

- a probe that is late although less than that many of our calls ran waits for others;
- any other one waits for ours, until more of our calls have ended than were too many.

For our own queue the limit is lowered, but no call is aborted.

*Our* calls are those of all executors. The one that probes counts its own at any moment, and those
of the others as of its last sync (``OtherExecutorCalls``). A probe is judged by those when all have
reported since; until then no call counts as a user's.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import timedelta

from batch_gateway.core.limits import MonitorSignal

_WINDOW_S = 300.0  # for which what fitted is remembered
_EXPLORE_S = 10.0  # that the limit stays at what fits, until more is tried; doubles up to
_LONGEST_S = 160.0
_QUICK = 3  # calls that end during a probe in time: no user notices one that waits


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherExecutorCalls:
    """Calls of the other executors in one engine, as they have reported them."""

    running: int = 0
    most: int = 0  # as many may run by now
    ended: int = 0  # that the engine has answered, counted from any start
    reported_after: float = 0.0  # the instant since when each of them has reported


NO_OTHERS = OtherExecutorCalls()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorCalls:
    """Calls of all executors in one engine at one moment, as counted by one of them."""

    running: int  # of this executor
    ended: int  # of this executor, that the engine has answered, counted from any start
    others: OtherExecutorCalls = NO_OTHERS

    @property
    def most(self) -> int:
        """As many run at most."""
        return self.running + self.others.most

    @property
    def all_ended(self) -> int:
        """Of all executors, as far as they have reported."""
        return self.ended + self.others.ended

    @property
    def about(self) -> int:
        """About as many run."""
        return self.running + self.others.running


@dataclass(slots=True, kw_only=True)
class _ProbeInTime:
    """A probe that was answered in time, until all other executors have reported since."""

    at: float  # when it was answered
    running: int  # calls of this executor when it was sent
    passed: int  # of those that ended since
    others: int  # the least that ran since it was sent
    others_ended: int  # when it was sent


@dataclass(slots=True)
class _Most:
    """The greatest of the numbers that were added within ``window_s``."""

    window_s: float
    _falling: deque[tuple[float, int]] = field(default_factory=deque)  # by time

    def add(self, at: float, number: int) -> None:
        while self._falling and self._falling[-1][1] <= number:
            self._falling.pop()
        self._falling.append((at, number))
        while self._falling[0][0] < at - self.window_s:
            self._falling.popleft()

    @property
    def now(self) -> int | None:
        """None: nothing was added."""
        return self._falling[0][1] if self._falling else None


@dataclass(slots=True)
class ProbeDelayClassifier:
    """Times are seconds of any monotonic clock."""

    _fits: _Most = field(default_factory=lambda: _Most(_WINDOW_S))  # about
    _proven: _Most = field(default_factory=lambda: _Most(_WINDOW_S))  # at least
    _passed: int = 0  # calls that end during a probe in time, about the most of lately
    _sent: ExecutorCalls = ExecutorCalls(running=0, ended=0)  # when the present probe was sent
    _sent_at: float = 0.0
    _others_ended: int | None = None  # by a moment after that; None: it is not known yet
    _in_time: list[_ProbeInTime] = field(default_factory=list)
    _beyond: float | None = None  # since when more have ended than were too many
    _explore_at: float = 0.0
    _hold_s: float = _EXPLORE_S

    @property
    def fits(self) -> int | None:
        """About as many requests fit beside those of users, as was seen lately; None: not known."""
        return self._fits.now

    def sent(self, at: float, calls: ExecutorCalls) -> None:
        """A probe is sent at ``at`` beside ``calls``."""
        self._take_up(calls)
        self._sent, self._sent_at = calls, at
        self._beyond = self._others_ended = None

    def answered(
        self, signal: MonitorSignal, at: float, calls: ExecutorCalls, *, in_time: bool
    ) -> MonitorSignal:
        """The signal after a probe that was answered at ``at``, ``in_time`` or not.

        It adds no slot beyond those that are known to fit, but now and then, or while calls end so
        quickly that one more is not noticed.
        """
        self._take_up(calls)
        if in_time:
            self._prove(at, calls)
        full = self.fits is not None and calls.about >= self.fits - 1 and self._passed < _QUICK
        if signal.room and signal.room > 0 and full and at < self._explore_at:
            return replace(signal, room=0)
        return signal

    def late(
        self,
        signal: MonitorSignal,
        looks: int,
        at: float,
        calls: ExecutorCalls,
        usual: timedelta | None,
        wait: timedelta,
    ) -> MonitorSignal:
        """The signal for a probe that is unanswered at the check of this number.

        An answer that begins without waiting is there after ``usual`` and ``wait``.
        """
        self._take_up(calls)
        answer = (usual or timedelta(0)) + wait
        if not signal.users_wait or self._others_wait(at, calls, answer.total_seconds()):
            return signal
        room = -self._give_up(at, calls.about) if looks == 1 else 0
        return replace(signal, users_wait=False, room=room)

    def _prove(self, at: float, calls: ExecutorCalls) -> None:
        sent, others = self._sent, calls.others
        passed = calls.ended - sent.ended
        lately = passed + max(0, others.ended - sent.others.ended)
        self._passed = max(lately, self._passed // 2)
        fits = sent.about + 1 - lately
        if self.fits is None or fits > self.fits:
            self._hold_s = _EXPLORE_S
        self._fits.add(at, fits)
        if not sent.others.most and not others.most:
            self._proven.add(at, fits)
            return
        self._in_time.append(
            _ProbeInTime(
                at=at,
                running=sent.running,
                passed=passed,
                others=min(sent.others.running, others.running),
                others_ended=sent.others.ended,
            )
        )

    def _take_up(self, calls: ExecutorCalls) -> None:
        """What the other executors have reported by now."""
        others, waiting = calls.others, []
        if self._others_ended is None and others.reported_after >= self._sent_at:
            self._others_ended = others.ended
        for probe in self._in_time:
            probe.others = min(probe.others, others.running)
            if others.reported_after < probe.at:
                waiting.append(probe)
                continue
            passed = probe.passed + max(0, others.ended - probe.others_ended)
            self._proven.add(probe.at, probe.running + probe.others + 1 - passed)
        self._in_time = waiting

    def _others_wait(self, at: float, calls: ExecutorCalls, answer_s: float) -> bool:
        fits = self._proven.now
        if fits is None:
            return False
        running = self._sent.most
        if running < fits:
            return True
        too_many = running - fits + 1 + self._passed
        ended = calls.ended - self._sent.ended
        if self._others_ended is not None:
            ended += max(0, calls.others.ended - self._others_ended)
        if ended <= too_many:
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
