"""One call of the model for one request line, and what its end means."""

import asyncio
import random
from dataclasses import dataclass
from datetime import timedelta

import msgspec

from batch_gateway.core.ids import result_id
from batch_gateway.core.lines import Malformed, PartLine, answered, not_answered
from batch_gateway.core.retry import AWAY, BROKEN, CUT, LATE, RetryRules, Verdict, judge, pause
from batch_gateway.core.splice import spliced
from batch_gateway.ports.model_client import (
    Answer,
    CallFailed,
    CallRefused,
    CallTimeout,
    ModelClient,
)
from batch_gateway.services.execute.holding import Work
from batch_gateway.services.routing import Route

SLO = "x-slo-ttft-ms"
"""How long the answer may take: routers that order by it see how near the deadline is."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended: with a result, or with a pause before the next one."""

    verdict: Verdict
    result: PartLine | None  # None: try again
    pause: timedelta  # before the next attempt; zero with a result
    retry_after: timedelta | None  # as the endpoint said; None: it did not
    reason: str = ""  # of a failure, for people


class Attempts:
    """Makes attempts under a deployment's retry rules, or an endpoint's own."""

    def __init__(self, client: ModelClient, retry: RetryRules) -> None:
        self._client = client
        self._retry = retry

    async def attempt(self, work: Work, route: Route, timeout: timedelta) -> Ended:
        """Call the model once. Cancelling it closes the connection; nothing is recorded then."""
        line = work.line
        lease = work.holding.lease
        endpoint = route.endpoint
        left_s = work.holding.stop_at - asyncio.get_running_loop().time()
        headers = {
            **work.holding.headers,
            **route.headers,
            "x-request-id": result_id(lease.shard.batch, line.line),
            SLO: str(max(0, int(left_s * 1000))),
        }
        body = bytes(line.body)
        if (changes := route.changes(line.model, lease.priority)) is not None:
            body = spliced(body, changes)
        try:
            answer = await self._client.call(
                endpoint.url + line.url, body, headers, timeout, endpoint.tls
            )
        except CallTimeout:
            return self._failed(
                work, route, LATE, "request_timeout", "The model did not answer in time."
            )
        except CallRefused as error:
            return self._failed(work, route, AWAY, "connection_error", str(error))
        except CallFailed as error:
            return self._failed(work, route, CUT, "connection_error", str(error))
        return self._judged(work, route, answer)

    def _judged(self, work: Work, route: Route, answer: Answer) -> Ended:
        rules = self._rules(route)
        verdict = judge(answer.status, rules.again)
        if verdict.again and not self._exhausted(work, verdict, rules):
            reason = f"it answers {answer.status}"
            return self._again(work, verdict, answer.retry_after, rules, reason)
        batch = work.holding.lease.shard.batch
        try:
            result = answered(
                batch,
                work.line,
                status=answer.status,
                request_id=answer.request_id,
                body=answer.body,
            )
        except Malformed:
            if answer.status < 300:
                return self._failed(
                    work,
                    route,
                    BROKEN,
                    "invalid_response",
                    "The model's answer is not a JSON object.",
                )
            result = answered(
                batch,
                work.line,
                status=answer.status,
                request_id=answer.request_id,
                body=_envelope(answer),
            )
        return Ended(verdict, result, timedelta(0), None)

    def _failed(self, work: Work, route: Route, verdict: Verdict, code: str, message: str) -> Ended:
        """An attempt without a usable answer."""
        rules = self._rules(route)
        if not self._exhausted(work, verdict, rules):
            return self._again(work, verdict, None, rules, message)
        result = not_answered(
            work.holding.lease.shard.batch,
            work.line.line,
            work.line.custom_id,
            code=code,
            message=message,
        )
        return Ended(verdict, result, timedelta(0), None, message)

    def _rules(self, route: Route) -> RetryRules:
        return route.endpoint.retry or self._retry

    def _exhausted(self, work: Work, verdict: Verdict, rules: RetryRules) -> bool:
        """Whether the line, or its shard, has had all the attempts that count."""
        if not verdict.counts:
            return False
        allowance = self._retry.allowance(work.holding.lease.shard.lines)
        return work.attempts + 1 >= rules.attempts or work.holding.further >= allowance

    def _again(
        self,
        work: Work,
        verdict: Verdict,
        retry_after: timedelta | None,
        rules: RetryRules,
        reason: str,
    ) -> Ended:
        work.attempts += verdict.counts
        work.holding.further += verdict.counts
        work.tries += 1
        waiting = pause(
            work.tries,
            first=rules.first,
            longest=rules.longest,
            retry_after=retry_after,
            jitter=random.random(),
        )
        return Ended(verdict, None, waiting, retry_after, reason)


def _envelope(answer: Answer) -> bytes:
    """An error answer that is not JSON, in OpenAI's error form."""
    text = answer.body[:1000].decode(errors="replace")
    error = {"message": text, "type": "server_error", "param": None, "code": None}
    return msgspec.json.encode({"error": error})
