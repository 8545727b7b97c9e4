"""``/v1/batches/{id}/pause``, ``resume``, ``update``, and DELETE: extensions of OpenAI's API."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from starlette.responses import Response

from batch_gateway.core.errors import Conflict
from batch_gateway.core.ids import BatchId, TenantId
from batch_gateway.core.model import Batch
from batch_gateway.services.batches.actions import BatchActions
from batch_gateway.services.batches.service import BatchService
from batch_gateway.web import body
from batch_gateway.web.api.batches import asked_batch, no_such_batch
from batch_gateway.web.api.routing import ApiRequest, HandlersByPath, answer
from batch_gateway.web.envelope import ApiError
from batch_gateway.web.extensions import BatchDeleted, ExtendedBatchObject, UpdateBatch
from batch_gateway.web.parsing import parse

Change = Callable[[TenantId, BatchId], Awaitable[Batch | None]]


class BatchActionRoutes:
    def __init__(
        self, actions: BatchActions, batches: BatchService, *, max_bytes: int, idle_s: float
    ) -> None:
        self._actions = actions
        self._batches = batches
        self._max_bytes = max_bytes
        self._idle_s = idle_s

    @property
    def routes(self) -> HandlersByPath:
        return {
            "/v1/batches/{batch_id}": {"DELETE": self.delete},
            "/v1/batches/{batch_id}/pause": {"POST": self.pause},
            "/v1/batches/{batch_id}/resume": {"POST": self.resume},
            "/v1/batches/{batch_id}/update": {"POST": self.update},
        }

    async def pause(self, call: ApiRequest) -> Response:
        return await self._answer(call, self._actions.pause)

    async def resume(self, call: ApiRequest) -> Response:
        return await self._answer(call, self._actions.resume)

    async def update(self, call: ApiRequest) -> Response:
        raw = await body.read(call.request.receive, self._max_bytes, idle_s=self._idle_s)
        changes = parse(UpdateBatch, raw).changes()
        return await self._answer(
            call, lambda tenant, batch: self._actions.update(tenant, batch, changes)
        )

    async def delete(self, call: ApiRequest) -> Response:
        batch_id = asked_batch(call)
        with conflicts():
            deleted = await self._actions.delete(call.tenant, batch_id)
        if deleted is None:
            raise no_such_batch(batch_id)
        return answer(BatchDeleted(id=batch_id))

    async def _answer(self, call: ApiRequest, change: Change) -> Response:
        batch_id = asked_batch(call)
        with conflicts():
            changed = await change(call.tenant, batch_id)
        if changed is None:
            raise no_such_batch(batch_id)
        live = await self._batches.get(call.tenant, batch_id)
        return answer(ExtendedBatchObject.fields(live or changed))


@contextmanager
def conflicts() -> Iterator[None]:
    """A conflict as 409 that clients do not repeat: asking again would give the same."""
    try:
        yield
    except Conflict as error:
        raise ApiError(409, str(error), headers={"x-should-retry": "false"}) from error
