"""Classifies the end of an attempt: for the limit, the endpoint and the request line.

Two questions, two answers. For the controller an attempt is a success, ignored or dropped
(``core.limits``). For the line it is final, or it is tried again; and trying again counts
against the line only if the request itself may be to blame. An overloaded (429, 503) or
unreachable endpoint is no fault of the request: it is retried until the batch's deadline.

An endpoint that refuses the deployment's key (401, 403) is no fault of the request either: it is
not called until the key works, and its lines wait. All of this is in one table, ``judge``, and in
``judge_answer`` for answers whose body contains more than their status.

What counts is bounded twice: for each line by a number of attempts, and for each shard by a budget,
so that an endpoint that breaks every other answer does not double the work of a whole batch.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum
from typing import Protocol

import msgspec

from batch_gateway.core.engine_response import ResponseBody


class CallOutcome(Enum):
    SUCCESS = "success"
    IGNORED = "ignored"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class RetryDecision:
    outcome: CallOutcome
    again: bool  # try the line again
    counts: bool  # the attempt counts against the line
    alive: bool | None = None  # whether the endpoint is reachable; None: no evidence
    admitted: bool = False  # the credentials of the call were accepted
    unauthorized: bool = False  # the endpoint refuses the deployment's credentials


FULL = RetryDecision(CallOutcome.DROPPED, again=True, counts=False, alive=True)  # 429
AWAY = RetryDecision(
    CallOutcome.DROPPED, again=True, counts=False, alive=False
)  # 503, no connection
CUT = RetryDecision(
    CallOutcome.DROPPED, again=True, counts=True, alive=False
)  # broke off, 502, 504
LATE = RetryDecision(CallOutcome.DROPPED, again=True, counts=True)  # time-out, 408
BROKEN = RetryDecision(
    CallOutcome.IGNORED, again=True, counts=True
)  # 500, an answer that is not JSON
REFUSED = RetryDecision(
    CallOutcome.IGNORED, again=False, counts=True, alive=True, admitted=True
)  # 4xx: the request's own fault
DENIED = replace(REFUSED, admitted=False)  # 401, 403: the credentials that the request has brought
UNAUTHORIZED = RetryDecision(
    CallOutcome.IGNORED, again=True, counts=False, alive=False, unauthorized=True
)  # 401, 403: the deployment's key, unless the request has brought its own
FORBIDDEN = replace(
    UNAUTHORIZED, counts=True, alive=None, unauthorized=False
)  # the same, while other calls with the same credentials are let in: this request's fault
ANSWERED = RetryDecision(
    CallOutcome.SUCCESS, again=False, counts=True, alive=True, admitted=True
)  # 2xx


class RetryRules(Protocol):
    """Retries of one request line: the settings ``retry``, or ``retry`` of an endpoint."""

    @property
    def attempts(self) -> int: ...
    @property
    def backoff(self) -> timedelta: ...
    @property
    def backoff_max(self) -> timedelta: ...
    @property
    def statuses(self) -> Collection[int] | None:
        """Statuses that are retried; None: those of ``judge``."""
        ...


def retry_allowance(lines: int, rules: RetryRules, *, budget: float) -> float:
    """Maximum number of retries of all ``lines`` of a shard: ``budget`` for each line, and at least
    the attempts of one line."""
    return max(budget * lines, float(rules.attempts))


#: What an HTTP status means. Others: 2xx ANSWERED, 4xx REFUSED, all the rest BROKEN.
_BY_STATUS = {
    401: UNAUTHORIZED,
    403: UNAUTHORIZED,
    407: UNAUTHORIZED,
    408: LATE,
    409: BROKEN,  # OpenAI's SDKs try these two again
    425: BROKEN,
    429: FULL,
    499: CUT,  # a proxy's word for a connection that was closed
    501: REFUSED,  # will not get better, nor will 505
    505: REFUSED,
    502: CUT,
    503: AWAY,
    504: CUT,
    529: AWAY,  # overloaded, in the words of some providers
    **dict.fromkeys((520, 521, 522, 523, 524, 525, 526, 527, 530), CUT),  # a CDN's 502 and 504
}


def judge(status: int, again: Collection[int] | None = None) -> RetryDecision:
    """What an answer with this HTTP status means, where only those of ``again`` are tried again."""
    if 200 <= status < 300:
        return ANSWERED
    usual = _BY_STATUS.get(status) or (REFUSED if 400 <= status < 500 else BROKEN)
    if again is None or (status in again) == usual.again or usual.unauthorized:
        return usual
    return replace(usual, again=not usual.again)


class ClassifiedResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What one answer means, and how a result line shows it."""

    verdict: RetryDecision
    status: int  # of the result line
    problem: str | None = None  # for people; None: the answer's own text describes it


def judge_response(
    status: int,
    body: ResponseBody | None,
    *,
    again: Collection[int] | None = None,
    leads_to: str | None = None,
    own_credentials: bool = False,
    others_admitted: bool = False,
) -> ClassifiedResponse:
    """What an answer means, by its status and its body.

    ``body`` None: it is not one JSON object; ``leads_to``: the Location of a redirect, None:
    unknown; ``own_credentials``: the request carries headers of its client, so that a refused
    credential is the request's own fault; ``others_admitted``: since the endpoint refused this
    request before, it has let in others.

    An error with status 2xx is judged by the status that it names, and always counts against the
    line: an overloaded endpoint reports that by the HTTP status.
    """
    if 200 <= status < 300:
        if body is None:
            return ClassifiedResponse(
                verdict=BROKEN, status=status, problem=f"answered {status} without JSON"
            )
        if body.error is None:
            return ClassifiedResponse(verdict=ANSWERED, status=status)
        meant = body.error.status or 500
        inner = judge_response(
            meant,
            body,
            again=again,
            own_credentials=own_credentials,
            others_admitted=others_admitted,
        )
        verdict = (
            inner.verdict if inner.verdict.unauthorized else replace(inner.verdict, counts=True)
        )
        return ClassifiedResponse(
            verdict=verdict, status=meant, problem=f"answered {status} with an error"
        )
    verdict = judge(status, again)
    if verdict.unauthorized and own_credentials:
        return ClassifiedResponse(verdict=DENIED, status=status)
    if verdict.unauthorized and others_admitted:
        return ClassifiedResponse(verdict=FORBIDDEN, status=status)
    if 300 <= status < 400:
        where = f"to {leads_to}" if leads_to else "without saying where"
        problem = f"answered {status}: it redirects {where}; set the endpoint's url accordingly"
        return ClassifiedResponse(verdict=verdict, status=status, problem=problem)
    if status == 404 and not (body and body.error and body.error.about_model):
        verdict = BROKEN if again is None else verdict
        return ClassifiedResponse(
            verdict=verdict, status=status, problem="answered 404: it has no such route"
        )
    return ClassifiedResponse(verdict=verdict, status=status)


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
