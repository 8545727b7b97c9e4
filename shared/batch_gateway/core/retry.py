"""What an attempt's end means: for the limit, and for the request line.

Two questions, two answers. For the controller an attempt is a success, ignored or dropped
(``core.limits``). For the line it is final, or it is tried again; and trying again counts
against the line only if the request itself may be to blame. An endpoint that is full (429, 503)
or not there at all says nothing about the request: a batch is patient until its deadline.
"""

from dataclasses import dataclass
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


FULL = Verdict(Outcome.DROPPED, again=True, counts=False)  # 429, 503, connection refused
LOST = Verdict(Outcome.DROPPED, again=True, counts=True)  # time-out, broken connection, 502, 504
BROKEN = Verdict(Outcome.IGNORED, again=True, counts=True)  # 500, an answer that is not JSON
REFUSED = Verdict(Outcome.IGNORED, again=False, counts=True)  # 4xx: the request's own fault
ANSWERED = Verdict(Outcome.SUCCESS, again=False, counts=True)  # 2xx

_BY_STATUS = {408: LOST, 429: FULL, 502: LOST, 503: FULL, 504: LOST}


def judge(status: int) -> Verdict:
    """What an answer with this HTTP status means."""
    if 200 <= status < 300:
        return ANSWERED
    return _BY_STATUS.get(status) or (BROKEN if status >= 500 else REFUSED)


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
