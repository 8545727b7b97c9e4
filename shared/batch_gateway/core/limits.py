"""The controller of concurrency limits, as a pure function of observations.

Vocabulary of Netflix' concurrency-limits: an outcome is a *success*, *ignored* (the request's own
fault) or *dropped* (overload: 429, 503, time-out, connection error). The limit starts small and
doubles per round trip until the first trouble. Trouble of any kind is a *brake* with a name: it
cuts the limit a little, at once and repeatedly. Afterwards the limit comes back quickly to just
below where it was cut and then feels its way up slowly. It grows only while it is used, so an
idle pool does not run away.

A restart of the engine refuses or breaks all calls at once. These failures do not show how many
calls fit: the earlier limit is stored, and the first answers restore it.

What was learned is kept between batches and ages: while nothing happens, the limit moves back to
that of an unknown pool, by half of the distance in each half-life.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from batch_gateway.core.latency_baseline import LatencyBaseline

_MOST_CUT = 0.5  # of a limit that a single fold may take away because of drops or slowness
_CALM = timedelta(seconds=2)  # after a brake; from then on probes that are answered say more
_CALM_GROWTH = 2.0  # times as much
_LONGEST_HOLD = timedelta(minutes=1)  # that a Retry-After may keep a limit from growing
_SAME_TROUBLE = timedelta(seconds=30)  # drops so soon after others are of the same restart
_ASLEEP = timedelta(minutes=1)  # without a fold: from then on a pool is idle
ABORT_FOR = timedelta(seconds=1)  # calls beyond the limit, after interactive users waited


class Brake(StrEnum):
    """What can lower a limit or hold it down."""

    DROPPED = "dropped"  # 429, 503, time-outs, broken connections
    RETRY_AFTER = "retry_after"  # the endpoint has named a time: no growth until then
    LATENCY = "latency"  # calls take longer for what they do than they did lately
    ENGINE = "engine"  # the engine's metrics show a queue or a full cache
    PROBE = "probe"  # a one-token request waits for its answer


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorSignal:
    """What an engine monitor derives from metrics or probes (``core.engine_signals``)."""

    brake: Brake  # engine or probe
    room: int | None  # slots to give up (below 0), to add (above 0), neither (0); None: cannot say
    reason: str  # for people
    users_wait: bool = False  # interactive users do: calls beyond the limit are aborted for them
    ttft_ms: float | None = None  # of the last answered probe; None: there was none
    running: float | None = None  # requests in the engine, of all clients; None: no metrics
    waiting: float | None = None  # requests in its queue; None: no metrics
    cache: float | None = None  # share of its KV cache in use, 0..1; None: not reported


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolObservation:
    """What one or several holders saw in the same interval. Add them up with ``+``."""

    successes: int = 0
    dropped: int = 0
    ignored: int = 0
    in_flight: int = 0  # calls running now
    slots: int = 0  # of the holders: granted, or in use by calls that still run
    busy_ms: int = 0  # what the successes took together
    work: int = 0  # what they did (``core.latency_baseline``)
    retry_after: timedelta = timedelta(0)  # the longest pause that the endpoint requested
    signal: MonitorSignal | None = None  # news of the watch; None: there are none
    watched: bool = False  # a watch is kept: growth waits for its word

    def __add__(self, other: "PoolObservation") -> "PoolObservation":
        return PoolObservation(
            successes=self.successes + other.successes,
            dropped=self.dropped + other.dropped,
            ignored=self.ignored + other.ignored,
            in_flight=self.in_flight + other.in_flight,
            slots=self.slots + other.slots,
            busy_ms=self.busy_ms + other.busy_ms,
            work=self.work + other.work,
            retry_after=max(self.retry_after, other.retry_after),
            signal=self.signal or other.signal,
            watched=self.watched or other.watched,
        )


class LimitRules(Protocol):
    """Bounds and speeds of the controller: the settings ``limits``, which document each value."""

    @property
    def floor(self) -> int: ...
    @property
    def ceiling(self) -> int: ...
    @property
    def start(self) -> int: ...
    @property
    def cut(self) -> float: ...
    @property
    def step(self) -> float: ...
    @property
    def slower(self) -> float: ...
    @property
    def half_life(self) -> timedelta: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitState:
    """What a pool has learned."""

    limit: float
    slow_start: bool = True
    last_brake: Brake | None = None  # what cut the limit last; None: nothing ever did
    reason: str | None = None  # the same for people
    braked_at: datetime | None = None  # when it did
    held_until: datetime | None = None  # the endpoint requested no calls before
    abort_until: datetime | None = None  # users wait: calls beyond the limit are aborted
    unsure: bool = False  # the watch cannot say yet how much fits: successes decide
    recover_to: float = 0.0  # the limit before everything was dropped; 0: nothing to recover
    slowness: LatencyBaseline = field(default_factory=LatencyBaseline)

    def aborts(self, now: datetime) -> bool:
        """Whether calls beyond the limit are to be aborted, not only waited for."""
        return self.abort_until is not None and now < self.abort_until


def initial(rules: LimitRules) -> LimitState:
    return LimitState(limit=_bounded(rules.start, rules, told=False))


def slots(state: LimitState) -> int:
    """The limit as a number of slots."""
    return int(state.limit)


def aged(state: LimitState, idle: timedelta, rules: LimitRules) -> LimitState:
    """The state after nothing has happened for ``idle``."""
    if idle < _ASLEEP:
        return state
    start = initial(rules).limit
    kept = 0.5 ** (idle / rules.half_life)
    return replace(state, limit=start + (state.limit - start) * kept)


def fold(state: LimitState, seen: PoolObservation, rules: LimitRules, now: datetime) -> LimitState:
    """The state after ``seen``, within the bounds even if they have moved."""
    if seen.retry_after:
        until = now + min(seen.retry_after, _LONGEST_HOLD)
        state = replace(state, held_until=max(until, state.held_until or until))
    if state.held_until is not None and state.held_until > now + _LONGEST_HOLD:
        state = replace(state, held_until=now + _LONGEST_HOLD)  # stored by an earlier version
    if seen.signal is not None:
        state = replace(state, unsure=seen.signal.room is None)
    if seen.signal is not None and seen.signal.room is not None and seen.signal.room < 0:
        return _given_up(state, seen, seen.signal, rules, now)
    if seen.dropped:
        return _cut(state, seen, rules, now)
    watched = seen.watched or seen.signal is not None
    if not watched:
        spent = state.slowness.after(seen.successes, seen.busy_ms, seen.work, state.limit)
        slowness, slow = spent.judged(state.limit, rules.slower)
        state = replace(state, slowness=slowness)
        if slow:
            return _slowed(state, rules, now)
        if slowness.slower >= rules.slower:  # not a round trip yet: wait for it
            return replace(state, limit=_bounded(state.limit, rules, told=False))
    limit = state.limit + _growth(state, seen, rules, now)
    return replace(state, limit=_bounded(limit, rules, told=watched and not state.unsure))


def _given_up(
    state: LimitState,
    seen: PoolObservation,
    signal: MonitorSignal,
    rules: LimitRules,
    now: datetime,
) -> LimitState:
    """The monitor reports how many of the slots in use are too many."""
    assert signal.room is not None
    limit = min(state.limit - 1.0, min(state.limit, float(seen.in_flight)) + signal.room)
    return replace(
        state,
        limit=_bounded(limit, rules, told=True),
        recover_to=0.0,
        slow_start=False,
        last_brake=signal.brake,
        reason=signal.reason,
        braked_at=now,
        abort_until=now + ABORT_FOR if _users_wait(state, seen, signal) else state.abort_until,
    )


def _users_wait(state: LimitState, seen: PoolObservation, signal: MonitorSignal) -> bool:
    """Whether some of the requests in the engine must be those of interactive users.

    A monitor counts the calls of its own executor. Those of all executors together are at most as
    many as their slots, or as the limit that they had until now.
    """
    if signal.running is None or signal.waiting is None:
        return signal.users_wait
    own = max(float(seen.slots), state.limit)
    return signal.users_wait and signal.running + signal.waiting > own


def _cut(state: LimitState, seen: PoolObservation, rules: LimitRules, now: datetime) -> LimitState:
    """Calls were dropped: at least as many were too many, unless that is what still runs.

    A monitor would detect if that were too many too; without one the limit goes a little lower.
    """
    told = seen.watched and not state.unsure
    fit = max(state.limit - seen.dropped, float(seen.in_flight), state.limit * _MOST_CUT)
    limit = min(state.limit - 1.0, fit, state.limit if told else state.limit * rules.cut)
    named = state.held_until is not None and now < state.held_until
    calls = "1 call was" if seen.dropped == 1 else f"{seen.dropped} calls were"
    reason = f"{calls} refused, timed out or broke"
    if named:
        reason += ", and the endpoint named a time to wait"
    return replace(
        state,
        limit=_bounded(limit, rules, told=told),
        recover_to=_to_recover(state, seen, rules, now),
        slow_start=False,
        last_brake=Brake.RETRY_AFTER if named else Brake.DROPPED,
        reason=reason,
        braked_at=now,
    )


def _to_recover(
    state: LimitState, seen: PoolObservation, rules: LimitRules, now: datetime
) -> float:
    """The limit to come back to after these drops.

    As long as half of the calls are served, the engine is available and full: what it runs is what
    fits.
    Otherwise it is away, and what fitted before will fit again; a little less with every new
    trouble on the way.
    """
    if seen.in_flight >= state.limit * _MOST_CUT:
        return 0.0
    if state.recover_to <= state.limit:
        return state.limit
    again = state.braked_at is None or now - state.braked_at >= _SAME_TROUBLE
    return state.recover_to * (rules.cut if again else 1.0)


def _slowed(state: LimitState, rules: LimitRules, now: datetime) -> LimitState:
    """Cut the limit: calls take too long for their work, and there is no monitor.

    What slow start has overshot by is what they take too long by: the rest of them only wait. No
    call is aborted: slow calls do not show whether interactive users wait. The engine, or the whole
    machine, may just be slow, and an aborted call is made again from its start.
    """
    cut = max(_MOST_CUT, 1 / state.slowness.slower) if state.slow_start else rules.cut
    limit = min(state.limit * cut, state.limit - 1.0)
    return replace(
        state,
        limit=_bounded(limit, rules, told=False),
        slow_start=False,
        last_brake=Brake.LATENCY,
        reason=f"calls take {state.slowness.slower:.1f} times as long as usual for what they do",
        braked_at=now,
    )


def _growth(state: LimitState, seen: PoolObservation, rules: LimitRules, now: datetime) -> float:
    """Slots to add.

    Growth is spread over the successes of one round trip (as many as the limit), so it does not
    depend on how often it is folded. One fold adds at most one round trip's growth, however many
    short calls it saw: all of them ran under the old limit and prove nothing about a higher one.
    """
    if 2 * seen.in_flight < slots(state):
        return 0.0
    if state.held_until is not None and now < state.held_until:
        return 0.0
    if seen.signal is not None and seen.signal.room is not None:
        room = float(seen.signal.room)
        if seen.signal.brake is Brake.ENGINE:  # it does not show calls that are about to start
            room -= max(0.0, state.limit - seen.in_flight)
        elif state.braked_at is None or now - state.braked_at >= _CALM:
            room *= _CALM_GROWTH
        return max(0.0, room)
    if seen.watched and not state.unsure:
        return 0.0
    round_trips = min(1.0, seen.successes / max(1.0, state.limit))
    if state.limit < state.recover_to and seen.successes:
        back = max(state.recover_to / 2, state.limit * (1 + round_trips))
        return min(back, state.recover_to) - state.limit
    step = state.limit if state.slow_start else rules.step
    return step * round_trips


def _bounded(limit: float, rules: LimitRules, *, told: bool) -> float:
    """Without a monitor's signal only a call in flight can show that there is room again."""
    floor = rules.floor if told else max(1, rules.floor)
    return min(max(float(limit), float(floor)), float(rules.ceiling))
