"""``/v1/admin/batches``: the batches of all tenants, for operators.

Operators see what a batch is, how it goes and which webhooks were sent of it, and may cancel it.
They do not see its requests and answers.
"""

from collections.abc import Mapping, Sequence

from starlette.responses import Response

from batch_gateway.core.errors import InvalidRequest, Unavailable
from batch_gateway.core.ids import BatchId, tenant_id
from batch_gateway.core.model import Batch
from batch_gateway.ports.batches import BatchRows
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.coordination import CoordinationStore
from batch_gateway.ports.pages import Page
from batch_gateway.services.batches.analytics import AnalyticsService
from batch_gateway.services.batches.completion_estimates import CompletionEstimates
from batch_gateway.services.batches.service import BatchService
from batch_gateway.services.webhooks.endpoints import EndpointService
from batch_gateway.web.admin_work_objects import AdminBatch, AdminBatchDetail, AdminDelivery
from batch_gateway.web.api.admin_work import asked_page
from batch_gateway.web.api.batch_actions import conflicts
from batch_gateway.web.api.batches import asked_batch, no_such_batch, unknown_cursor
from batch_gateway.web.api.routing import ApiRequest, HandlersByPath, answer
from batch_gateway.web.extensions import asked_filter
from batch_gateway.web.openai import ListObject
from batch_gateway.web.openai_usage import BatchAnalyticsObject
from batch_gateway.web.parsing import choice

#: Orders of the listing.
BY_DEADLINE, BY_CREATION = "deadline", "created"

_FILTERS = ("tenant", "status", "model", "created_after", "created_before")


class AdminBatchRoutes:
    def __init__(
        self,
        *,
        rows: BatchRows,
        batches: BatchService,
        analytics: AnalyticsService,
        endpoints: EndpointService,
        coordination: CoordinationStore,
        estimates: CompletionEstimates,
        clock: Clock,
    ) -> None:
        self._rows = rows
        self._batches = batches
        self._analytics = analytics
        self._endpoints = endpoints
        self._coordination = coordination
        self._estimates = estimates
        self._clock = clock

    @property
    def routes(self) -> HandlersByPath:
        one = "/v1/admin/batches/{batch_id}"
        return {
            "/v1/admin/batches": {"GET": self.list},
            one: {"GET": self.get},
            f"{one}/analytics": {"GET": self.analytics},
            f"{one}/deliveries": {"GET": self.deliveries},
            f"{one}/cancel": {"POST": self.cancel},
        }

    async def list(self, call: ApiRequest) -> Response:
        """Batches that have requests to run by deadline, or all by creation."""
        query = call.request.query_params
        order = choice(query, "order", [BY_DEADLINE, BY_CREATION], default=BY_DEADLINE)
        page = await (self._open(call) if order == BY_DEADLINE else self._all(call))
        shown = await self._estimates.add(page.items)
        urgent = await self._urgent(shown)
        return answer(
            ListObject.of(
                [AdminBatch.of(batch, urgent=urgent.get(batch.id)) for batch in shown],
                more=page.more,
            )
        )

    async def _open(self, call: ApiRequest) -> Page[Batch]:
        """Raises InvalidRequest, also for filters: this order has none."""
        for name in call.request.query_params:
            if name in _FILTERS or name.startswith("metadata["):
                raise InvalidRequest(
                    f"Invalid '{name}': only the order 'created' has filters.",
                    param=name,
                    code="invalid_value",
                )
        limit, after = asked_page(call)
        before = None
        if after is not None and (before := await self._rows.load(BatchId(after))) is None:
            raise unknown_cursor(after)
        found = await self._rows.running(limit=limit + 1, after=before)
        return Page(items=found[:limit], more=len(found) > limit)

    async def _all(self, call: ApiRequest) -> Page[Batch]:
        """Raises InvalidRequest."""
        query = call.request.query_params
        limit, after = asked_page(call)
        behind, only = None if after is None else BatchId(after), asked_filter(query)
        if "tenant" not in query:
            page = await self._rows.list_all(limit=limit, after=behind, only=only)
        elif (owner := tenant_id(query["tenant"])) is None:
            raise InvalidRequest("Invalid 'tenant'.", param="tenant", code="invalid_value")
        else:
            page = await self._rows.list(owner, limit=limit, after=behind, only=only)
        if page is None:
            raise unknown_cursor(after or "")
        return page

    async def get(self, call: ApiRequest) -> Response:
        return await self._answer(await self._asked(call))

    async def analytics(self, call: ApiRequest) -> Response:
        batch = await self._asked(call)
        found = await self._analytics.get(batch.tenant, batch.id)
        if found is None:
            raise no_such_batch(batch.id)
        return answer(BatchAnalyticsObject.of(found))

    async def deliveries(self, call: ApiRequest) -> Response:
        batch = await self._asked(call)
        found = await self._endpoints.all_deliveries_of_batch(batch.tenant, batch.id)
        return answer(ListObject.of([AdminDelivery.to(*each) for each in found], more=False))

    async def cancel(self, call: ApiRequest) -> Response:
        """The body is not looked at, as with the tenant's own route."""
        batch = await self._asked(call)
        with conflicts():
            cancelled = await self._batches.cancel(batch.tenant, batch.id)
        if cancelled is None:
            raise no_such_batch(batch.id)
        return await self._answer(cancelled)

    async def _asked(self, call: ApiRequest) -> Batch:
        """Raises the 404 of an unknown batch."""
        name = asked_batch(call)
        batch = await self._rows.load(name)
        if batch is None:
            raise no_such_batch(name)
        return batch

    async def _answer(self, batch: Batch) -> Response:
        [shown] = await self._estimates.add([batch])
        urgent = await self._urgent([shown])
        return answer(AdminBatchDetail.fields_with(shown, urgent=urgent.get(shown.id)))

    async def _urgent(self, batches: Sequence[Batch]) -> Mapping[BatchId, bool]:
        """Whether ready shards are in the urgent lane; nothing for batches without ready shards,
        and for all while the coordination store does not answer."""
        now = self._clock.now()
        running = [batch.id for batch in batches if not batch.terminal]
        if not running:
            return {}
        try:
            waiting = await self._coordination.queue.waiting(0, running)
        except Unavailable:
            return {}
        return {
            name: work.urgent_after is not None and work.urgent_after <= now
            for name, work in waiting.items()
        }
