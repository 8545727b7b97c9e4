"""``/v1/admin/...``: what works and what is worked on, for operators."""

from collections.abc import Sequence
from datetime import timedelta

from starlette.responses import Response

from batch_gateway.core.errors import InvalidRequest, Unavailable
from batch_gateway.core.function_instances import counts_over_time
from batch_gateway.core.ids import BatchId
from batch_gateway.core.model import Batch
from batch_gateway.core.routing import ModelEndpoint
from batch_gateway.ports.batches import BatchRows
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.scratch import ScratchStore
from batch_gateway.services.batches.completion_estimates import CompletionEstimates
from batch_gateway.services.routing import Routes as ModelRoutes
from batch_gateway.services.state_snapshot import StateReader
from batch_gateway.web.admin_objects import AdminPool
from batch_gateway.web.admin_work_objects import AdminBatch, AdminFunction
from batch_gateway.web.api.routing import Call, Routes, answer
from batch_gateway.web.envelope import ApiError
from batch_gateway.web.openai import ListObject
from batch_gateway.web.parsing import integer, plain_id

PAGE, LONGEST_PAGE = 100, 1000

_HISTORY = timedelta(hours=1)


class AdminWorkRoutes:
    def __init__(
        self,
        *,
        batches: BatchRows,
        scratch: ScratchStore,
        state: StateReader,
        estimates: CompletionEstimates,
        models: ModelRoutes,
        clock: Clock,
        functions: Sequence[str],
        ceiling: int,
    ) -> None:
        """``functions``: the names of all of them; ``ceiling``: calls at once that a pool may have
        where its endpoint and its calendar say nothing."""
        self._batches = batches
        self._scratch = scratch
        self._state = state
        self._estimates = estimates
        self._models = models
        self._clock = clock
        self._functions = functions
        self._ceiling = ceiling

    @property
    def routes(self) -> Routes:
        return {
            "/v1/admin/batches": {"GET": self.batches},
            "/v1/admin/functions": {"GET": self.functions},
            "/v1/admin/pools": {"GET": self.pools},
        }

    async def pools(self, _call: Call) -> Response:
        shared = (await self._state.state()).shared
        if shared is None:
            raise ApiError(503, "The scratch server does not answer.", code="unavailable")
        endpoints, now = self._endpoints(), self._clock.now()
        found = [
            AdminPool.of(pool, endpoints.get(pool.endpoint), now, self._ceiling)
            for pool in sorted(shared.pools, key=lambda pool: pool.pool)
        ]
        return answer(ListObject.of(found, more=False))

    def _endpoints(self) -> dict[str, ModelEndpoint]:
        table = self._models.table
        named = [one.endpoint for model in table.models.values() for one in model.replicas]
        return {endpoint.name: endpoint for endpoint in (*table.default, *named)}

    async def batches(self, call: Call) -> Response:
        """Batches of all tenants that have requests to run, the first deadline first."""
        limit, after = asked_page(call)
        before = None
        if after is not None and (before := await self._batches.load(BatchId(after))) is None:
            raise InvalidRequest("Invalid 'after'.", param="after", code="invalid_value")
        found = await self._batches.running(limit=limit + 1, after=before)
        shown = await self._estimates.add(found[:limit])
        urgent = await self._urgent(shown)
        return answer(
            ListObject.of(
                [AdminBatch.of(batch, urgent=urgent.get(batch.id)) for batch in shown],
                more=len(found) > limit,
            )
        )

    async def _urgent(self, batches: Sequence[Batch]) -> dict[BatchId, bool]:
        """Whether ready shards are in the urgent lane; nothing for batches without ready shards,
        and for all while the scratch server does not answer."""
        now = self._clock.now()
        try:
            waiting = await self._scratch.queue.waiting(0, [batch.id for batch in batches])
        except Unavailable:
            return {}
        return {
            name: work.urgent_after is not None and work.urgent_after <= now
            for name, work in waiting.items()
        }

    async def functions(self, _call: Call) -> Response:
        """All functions in alphabetical order, those without an instance too."""
        instances = await self._scratch.function_instances.list()
        since = self._clock.now() - _HISTORY
        found = []
        for name in sorted(self._functions):
            own = [one for one in instances if one.function == name]
            found.append(AdminFunction.of(name, own, counts_over_time(own, since)))
        return answer(ListObject.of(found, more=False))


def asked_page(call: Call) -> tuple[int, str | None]:
    """``limit`` and ``after`` of a listing. Raises InvalidRequest."""
    query = call.request.query_params
    limit = integer(query, "limit", default=PAGE, minimum=1, maximum=LONGEST_PAGE)
    after = query.get("after")
    if after is not None and not plain_id(after):
        raise InvalidRequest("Invalid 'after'.", param="after", code="invalid_value")
    return limit, after
