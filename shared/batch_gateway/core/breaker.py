"""Circuit breaker of one endpoint, as a pure function of call results.

The breaker is closed until a number of calls in a row have failed (``BreakerRules``). Then it is
open: no call starts for a pause, which doubles with every failed trial up to the longest. Then it
is half open: one call is a trial. An answer closes the breaker, a failure opens it anew.

A call may take minutes, so the breaker does not wait for the first trial's end. As long as no trial
fails, another one may start after a pause that doubles as well: an endpoint that was restarted has
several calls at work by the time that the first long one is answered, and a model that is scaled to
zero gets a few requests and not all of them at once. Nothing has to be counted down when a trial is
cancelled, so a trial that is lost delays the next one and blocks nothing.
(https://martinfowler.com/bliki/CircuitBreaker.html)
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol


class BreakerRules(Protocol):
    """``breaker`` of an endpoint in the routing file, which documents each value."""

    @property
    def failures(self) -> int: ...
    @property
    def pause_s(self) -> float: ...
    @property
    def pause_max_s(self) -> float: ...


def _pause_s(rules: BreakerRules, doublings: int) -> float:
    return min(rules.pause_s * 2.0 ** min(doublings, 30), rules.pause_max_s)


class BreakerState(StrEnum):
    """What a breaker does with calls, for people."""

    CLOSED = "closed"  # they pass
    OPEN = "open"  # the endpoint is unavailable: trials only
    UNAUTHORIZED = "unauthorized"  # it refuses the credentials: trials only


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitBreaker:
    failures: int = 0  # in a row
    failed_rounds: int = 0  # of trials in a row; with the failure that opened it
    trials: int = 0  # started since the last failure
    retry_at: float | None = None  # when a trial may be made; None: it is closed
    unauthorized: bool = False  # the last failure was a refused credential

    @property
    def closed(self) -> bool:
        return self.retry_at is None

    @property
    def state(self) -> BreakerState:
        if self.closed:
            return BreakerState.CLOSED
        return BreakerState.UNAUTHORIZED if self.unauthorized else BreakerState.OPEN


CLOSED = CircuitBreaker()


def allows(state: CircuitBreaker, now: float) -> bool:
    """Whether one more call may be started; while the breaker is not closed, that is a trial."""
    return state.retry_at is None or now >= state.retry_at


def retry_from(state: CircuitBreaker, now: float) -> CircuitBreaker:
    """Allow a trial from ``now`` on, if there is none before."""
    if state.retry_at is None:
        return state
    return replace(state, retry_at=min(now, state.retry_at))


def started(state: CircuitBreaker, now: float, rules: BreakerRules) -> CircuitBreaker:
    """After a call was started that ``allows`` allowed."""
    if state.closed:
        return state
    pause = _pause_s(rules, state.trials)
    return replace(state, trials=state.trials + 1, retry_at=now + pause)


def failed(
    state: CircuitBreaker,
    now: float,
    rules: BreakerRules,
    *,
    trial: bool,
    asked_s: float = 0.0,
    unauthorized: bool = False,
) -> CircuitBreaker:
    """After a call that broke, or was not let in; after any sign of life it is ``CLOSED``.

    ``asked_s`` is the pause that the endpoint requested (Retry-After); up to the longest it is
    the least. Calls that were running when it opened fail later than that: they change nothing.
    Of several trials at once only the first failure counts.
    """
    asked_s = min(asked_s, rules.pause_max_s)
    if state.retry_at is None:
        failures = state.failures + 1
        if failures < rules.failures:
            return replace(state, failures=failures, unauthorized=unauthorized)
        return CircuitBreaker(
            failures=failures,
            failed_rounds=1,
            retry_at=now + max(rules.pause_s, asked_s),
            unauthorized=unauthorized,
        )
    if not trial or not state.trials:
        return state
    return replace(
        state,
        failed_rounds=state.failed_rounds + 1,
        trials=0,
        retry_at=now + max(_pause_s(rules, state.failed_rounds), asked_s),
        unauthorized=unauthorized,
    )


def gave_up(state: CircuitBreaker, now: float, *, trial: bool) -> CircuitBreaker:
    """After a call that this process cancelled itself, which is no evidence: a trial is allowed."""
    if state.retry_at is None or not trial or not state.trials:
        return state
    return replace(state, trials=state.trials - 1, retry_at=min(now, state.retry_at))
