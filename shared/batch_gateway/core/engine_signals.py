"""Turns an engine's metrics and probe results into signals for a pool's limit; pure functions.

Both judge for the same people: an interactive user waits exactly as long as the engine's queue is
and as long as a probe does. Metrics say more, because they show the queue and how much still fits;
the probe is for engines whose metrics cannot be reached. Either ends in a ``MonitorSignal``, which
``core.limits`` folds into the limit.

How much fits is not among the metrics; it is learned. Whenever requests wait, as many as run then
are what fits; whenever more run, that many do. Every now and then without a queue one more is
tried, then two, then four, because what fits depends on the requests.

A quick engine has a queue now and then for some hundredths of a second, whatever the limit: calls
come in bunches. How long a queue lasts at most is known, because it is known how many calls end.
One that a user would not notice is *brief*: it lowers the limit, but it is no evidence of how much
fits, and no call is aborted for it.
"""

import math
from collections import deque
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Protocol

from batch_gateway.core.limits import Brake, MonitorSignal

_LATELY = timedelta(seconds=1)  # half-life of what is known of the pace at which calls end
_EXPLORE = timedelta(seconds=10)  # without a queue, until one more than ever is tried
_STALLED = 0.5  # of what fitted; when less runs before a queue, the engine may be stalled
_BELIEVED = timedelta(seconds=2)  # how long it must be so until that is what fits
_FULL_CUT = 0.1  # of the running requests, when the cache is full


class MonitorRules(Protocol):
    """How metrics and probes are judged: the settings ``watching``, which document each value."""

    @property
    def keep_free(self) -> int: ...
    @property
    def stale(self) -> timedelta: ...
    @property
    def cache_full(self) -> float: ...
    @property
    def probe_wait(self) -> timedelta: ...
    @property
    def probe_cut(self) -> int: ...
    @property
    def probe_step(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineReading:
    """An engine's metrics (or a router's, of all its engines) at one moment."""

    running: float
    waiting: float
    cache: float | None = None  # share of the KV cache in use, 0..1; None: not reported
    saturation: float | None = None  # of a router's pool, 1 and above: full; None: not reported


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityEstimate:
    """How many requests an engine runs at once, as far as it is known."""

    most: float | None = None  # None: no queue was ever seen
    calm: timedelta = timedelta(0)  # since there was a queue, or since one more was tried
    low: timedelta = timedelta(0)  # since when a queue stands before far fewer than fitted
    step: float = 1.0  # how many more are tried next; doubles as long as there is no queue

    def after(
        self, reading: EngineReading, passed: timedelta, *, brief: bool = False
    ) -> "CapacityEstimate":
        """What is known ``passed`` after the last reading; a queue in it may be ``brief``.

        An engine that runs nothing although requests wait is stalled: no estimate. One that
        runs less than half of what fitted may be stalled in part (a long prompt, a pause of the
        scheduler): it counts only after it has lasted for a while.
        """
        if reading.waiting > 0 and not brief:
            if not reading.running:
                return replace(self, calm=timedelta(0))
            if self.most is None or reading.running >= self.most * _STALLED:
                return CapacityEstimate(most=reading.running)
            if self.low + passed >= _BELIEVED:
                return CapacityEstimate(most=reading.running)
            return replace(self, calm=timedelta(0), low=self.low + passed)
        if self.most is None:
            return self
        most = max(self.most, reading.running)
        if reading.waiting > 0:
            return CapacityEstimate(most=most)
        if self.calm + passed >= _EXPLORE:
            return CapacityEstimate(most=most + self.step, step=min(2 * self.step, max(1.0, most)))
        return CapacityEstimate(most=most, calm=self.calm + passed, step=self.step)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDrain:
    """How quickly requests leave an engine's queue, at least: others than ours end there too."""

    per_s: float = 0.0  # of our calls that ended lately

    def after(self, ended: int, passed: timedelta) -> "QueueDrain":
        """What is known when ``ended`` more have ended within ``passed``."""
        if not passed:
            return self
        kept = 0.5 ** (passed / _LATELY)
        return QueueDrain(per_s=kept * self.per_s + (1 - kept) * ended / passed.total_seconds())

    def brief(self, waiting: float, rules: MonitorRules) -> bool:
        """Whether a request that arrives now would wait for less than ``rules.probe_wait`` behind
        ``waiting``."""
        return waiting <= self.per_s * rules.probe_wait.total_seconds()


def engine_signal(
    reading: EngineReading,
    age: timedelta,
    fit: CapacityEstimate,
    rules: MonitorRules,
    *,
    brief: bool = False,
) -> MonitorSignal:
    """What metrics say that are ``age`` old; a queue in them may be ``brief``."""
    room, reason, users_wait = _engine_room(reading, fit, rules)
    if brief and reading.waiting > 0:
        reason, users_wait = f"{reason} for a moment", False
    if age > rules.stale and (room is None or room > 0):
        room, reason = 0, f"the engine's metrics are {age.total_seconds():.1f} s old"
    return MonitorSignal(
        brake=Brake.ENGINE,
        room=room,
        reason=reason,
        users_wait=users_wait,
        running=reading.running,
        waiting=reading.waiting,
        cache=reading.cache,
    )


def _engine_room(
    reading: EngineReading, fit: CapacityEstimate, rules: MonitorRules
) -> tuple[int | None, str, bool]:
    """Room, the reason, and whether users wait."""
    if reading.waiting > 0:
        room = -math.ceil(reading.waiting)  # a slot that stays free is no reason to abort a call
        return room, f"{reading.waiting:g} requests wait in the engine", True
    if reading.cache is not None and reading.cache >= rules.cache_full:
        cut = max(1, math.ceil(reading.running * _FULL_CUT))
        return -cut, f"{reading.cache:.0%} of the KV cache is in use", True
    if reading.saturation is not None and reading.saturation >= 1:
        return -1, f"the router's pool is saturated ({reading.saturation:.2f})", False
    if fit.most is None:
        return None, "no request waits in the engine", False
    room = math.floor(fit.most - reading.running) - rules.keep_free
    return room, f"{reading.running:g} of {fit.most:g} requests run in the engine", False


@dataclass(slots=True)
class TtftBaseline:
    """The time to first token of an engine at rest: the least within a window."""

    window: timedelta = timedelta(minutes=5)
    _least: deque[tuple[float, timedelta]] = field(default_factory=deque)  # rising, by age

    def add(self, at: float, ttft: timedelta) -> None:
        """A probe was answered at ``at`` (seconds of any monotonic clock)."""
        while self._least and self._least[-1][1] >= ttft:
            self._least.pop()
        self._least.append((at, ttft))
        while self._least[0][0] < at - self.window.total_seconds():
            self._least.popleft()

    @property
    def ttft(self) -> timedelta | None:
        """None: no probe was answered yet."""
        return self._least[0][1] if self._least else None


def probe_signal(
    *,
    ttft: timedelta | None,
    open_for: timedelta | None,
    looks: int = 1,
    usual: timedelta | None,
    rules: MonitorRules,
) -> MonitorSignal:
    """The signal of a probe.

    ``ttft``: of the one answered just now, None: none was; ``open_for``: the age of the one that is
    still unanswered, None: there is none; ``looks``: how many have found that one unanswered;
    ``usual``: that of an engine at rest, None: unknown.

    Most queues are gone with the next call that ends: the first look gives up one slot. One that is
    still there at the next is longer than that.
    """
    allowed = (usual or timedelta(0)) + rules.probe_wait
    shown = None if ttft is None else ttft / timedelta(milliseconds=1)
    if open_for is not None:
        late = usual is not None and open_for > allowed
        return MonitorSignal(
            brake=Brake.PROBE,
            room=-(1 if looks == 1 else rules.probe_cut) if late else 0,
            users_wait=late,
            reason=f"a probe has waited for {open_for.total_seconds():.2f} s",
            ttft_ms=shown,
        )
    assert ttft is not None
    return MonitorSignal(
        brake=Brake.PROBE,
        room=0 if ttft > allowed else rules.probe_step,
        reason=f"a probe was answered after {ttft.total_seconds():.2f} s",
        ttft_ms=shown,
    )
