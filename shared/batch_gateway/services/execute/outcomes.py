"""Counts the outcomes of a pool's calls for slot reports, and pauses a refusing pool.

When the calls of all slots have been refused in a row, more calls would be refused too, whatever
the limit is by then. The pool then starts no call for a pause, which doubles with each such round.
"""

from dataclasses import replace
from datetime import timedelta

from batch_gateway.core.engine_response import NO_TOKENS
from batch_gateway.core.latency_baseline import work_units
from batch_gateway.core.limits import MonitorSignal, PoolObservation
from batch_gateway.core.own_queue import NO_OTHERS, OtherExecutorCalls
from batch_gateway.core.retry import CallOutcome, pause
from batch_gateway.ports.coordination import SlotGrant, SlotReport
from batch_gateway.services.execute.attempt import AttemptResult

_FIRST_PAUSE = timedelta(seconds=0.25)
_LONGEST_PAUSE = timedelta(seconds=2)  # an endpoint that is away is the circuit's matter
_AHEAD_S = 0.1  # what leasing and opening a shard may take
_SHORTEST_S = 0.04  # of a call, for this: shards are held in memory
_LATELY = 64  # calls
_LONGEST_NAMED = timedelta(seconds=15)  # by a Retry-After


class OtherExecutorTracker:
    """Calls of other executors in the same pool, by the last sync with the slot server."""

    def __init__(self) -> None:
        self.calls = NO_OTHERS
        self._answered: int | None = None  # calls of all, as of the last sync; None: there was none

    def granted(self, grant: SlotGrant, report: SlotReport, *, reported_after: float) -> None:
        """Store the counts of others in ``grant``, the response to ``report``."""
        ended = 0
        if self._answered is not None:  # begins anew when the server has lost its memory
            ended = max(0, grant.answered - self._answered - report.seen.successes)
        self._answered = grant.answered
        self.calls = OtherExecutorCalls(
            running=grant.others_in_use,
            most=grant.others_most,
            ended=self.calls.ended + ended,
            reported_after=reported_after,
        )


class PoolOutcomes:
    def __init__(self) -> None:
        self.answered = 0  # calls that the engine has done, ever
        self.refusals = 0  # drops in a row
        self.unavailable = False  # the last call found the endpoint unavailable
        self.paused_until = 0.0  # loop.time(); nothing is started before
        self._call_s = _AHEAD_S  # about as long as calls take lately
        self._successes = self._busy_ms = self._work = 0  # since the last report
        self._others = PoolObservation()  # what else was seen since then
        self._aborted = 0  # since the last report

    @property
    def rounds_ahead(self) -> float:
        """Rounds of calls that lines are needed for: one, or more of calls that take less time than
        leasing a shard."""
        return max(1.0, _AHEAD_S / max(_SHORTEST_S, self._call_s))

    def aborted(self) -> None:
        """A call was aborted because users wait."""
        self._aborted += 1

    def take(self, signal: MonitorSignal | None) -> tuple[PoolObservation, int]:
        """What was seen and how many calls were aborted since the last time; with news of a
        watch."""
        successes = PoolObservation(
            successes=self._successes, busy_ms=self._busy_ms, work=self._work, signal=signal
        )
        taken = self._others + successes, self._aborted
        self._successes = self._busy_ms = self._work = 0
        self._others, self._aborted = PoolObservation(), 0
        return taken

    def put_back(self, report: SlotReport) -> None:
        """Undo ``take``: the report was not delivered."""
        self._others += replace(report.seen, signal=None)
        self._aborted += report.aborted

    def count(
        self, ended: AttemptResult, now: float, seconds: float, *, trial: bool, slots: int
    ) -> bool:
        """A call in one of ``slots`` has ended after ``seconds``; True: it was dropped.

        A trial in vain is no sign of overload: what was learned of the endpoint stays.
        """
        self.unavailable = ended.verdict.alive is False
        match ended.verdict.outcome:
            case CallOutcome.SUCCESS:
                self._call_s += (seconds - self._call_s) / _LATELY
                self._successes += 1
                self._busy_ms += round(1000 * seconds)
                self._work += _work(ended)
                self.answered += 1
                self.refusals = 0
                return False
            case CallOutcome.IGNORED:
                self._others += PoolObservation(ignored=1)
                self.refusals = 0
                return False
            case CallOutcome.DROPPED:
                if trial and ended.verdict.alive is False:
                    return False
                self._others += PoolObservation(
                    dropped=1, retry_after=ended.retry_after or timedelta(0)
                )
                self.refusals += 1
                self._pause(ended.retry_after, now, slots)
                return True

    def _pause(self, retry_after: timedelta | None, now: float, slots: int) -> None:
        """Start nothing for a while if every one of ``slots`` has been refused in a row."""
        rounds = self.refusals // max(1, slots)
        if not rounds:
            return
        waiting = pause(
            rounds, first=_FIRST_PAUSE, longest=_LONGEST_PAUSE, retry_after=None, jitter=0.0
        )
        if retry_after is not None:
            waiting = max(waiting, min(retry_after, _LONGEST_NAMED))
        self.paused_until = max(self.paused_until, now + waiting.total_seconds())


def _work(ended: AttemptResult) -> int:
    prompt, cached, output, _ = NO_TOKENS if ended.result is None else ended.result.tokens
    return round(work_units(max(0, prompt - cached), output))
