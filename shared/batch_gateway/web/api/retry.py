"""``/v1/batches/{id}/retry``: an extension of OpenAI's API."""

from collections.abc import Collection
from dataclasses import replace

from starlette.responses import Response

from batch_gateway.services.batches.retry import BatchRetries
from batch_gateway.web import body
from batch_gateway.web.api.batch_actions import conflicts
from batch_gateway.web.api.batches import asked_batch, no_such_batch
from batch_gateway.web.api.routing import ApiRequest, HandlersByPath, answer
from batch_gateway.web.extensions import ExtendedBatchObject, RetryBatch
from batch_gateway.web.parsing import parse


class RetryRoutes:
    def __init__(
        self, retries: BatchRetries, *, max_bytes: int, idle_s: float, passed: Collection[str] = ()
    ) -> None:
        """``passed``: names of the headers that the new batch's calls carry on."""
        self._retries = retries
        self._passed = passed
        self._max_bytes = max_bytes
        self._idle_s = idle_s

    @property
    def routes(self) -> HandlersByPath:
        return {"/v1/batches/{batch_id}/retry": {"POST": self.retry}}

    async def retry(self, call: ApiRequest) -> Response:
        """An empty body means an empty object."""
        batch_id = asked_batch(call)
        raw = await body.read(call.request.receive, self._max_bytes, idle_s=self._idle_s)
        asked = replace(
            parse(RetryBatch, raw or b"{}").asked(),
            headers=call.headers(self._passed),
            api_key=call.identity.api_key,
        )
        with conflicts():
            batch = await self._retries.retry(
                call.tenant, batch_id, asked, traceparent=call.traceparent, seed=call.seed
            )
        if batch is None:
            raise no_such_batch(batch_id)
        return answer(ExtendedBatchObject.fields(batch))
