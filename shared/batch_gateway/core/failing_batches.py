"""Finds batches whose calls fail at an endpoint that answers the calls of other batches.

A circuit breaker cannot tell an endpoint that is unavailable from a batch whose requests break it:
both look like failed calls in a row. The difference shows when another batch is called. So while
the breaker is open, trial calls are made for the batches that have failed least, and each time that
another batch's answer closes the breaker, a batch with enough failures in a row is noted. The
second time it is *isolated*: one call at a time tries whether its requests work by now, with pauses
that double, and its failures no longer open the endpoint's breaker while others are answered. An
answer of its own ends the isolation.
(https://learn.microsoft.com/azure/architecture/patterns/bulkhead)
"""

from dataclasses import dataclass

from batch_gateway.core.breaker import BreakerRules, CircuitBreaker, allows, failed, started
from batch_gateway.core.ids import BatchId

_ROUNDS = 2  # times that others were answered, and the batch was not, until it is isolated
_FORGOTTEN_S = 300.0  # after the last failure
_MOST = 64  # batches that are remembered


@dataclass(slots=True)
class _Failing:
    failures: int = 0  # in a row, of calls that began after ``since``
    rounds: int = 0  # times that the answer of another batch followed enough of them
    since: float = float("-inf")  # when the last round ended
    failed_at: float = 0.0
    others_answered: bool = False  # since the last failure
    breaker: CircuitBreaker | None = None  # its own, once it is isolated


class FailingBatches:
    """Of one endpoint. All instants are those of one monotonic clock, in seconds."""

    def __init__(self, rules: BreakerRules) -> None:
        self._rules = rules
        self._found: dict[BatchId, _Failing] = {}  # the one that failed last at the end

    def answered(self, batch: BatchId, now: float) -> list[BatchId]:
        """A call of ``batch`` was answered. Returns the batches that are isolated from now on."""
        self._found.pop(batch, None)
        isolated: list[BatchId] = []
        for name, other in self._found.items():
            other.others_answered = True
            if other.breaker is None and other.failures >= self._rules.failures:
                self._end_round(other, now)
                if other.breaker is not None:
                    isolated.append(name)
        return isolated

    def _end_round(self, found: _Failing, now: float) -> None:
        found.rounds += 1
        found.failures = 0
        found.since = now
        if found.rounds >= _ROUNDS:
            found.breaker = CircuitBreaker(failed_rounds=1, retry_at=now + self._rules.pause_s)

    def failed(self, batch: BatchId, now: float, *, started_at: float) -> bool:
        """A call of ``batch`` that began at ``started_at`` was not answered.

        Returns whether that is evidence about the endpoint: it is not when the batch is isolated
        and others were answered since its last failure.
        """
        found = self._found.pop(batch, None) or _Failing()
        self._found[batch] = found
        shows_endpoint = found.breaker is None or not found.others_answered
        found.failed_at, found.others_answered = now, False
        if started_at >= found.since:
            found.failures += 1
            if found.breaker is not None:
                found.breaker = failed(found.breaker, now, self._rules, trial=True)
        self._forget(now)
        return shows_endpoint

    def _forget(self, now: float) -> None:
        while self._found:
            oldest = next(iter(self._found))
            kept_until = self._found[oldest].failed_at + _FORGOTTEN_S
            if len(self._found) <= _MOST and now < kept_until:
                return
            del self._found[oldest]

    def isolated(self, batch: BatchId) -> bool:
        """Its calls are made one at a time, with pauses."""
        found = self._found.get(batch)
        return found is not None and found.breaker is not None

    def allows(self, batch: BatchId, now: float) -> bool:
        """Whether a call of ``batch`` may start, as far as the batch is concerned."""
        found = self._found.get(batch)
        return found is None or found.breaker is None or allows(found.breaker, now)

    def started(self, batch: BatchId, now: float) -> None:
        """After a call of ``batch`` was started that ``allows`` allowed."""
        found = self._found.get(batch)
        if found is not None and found.breaker is not None:
            found.breaker = started(found.breaker, now, self._rules)

    def failures(self, batch: BatchId) -> tuple[int, int]:
        """By how little a batch is suited for a trial call; the smallest is suited best."""
        found = self._found.get(batch)
        return (0, 0) if found is None else (found.rounds, found.failures)

    def failing(self, now: float) -> list[BatchId]:
        """Batches that have failed so often in a row that another batch is worth a trial call."""
        self._forget(now)
        return [
            batch
            for batch, found in self._found.items()
            if found.breaker is not None or found.failures >= self._rules.failures
        ]
