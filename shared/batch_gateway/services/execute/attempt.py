"""One call of the model for one request line, and what its end means."""

import random
from dataclasses import dataclass
from datetime import timedelta

import msgspec

from batch_gateway.core.ids import result_id
from batch_gateway.core.lines import Malformed, PartLine, answered, not_answered
from batch_gateway.core.retry import BROKEN, FULL, LOST, Verdict, judge, pause
from batch_gateway.ports.model_client import (
    Answer,
    CallFailed,
    CallRefused,
    CallTimeout,
    ModelClient,
)
from batch_gateway.services.execute.holding import Work
from batch_gateway.services.routing import Route
from batch_gateway.settings import Retry


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended: with a result, or with a pause before the next one."""

    verdict: Verdict
    result: PartLine | None  # None: try again
    pause: timedelta  # before the next attempt; zero with a result
    retry_after: timedelta | None  # as the endpoint said; None: it did not


class Attempts:
    """Makes attempts under one deployment's retry rules."""

    def __init__(self, client: ModelClient, retry: Retry) -> None:
        self._client = client
        self._most = retry.attempts
        self._first = timedelta(seconds=retry.backoff_s)
        self._longest = timedelta(seconds=retry.backoff_max_s)

    async def attempt(self, work: Work, route: Route, timeout: timedelta) -> Ended:
        """Call the model once. Cancelling it closes the connection; nothing is recorded then."""
        line = work.line
        batch = work.holding.lease.shard.batch
        headers = {**route.headers, "x-request-id": result_id(batch, line.line)}
        if (trace := work.holding.lease.traceparent) is not None:
            headers["traceparent"] = trace
        try:
            answer = await self._client.call(
                route.base_url + line.url, bytes(line.body), headers, timeout
            )
        except CallTimeout:
            return self._failed(work, LOST, "request_timeout", "The model did not answer in time.")
        except CallRefused as error:
            return self._failed(work, FULL, "connection_error", str(error))
        except CallFailed as error:
            return self._failed(work, LOST, "connection_error", str(error))
        return self._judged(work, answer)

    def _judged(self, work: Work, answer: Answer) -> Ended:
        verdict = judge(answer.status)
        if verdict.again and not self._exhausted(work, verdict):
            return self._again(work, verdict, answer.retry_after)
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
                    work, BROKEN, "invalid_response", "The model's answer is not a JSON object."
                )
            result = answered(
                batch,
                work.line,
                status=answer.status,
                request_id=answer.request_id,
                body=_envelope(answer),
            )
        return Ended(verdict, result, timedelta(0), None)

    def _failed(self, work: Work, verdict: Verdict, code: str, message: str) -> Ended:
        """An attempt without a usable answer."""
        if not self._exhausted(work, verdict):
            return self._again(work, verdict, None)
        result = not_answered(
            work.holding.lease.shard.batch,
            work.line.line,
            work.line.custom_id,
            code=code,
            message=message,
        )
        return Ended(verdict, result, timedelta(0), None)

    def _exhausted(self, work: Work, verdict: Verdict) -> bool:
        return verdict.counts and work.attempts + 1 >= self._most

    def _again(self, work: Work, verdict: Verdict, retry_after: timedelta | None) -> Ended:
        work.attempts += verdict.counts
        work.tries += 1
        waiting = pause(
            work.tries,
            first=self._first,
            longest=self._longest,
            retry_after=retry_after,
            jitter=random.random(),
        )
        return Ended(verdict, None, waiting, retry_after)


def _envelope(answer: Answer) -> bytes:
    """An error answer that is not JSON, in OpenAI's error form."""
    text = answer.body[:1000].decode(errors="replace")
    error = {"message": text, "type": "server_error", "param": None, "code": None}
    return msgspec.json.encode({"error": error})
