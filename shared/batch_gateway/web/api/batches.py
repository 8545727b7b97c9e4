"""``/v1/batches``."""

from collections.abc import Collection
from dataclasses import replace

from starlette.responses import Response

from batch_gateway.core.errors import Conflict, InvalidRequest
from batch_gateway.core.excerpts import excerpt
from batch_gateway.core.ids import BatchId
from batch_gateway.ports.batches import ALL_BATCHES
from batch_gateway.services.batches.inline import InlineBatches
from batch_gateway.services.batches.service import BatchService
from batch_gateway.web import body
from batch_gateway.web.api.routing import ApiRequest, HandlersByPath, answer
from batch_gateway.web.envelope import ApiError
from batch_gateway.web.extensions import (
    CreateExtendedBatch,
    ExtendedBatchObject,
    asked_filter,
)
from batch_gateway.web.inline import take_requests
from batch_gateway.web.openai import BatchObject, CreateBatch, listed
from batch_gateway.web.parsing import cursor, integer, parse, plain_id

PAGE, LONGEST_PAGE = 20, 100


class BatchRoutes:
    def __init__(
        self,
        batches: BatchService,
        inline: InlineBatches,
        *,
        max_bytes: int,
        idle_s: float,
        strict: bool,
        passed: Collection[str] = (),
        priced: bool = False,
    ) -> None:
        """``strict``: extensions are neither taken nor shown; ``passed``: names of the headers that
        a batch's calls carry on; ``priced``: models have prices, so ``max_cost`` means something.
        """
        self._priced = priced
        self._passed = passed
        self._batches = batches
        self._inline = inline
        self._strict = strict
        self._max_bytes = max_bytes
        self._idle_s = idle_s
        self._asked: type[CreateBatch] = CreateBatch if strict else CreateExtendedBatch
        self._shown: type[BatchObject] = BatchObject if strict else ExtendedBatchObject

    @property
    def routes(self) -> HandlersByPath:
        return {
            "/v1/batches": {"GET": self.list, "POST": self.create},
            "/v1/batches/{batch_id}": {"GET": self.get},
            "/v1/batches/{batch_id}/cancel": {"POST": self.cancel},
        }

    async def create(self, call: ApiRequest) -> Response:
        raw = await body.read(call.request.receive, self._max_bytes, idle_s=self._idle_s)
        requests = None
        if not self._strict:
            raw, requests = take_requests(raw)
        new = replace(
            parse(self._asked, raw).new_batch(),
            headers=call.headers(self._passed),
            api_key=call.identity.api_key,
        )
        if new.options.get("max_cost") is not None and not self._priced:
            raise InvalidRequest(
                "Invalid 'max_cost': this service has no prices (setting prices.models).",
                param="max_cost",
                code="invalid_value",
            )
        if requests is None:
            batch = await self._batches.create(
                call.tenant, new, traceparent=call.traceparent, seed=call.seed
            )
        else:
            batch = await self._inline.create(
                call.tenant, new, requests, traceparent=call.traceparent, seed=call.seed
            )
        return answer(self._shown.fields(batch))

    async def list(self, call: ApiRequest) -> Response:
        query = call.request.query_params
        limit = integer(query, "limit", default=PAGE, minimum=0, maximum=LONGEST_PAGE)
        found = cursor(query, offsets=not self._strict)
        if found is None:
            raise unknown_cursor(query["after"])
        after, offset = found
        page = await self._batches.list(
            call.tenant,
            limit=limit,
            after=None if after is None else BatchId(after),
            offset=offset,
            only=ALL_BATCHES if self._strict else asked_filter(query),
        )
        if page is None:
            raise unknown_cursor(after or "")
        return answer(listed([self._shown.fields(batch) for batch in page.items], more=page.more))

    async def get(self, call: ApiRequest) -> Response:
        batch_id = asked_batch(call)
        batch = await self._batches.get(call.tenant, batch_id)
        if batch is None:
            raise no_such_batch(batch_id)
        return answer(self._shown.fields(batch))

    async def cancel(self, call: ApiRequest) -> Response:
        """The body is not looked at: clients send none, but announce JSON."""
        batch_id = asked_batch(call)
        try:
            batch = await self._batches.cancel(call.tenant, batch_id)
        except Conflict as error:
            # The same request would fail again, but clients repeat a 409 without this header.
            raise ApiError(409, str(error), headers={"x-should-retry": "false"}) from error
        if batch is None:
            raise no_such_batch(batch_id)
        return answer(self._shown.fields(batch))


def asked_batch(call: ApiRequest) -> BatchId:
    """The id in the path. Raises the 404 of an unknown batch when it can be none."""
    given = call.request.path_params["batch_id"]
    if not plain_id(given):
        raise no_such_batch(given)
    return BatchId(given)


def no_such_batch(given: str) -> ApiError:
    return ApiError(404, f"No batch found with id '{excerpt(given)}'.")


def unknown_cursor(given: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid 'after': no batch found with id '{excerpt(given)}'.",
        param="after",
        code="invalid_value",
    )
