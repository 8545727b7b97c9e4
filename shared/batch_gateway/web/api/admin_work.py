"""``/v1/admin/functions`` and ``/v1/admin/pools``: running functions and pools, for operators."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from starlette.responses import Response

from batch_gateway.core.errors import InvalidRequest
from batch_gateway.core.function_instances import counts_over_time
from batch_gateway.core.pool_history import PoolSample, with_pauses
from batch_gateway.core.routing import ModelEndpoint
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.coordination import CoordinationStore, PoolState
from batch_gateway.ports.routing import RouteProvider
from batch_gateway.services.state_snapshot import StateReader
from batch_gateway.web.admin_objects import AdminPool
from batch_gateway.web.admin_work_objects import AdminFunction
from batch_gateway.web.api.routing import ApiRequest, HandlersByPath, answer
from batch_gateway.web.envelope import ApiError
from batch_gateway.web.openai import ListObject
from batch_gateway.web.parsing import choice, integer, plain_id

PAGE, LONGEST_PAGE = 100, 1000

_HISTORY = timedelta(hours=1)


class AdminWorkRoutes:
    def __init__(
        self,
        *,
        coordination: CoordinationStore,
        state: StateReader,
        models: RouteProvider,
        clock: Clock,
        functions: Sequence[str],
        ceiling: int,
    ) -> None:
        """``functions``: the names of all of them; ``ceiling``: calls at once that a pool may have
        where its endpoint and its calendar say nothing."""
        self._coordination = coordination
        self._state = state
        self._models = models
        self._clock = clock
        self._functions = functions
        self._ceiling = ceiling

    @property
    def routes(self) -> HandlersByPath:
        return {
            "/v1/admin/functions": {"GET": self.functions},
            "/v1/admin/pools": {"GET": self.pools},
        }

    async def pools(self, call: ApiRequest) -> Response:
        query = call.request.query_params
        with_history = choice(query, "history", ["true", "false"], default="false") == "true"
        shared = (await self._state.state()).shared
        if shared is None:
            raise ApiError(503, "The coordination store does not answer.", code="unavailable")
        pools = sorted(shared.pools, key=lambda pool: pool.pool)
        endpoints, now = self._endpoints(), self._clock.now()
        history = await self._history(pools, now) if with_history else {}
        found = [
            AdminPool.of(
                pool, endpoints.get(pool.endpoint), now, self._ceiling, history.get(pool.pool)
            )
            for pool in pools
        ]
        return answer(ListObject.of(found, more=False))

    async def _history(
        self, pools: Sequence[PoolState], now: datetime
    ) -> Mapping[str, Sequence[PoolSample]]:
        """The last hour of each pool: its samples, and how it stands now."""
        kept = await self._coordination.slots.history([pool.pool for pool in pools])
        return {
            pool.pool: with_pauses(
                [
                    *(one for one in kept[pool.pool] if now - _HISTORY <= one.at < now),
                    PoolSample(at=now, limit=pool.limit.limit, in_flight=pool.in_use),
                ]
            )
            for pool in pools
        }

    def _endpoints(self) -> dict[str, ModelEndpoint]:
        table = self._models.table
        named = [one.endpoint for model in table.models.values() for one in model.replicas]
        return {endpoint.name: endpoint for endpoint in (*table.default, *named)}

    async def functions(self, _call: ApiRequest) -> Response:
        """All functions in alphabetical order, those without an instance too."""
        instances = await self._coordination.function_instances.list()
        since = self._clock.now() - _HISTORY
        found = []
        for name in sorted(self._functions):
            own = [one for one in instances if one.function == name]
            found.append(AdminFunction.of(name, own, counts_over_time(own, since)))
        return answer(ListObject.of(found, more=False))


def asked_page(call: ApiRequest) -> tuple[int, str | None]:
    """``limit`` and ``after`` of a listing. Raises InvalidRequest."""
    query = call.request.query_params
    limit = integer(query, "limit", default=PAGE, minimum=1, maximum=LONGEST_PAGE)
    after = query.get("after")
    if after is not None and not plain_id(after):
        raise InvalidRequest("Invalid 'after'.", param="after", code="invalid_value")
    return limit, after
