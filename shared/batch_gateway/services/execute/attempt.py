"""One call of the model for one request line, and its outcome."""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

import msgspec

from batch_gateway.core import tracing
from batch_gateway.core.engine_response import (
    MalformedResponse,
    ResponseBody,
    decode,
    excerpt,
)
from batch_gateway.core.ids import result_id
from batch_gateway.core.json_splice import splice_members
from batch_gateway.core.lines import PartLine, answered, not_answered
from batch_gateway.core.retry import (
    AWAY,
    BROKEN,
    CUT,
    LATE,
    CallOutcome,
    ClassifiedResponse,
    RetryDecision,
    RetryRules,
    judge_response,
    pause,
    retry_allowance,
)
from batch_gateway.ports.model_client import (
    CallFailed,
    CallRefused,
    CallTimeout,
    CallTooLong,
    ModelClient,
    ModelResponse,
)
from batch_gateway.ports.routing import ReplicaRoute
from batch_gateway.services.execute.line_in_flight import LineInFlight
from batch_gateway.services.execute.shard_spans import describe
from batch_gateway.services.execute.supervision import report_unforeseen
from batch_gateway.settings import RetrySettings

SLO = "x-slo-ttft-ms"
"""How long the answer may take: routers that order by it see how near the deadline is."""


class AttemptResult(msgspec.Struct, frozen=True):
    """How an attempt ended: with a result, or with a pause before the next one."""

    verdict: RetryDecision
    result: PartLine | None  # None: try again
    pause: timedelta  # before the next attempt; zero with a result
    retry_after: timedelta | None  # from the endpoint's response; None: it has none
    reason: str = ""  # of a failure, for people
    cause: str = ""  # of a failure without a result, or of a call without a usable answer: a code
    first_token_ms: int = -1  # as the engine reports it; -1: it does not
    status: int | None = None  # of the answer; None: there was none
    trace_id: str | None = None  # of its span; None: the call has none


def of_the_request(result: AttemptResult) -> AttemptResult:
    """The same failure where only the calls of its batch or line fail: it is no sign of overload,
    and no evidence about the endpoint."""
    verdict = replace(result.verdict, outcome=CallOutcome.IGNORED, alive=None)
    return msgspec.structs.replace(result, verdict=verdict, retry_after=None)


class ModelCaller:
    """Makes attempts under a deployment's retry rules, or an endpoint's own."""

    def __init__(self, client: ModelClient, retry: RetrySettings, *, budget_s: float) -> None:
        """``budget_s`` is what an activation gives a call at most, in seconds. The time-outs of
        one line cost about as much together, and are at least one."""
        self._client = client
        self._retry = retry
        self._budget_s = budget_s

    async def attempt(
        self,
        work: LineInFlight,
        route: ReplicaRoute,
        timeout: timedelta,
        admitted_since: Callable[[float], bool] = lambda _: False,
    ) -> AttemptResult:
        """Call the model once. Cancelling it closes the connection; nothing is recorded then.

        ``admitted_since`` returns whether the endpoint has accepted a call begun after an instant.
        """
        spans = work.shard.spans
        if not spans.next_call():
            return await self._call(work, route, timeout, admitted_since, {})
        with spans.call(work.line, route.endpoint.url, work.tries + 1) as span:
            trace = tracing.fields(span.context)
            ended = await self._call(work, route, timeout, admitted_since, trace)
            describe(span, ended)
        return msgspec.structs.replace(ended, trace_id=tracing.trace_id(span.context))

    async def _call(
        self,
        work: LineInFlight,
        route: ReplicaRoute,
        timeout: timedelta,
        admitted_since: Callable[[float], bool],
        trace: Mapping[str, str],
    ) -> AttemptResult:
        """``trace``: headers that replace those of the shard."""
        line = work.line
        lease = work.shard.lease
        endpoint = route.endpoint
        left_s = work.shard.stop_at - asyncio.get_running_loop().time()
        headers = {
            **work.shard.headers,
            **route.headers,
            **trace,
            "x-request-id": result_id(lease.shard.batch, line.line),
            SLO: str(max(0, int(left_s * 1000))),
        }
        body = bytes(line.body)
        if (changes := route.changes(line.model, lease.priority)) is not None:
            body = splice_members(body, changes)
        try:
            answer = await self._client.call(
                endpoint.url + line.url, body, headers, timeout, endpoint.tls
            )
        except CallTimeout:
            return self._timed_out(work, route, timeout.total_seconds())
        except CallRefused as error:
            return self._failed(work, route, AWAY, "connection_error", str(error))
        except CallTooLong as error:
            return self._failed(work, route, BROKEN, "invalid_response", str(error))
        except CallFailed as error:
            return self._failed(work, route, CUT, "connection_error", str(error))
        except Exception:  # noqa: BLE001 - it belongs to this call: the line is tried again
            report_unforeseen("call", "A call failed", batch_id=lease.shard.batch, line=line.line)
            return self._failed(
                work, route, BROKEN, "internal_error", "The gateway could not make this call."
            )
        refused_at = work.refused_at
        others_admitted = refused_at is not None and admitted_since(refused_at)
        return self._judged(work, route, answer, others_admitted)

    def _judged(
        self, work: LineInFlight, route: ReplicaRoute, answer: ModelResponse, others_admitted: bool
    ) -> AttemptResult:
        """What an answer means for its line: another attempt, or a result."""
        rules = self._rules(route)
        try:
            body = decode(answer.body)
        except MalformedResponse:
            body = None
        judged = judge_response(
            answer.status,
            body,
            again=rules.statuses,
            leads_to=answer.leads_to,
            own_credentials=not work.shard.passed <= route.headers.keys(),
            others_admitted=others_admitted,
        )
        verdict = judged.verdict
        if verdict.unauthorized:
            work.refused_at = asyncio.get_running_loop().time()
        if verdict.again and not self._exhausted(work, verdict, rules):
            reason = judged.problem or f"answered {answer.status}"
            ended = self._again(
                work, verdict, answer.retry_after, rules, f"it {reason}", f"http_{judged.status}"
            )
            return msgspec.structs.replace(ended, status=judged.status)
        if body is not None and not 300 <= answer.status < 400:
            return self._answered(work, judged, answer, body)
        # An answer without a JSON object, or a redirect, whose target is in no body.
        said = excerpt(answer.body)
        message = f"The endpoint {judged.problem or f'answered {judged.status}'}"
        if 200 <= answer.status < 300:
            return self._invalid(work, judged, f"{message}: {said or 'the answer is empty'}")
        envelope = _envelope(f"{message}: {said}" if said else f"{message}.")
        return self._answered(work, judged, answer, decode(envelope))

    def _answered(
        self,
        work: LineInFlight,
        judged: ClassifiedResponse,
        answer: ModelResponse,
        body: ResponseBody,
    ) -> AttemptResult:
        """The answer with ``body`` is the line's result, be it a success or an error."""
        verdict = judged.verdict
        result = answered(
            work.shard.lease.shard.batch,
            work.line,
            body,
            status=judged.status,
            request_id=answer.request_id,
            ok=verdict.outcome is CallOutcome.SUCCESS,
        )
        told = answer.first_token_ms if body.first_token_ms is None else body.first_token_ms
        return AttemptResult(
            verdict,
            result,
            timedelta(0),
            None,
            first_token_ms=-1 if told is None else told,
            status=judged.status,
        )

    def _invalid(
        self, work: LineInFlight, judged: ClassifiedResponse, message: str
    ) -> AttemptResult:
        """A success without a usable body: the line gets an error of the gateway's own."""
        result = not_answered(
            work.shard.lease.shard.batch,
            work.line.line,
            work.line.custom_id,
            code="invalid_response",
            message=message,
        )
        return AttemptResult(
            judged.verdict,
            result,
            timedelta(0),
            None,
            cause="invalid_response",
            status=judged.status,
        )

    def _timed_out(self, work: LineInFlight, route: ReplicaRoute, seconds: float) -> AttemptResult:
        """A call that had ``seconds``; a long one is not made as often as a short one."""
        allowed = route.endpoint.timeout.total_seconds()
        setting = "timeout_s of the endpoint" if seconds >= allowed else "execution.hard_budget_s"
        most = max(1, round(self._budget_s / max(seconds, 0.001)))
        weight = -(-self._rules(route).attempts // most)  # rounded up
        message = f"The model did not answer within {seconds:.4g} s ({setting})."
        return self._failed(work, route, LATE, "request_timeout", message, weight)

    def _failed(
        self,
        work: LineInFlight,
        route: ReplicaRoute,
        verdict: RetryDecision,
        code: str,
        message: str,
        weight: int = 1,
    ) -> AttemptResult:
        """An attempt without a usable answer; it counts as ``weight`` of them."""
        rules = self._rules(route)
        if not self._exhausted(work, verdict, rules, weight):
            work.attempts += weight - 1
            return self._again(work, verdict, None, rules, message, code)
        result = not_answered(
            work.shard.lease.shard.batch,
            work.line.line,
            work.line.custom_id,
            code=code,
            message=message,
        )
        return AttemptResult(verdict, result, timedelta(0), None, message, code)

    def _rules(self, route: ReplicaRoute) -> RetryRules:
        return route.endpoint.retry or self._retry

    def _exhausted(
        self, work: LineInFlight, verdict: RetryDecision, rules: RetryRules, weight: int = 1
    ) -> bool:
        """Whether the line, or its shard, has had all the attempts that count."""
        if not verdict.counts:
            return False
        allowance = retry_allowance(
            work.shard.lease.shard.lines, self._retry, budget=self._retry.budget
        )
        return work.attempts + weight >= rules.attempts or work.shard.further >= allowance

    def _again(
        self,
        work: LineInFlight,
        verdict: RetryDecision,
        retry_after: timedelta | None,
        rules: RetryRules,
        reason: str,
        cause: str,
    ) -> AttemptResult:
        work.attempts += verdict.counts
        work.shard.further += verdict.counts
        work.tries += 1
        waiting = pause(
            work.tries,
            first=rules.backoff,
            longest=rules.backoff_max,
            retry_after=retry_after,
            jitter=random.random(),
        )
        return AttemptResult(verdict, None, waiting, retry_after, reason, cause)


def _envelope(message: str) -> bytes:
    """An error answer without a body of its own, in OpenAI's form."""
    error = {"message": message, "type": "server_error", "param": None, "code": None}
    return msgspec.json.encode({"error": error})
