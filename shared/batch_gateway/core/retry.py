"""What an attempt's end means: for the limit, and for the request line.

Two questions, two answers. For the controller an attempt is a success, ignored or dropped
(``core.limits``). For the line it is final, or it is tried again; and trying again counts
against the line only if the request itself may be to blame. An endpoint that is full (429, 503)
or not there at all says nothing about the request: a batch is patient until its deadline.

What counts is bounded twice: for each line by a number of attempts, and for each shard by a budget,
so that an endpoint that breaks every other answer does not double the work of a whole batch.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum


class Outcome(Enum):
    SUCCESS = "success"
    IGNORED = "ignored"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Verdict:
    outcome: Outcome
    again: bool  # try the line again
    counts: bool  # the attempt counts against the line
    alive: bool | None = None  # whether the endpoint is there; None: that says nothing about it


FULL = Verdict(Outcome.DROPPED, again=True, counts=False, alive=True)  # 429
AWAY = Verdict(Outcome.DROPPED, again=True, counts=False, alive=False)  # 503, no connection
CUT = Verdict(Outcome.DROPPED, again=True, counts=True, alive=False)  # broke off, 502, 504
LATE = Verdict(Outcome.DROPPED, again=True, counts=True)  # time-out, 408
BROKEN = Verdict(Outcome.IGNORED, again=True, counts=True)  # 500, an answer that is not JSON
REFUSED = Verdict(Outcome.IGNORED, again=False, counts=True, alive=True)  # 4xx: its own fault
ANSWERED = Verdict(Outcome.SUCCESS, again=False, counts=True, alive=True)  # 2xx


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRules:
    """How patient we are with lines whose request may be to blame."""

    attempts: int = 5  # calls of one line
    first: timedelta = timedelta(seconds=0.5)  # before the second attempt; doubles from there
    longest: timedelta = timedelta(seconds=60)
    again: frozenset[int] | None = None  # statuses worth another attempt; None: as ``judge`` says
    budget: float = 1.0  # further attempts per line of a shard

    def allowance(self, lines: int) -> float:
        """Further attempts that the lines of one shard have together; a small one has a few."""
        return max(self.budget * lines, float(self.attempts))


_BY_STATUS = {408: LATE, 429: FULL, 502: CUT, 503: AWAY, 504: CUT}


def judge(status: int, again: frozenset[int] | None = None) -> Verdict:
    """What an answer with this HTTP status means, where only those of ``again`` are tried again."""
    if 200 <= status < 300:
        return ANSWERED
    usual = _BY_STATUS.get(status) or (BROKEN if status >= 500 else REFUSED)
    if again is None or (status in again) == usual.again:
        return usual
    return replace(usual, again=not usual.again)


def pause(
    tries: int,
    *,
    first: timedelta,
    longest: timedelta,
    retry_after: timedelta | None,
    jitter: float,
) -> timedelta:
    """How long to wait before the next attempt after ``tries`` failed ones (from 1).

    Doubles from ``first`` up to ``longest``; ``jitter`` in [0, 1) takes up to half of it away. A
    ``retry_after`` of the endpoint is the least (up to ``longest``), with a little on top so that
    not all come back at once.
    """
    doublings: int = 2 ** min(tries - 1, 30)
    exponential = min(first * doublings, longest)
    waiting = exponential * (1 - jitter / 2)
    if retry_after is not None:
        waiting = max(waiting, min(retry_after, longest) * (1 + jitter / 10))
    return waiting
