"""``/v1/batches/{id}/results`` and ``/requests``: results before a batch has ended.

Not in OpenAI's API. The lines are those of the output and error file, byte for byte. The
headers of a page contain the position to continue at. With ``follow`` cursor lines contain it,
because headers are sent before the lines.
"""

from collections.abc import AsyncIterator

import msgspec
from starlette.responses import Response, StreamingResponse

from batch_gateway.core.errors import InvalidRequest, NotFound
from batch_gateway.core.ids import BatchId
from batch_gateway.services.request_errors import missing
from batch_gateway.services.results.lookup import RequestLookup
from batch_gateway.services.results.stream import ResultService, StreamCursor
from batch_gateway.web.api.batches import asked_batch, no_such_batch
from batch_gateway.web.api.routing import ApiRequest, HandlersByPath
from batch_gateway.web.envelope import ApiError
from batch_gateway.web.parsing import choice, integer

PAGE, LONGEST_PAGE = 1000, 10_000
_LONGEST_ID = 65_536  # characters of a custom_id that is looked for

MEDIA_TYPE = "application/jsonl"


class ResultRoutes:
    def __init__(self, results: ResultService, lookup: RequestLookup) -> None:
        self._results = results
        self._lookup = lookup

    @property
    def routes(self) -> HandlersByPath:
        return {
            "/v1/batches/{batch_id}/results": {"GET": self.results},
            "/v1/batches/{batch_id}/requests": {"GET": self.request},
        }

    async def results(self, call: ApiRequest) -> Response:
        batch_id, query = asked_batch(call), call.request.query_params
        limit = integer(query, "limit", default=PAGE, minimum=0, maximum=LONGEST_PAGE)
        follow = choice(query, "follow", ["true", "false"], default="false") == "true"
        try:
            if follow:
                return await self._follow(call, batch_id, query.get("after"))
            page = await self._results.page(
                call.tenant, batch_id, after=query.get("after"), limit=limit
            )
        except NotFound as error:
            raise ApiError(404, str(error), code="results_gone") from error
        if page is None:
            raise no_such_batch(batch_id)
        headers = {"x-next-cursor": page.cursor, "x-has-more": str(page.more).lower()}
        return Response(b"".join(page.lines), 200, headers, MEDIA_TYPE)

    async def _follow(self, call: ApiRequest, batch_id: BatchId, after: str | None) -> Response:
        found = await self._results.follow(call.tenant, batch_id, after=after)
        if found is None:
            raise no_such_batch(batch_id)
        if call.request.method == "HEAD":
            return Response(None, 200, media_type=MEDIA_TYPE)
        return StreamingResponse(_spelled(found), 200, media_type=MEDIA_TYPE)

    async def request(self, call: ApiRequest) -> Response:
        batch_id = asked_batch(call)
        custom_id = call.request.query_params.get("custom_id")
        if custom_id is None:
            raise missing("custom_id")
        if len(custom_id) > _LONGEST_ID:
            raise InvalidRequest("Invalid 'custom_id': too long.", param="custom_id")
        try:
            found = await self._lookup.find(call.tenant, batch_id, custom_id)
        except NotFound as error:
            raise ApiError(404, str(error), param="custom_id") from error
        if found is None:
            raise no_such_batch(batch_id)
        shown = {
            "object": "batch.request",
            "batch_id": batch_id,
            "custom_id": custom_id,
            "status": found.state.value,
            "result": None if found.result is None else msgspec.Raw(found.result),
        }
        return Response(msgspec.json.encode(shown), media_type="application/json")


async def _spelled(found: AsyncIterator[bytes | StreamCursor]) -> AsyncIterator[bytes]:
    async for item in found:
        if isinstance(item, StreamCursor):
            yield msgspec.json.encode({"cursor": item.cursor, "status": item.status}) + b"\n"
        else:
            yield item
