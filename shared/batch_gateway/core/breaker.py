"""Circuit breaker of one endpoint: whether it may be called, as a pure fold over what came of it.

Closed, until as many calls in a row failed as the rules say. Then open: nobody calls for a while,
which doubles with every vain trial up to a longest. Then half open: one call tries; it closes the
breaker again or opens it anew. A model that is scaled to zero looks the same: its first trial
wakes it, and one at a time they wait for it, without an avalanche of the others.
(https://martinfowler.com/bliki/CircuitBreaker.html)
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRules:
    failures: int = 5  # in a row, that open it
    first_s: float = 0.5  # how long it stays open for the first time
    longest_s: float = 10.0

    def __post_init__(self) -> None:
        if self.failures < 1:
            raise ValueError("a breaker needs at least one failure to open")
        if not 0 < self.first_s <= self.longest_s:
            raise ValueError("a breaker's first pause must be above 0 and not above its longest")


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    failures: int = 0  # in a row
    vain: int = 0  # trials in a row that failed; with the failure that opened it
    retry_at: float | None = None  # when a trial may be made; None: it is closed
    trying: bool = False  # a trial is on its way

    @property
    def closed(self) -> bool:
        return self.retry_at is None


CLOSED = Breaker()


def allows(state: Breaker, now: float) -> bool:
    """Whether one more call may be started; while the breaker is not closed, that is a trial."""
    return state.retry_at is None or (not state.trying and now >= state.retry_at)


def started(state: Breaker) -> Breaker:
    """After a call was started that ``allows`` allowed."""
    return state if state.closed else replace(state, trying=True)


def failed(
    state: Breaker, now: float, rules: BreakerRules, *, trial: bool, asked_s: float = 0.0
) -> Breaker:
    """After a call that broke, or found nobody; after any sign of life it is ``CLOSED``.

    ``asked_s`` is the pause that the endpoint asked for (Retry-After); up to the longest it is
    the least. Calls that were running when it opened fail later than that: they change nothing.
    """
    asked_s = min(asked_s, rules.longest_s)
    if state.retry_at is None:
        failures = state.failures + 1
        if failures < rules.failures:
            return replace(state, failures=failures)
        return Breaker(failures=failures, vain=1, retry_at=now + max(rules.first_s, asked_s))
    if not trial:
        return state
    pause = min(rules.first_s * 2.0 ** min(state.vain, 30), rules.longest_s)
    return replace(state, vain=state.vain + 1, retry_at=now + max(pause, asked_s), trying=False)


def gave_up(state: Breaker, *, trial: bool) -> Breaker:
    """After a call that we cut ourselves, which says nothing: another trial may be made."""
    return replace(state, trying=False) if trial else state
