"""Adds completion estimates and blocking reasons to running batches.

``core.completion_estimate`` computes both from the coordination store: queued work, the work that
executors hold, and their throughput. While the coordination store is unavailable there are none.

Clients poll their batches several times a second. Values that are the same for all batches (the
throughput of models, pools, full stores) are therefore read once per ``FRESH_FOR_S``.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from batch_gateway.core.completion_estimate import PoolUsage, blocked_reason, completes_at
from batch_gateway.core.errors import Temporary
from batch_gateway.core.model import Batch, BatchBlockedReason, BatchStatus
from batch_gateway.core.routing import CalendarBlockedModels, RoutingTable
from batch_gateway.core.throughput import (
    BatchThroughput,
    BlockedReason,
    speed_at_work,
    time_left,
    time_needed,
)
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.coordination import CoordinationStore, PoolState
from batch_gateway.ports.routing import RouteProvider

T = TypeVar("T")

logger = logging.getLogger(__name__)

FRESH_FOR_S = 0.3  # what is read is used so long: executors report once a second

#: While one of these lasts, the time at which work resumes is unknown.
_NO_END = (BatchBlockedReason.WAITING_FOR_MODEL, BatchBlockedReason.ENDPOINT_UNAUTHORIZED)


class CompletionEstimates:
    def __init__(
        self, coordination: CoordinationStore, routes: RouteProvider, clock: Clock, *, ceiling: int
    ) -> None:
        """``ceiling``: most slots of a pool, as the deployment has it."""
        self._coordination = coordination
        self._routes = routes
        self._clock = clock
        self._ceiling = ceiling
        self._recent: dict[object, tuple[float, Any]] = {}  # when it was read, and what

    async def _recently(self, what: object, read: Callable[[], Awaitable[T]]) -> T:
        """What ``read`` has returned for ``what`` a moment ago, or returns now."""
        now = asyncio.get_running_loop().time()
        if (known := self._recent.get(what)) is not None and now < known[0] + FRESH_FOR_S:
            found: T = known[1]
            return found
        self._recent = {
            key: (at, kept) for key, (at, kept) in self._recent.items() if now < at + FRESH_FOR_S
        }
        found = await read()
        self._recent[what] = now, found
        return found

    async def add(self, batches: Sequence[Batch]) -> Sequence[Batch]:
        """``batches``; running ones with their completion estimates."""
        batches = await self._with_full_stores(batches)
        running = [batch.id for batch in batches if batch.status is BatchStatus.IN_PROGRESS]
        if not running:
            return batches
        try:
            queued = await self._coordination.queue.waiting(0, running)
            paces = await self._coordination.throughput.of_batches(running)
            left = {}
            for name in running:
                left[name] = Counter[str](queued[name].cost if name in queued else {})
                left[name].update(paces[name].cost_held() if name in paces else {})
            models = sorted(
                {model for cost in left.values() for model in cost}
                | {batch.model for batch in batches if batch.id in left and batch.model}
            )
            named = tuple(models)
            models_blocked = await self._recently(
                ("blocked", named), lambda: self._coordination.throughput.blocked(named)
            )
            done = await self._recently(
                ("done", named), lambda: self._coordination.throughput.of_models(named)
            )
            pools = await self._recently("pools", self._coordination.slots.pools)
        except Temporary as error:
            logger.warning("No completion estimate: %s", error, extra={"action": "no_outlook"})
            return batches
        speeds = {model: speed_at_work(buckets) for model, buckets in done.items()}
        now = self._clock.now()
        shut = self._routes.table.shut(now)
        return [
            self._with_outlook(
                batch, paces.get(batch.id), left[batch.id], speeds, pools, models_blocked, now, shut
            )
            if batch.id in left
            else batch
            for batch in batches
        ]

    async def _with_full_stores(self, batches: Sequence[Batch]) -> Sequence[Batch]:
        """What has not ended waits for room while a store takes no more, also when no executor is
        needed any more; only its owner's pause goes before."""
        if all(batch.terminal for batch in batches):
            return batches
        try:
            full = bool(await self._recently("full", self._coordination.full_stores.stores))
        except Temporary:
            return batches  # said below, if it matters
        if not full:
            return batches
        return [
            batch
            if batch.terminal or batch.paused
            else batch.evolve(blocked_reason=BatchBlockedReason.STORAGE_FULL)
            for batch in batches
        ]

    def _with_outlook(
        self,
        batch: Batch,
        pace: BatchThroughput | None,
        left: Mapping[str, float],
        speeds: Mapping[str, float | None],
        pools: Sequence[PoolState],
        models_blocked: Mapping[str, BlockedReason],
        now: datetime,
        shut: CalendarBlockedModels,
    ) -> Batch:
        if batch.blocked_reason is BatchBlockedReason.STORAGE_FULL:
            return batch
        table = self._routes.table

        def is_shut(model: str) -> bool:
            return model in shut.names or (shut.only is not None and model not in shut.only)

        reason = blocked_reason(
            batch,
            pace,
            left=left,
            shut=is_shut,
            pools=_views(table, pools, left),
            now=now,
            models_blocked=models_blocked,
        )
        if reason in _NO_END:
            return batch.evolve(blocked_reason=reason)
        needed = _needed(pace, left, speeds, now)
        if needed is None or batch.paused or batch.ending is not None:
            return batch.evolve(blocked_reason=reason)
        slowest = max(left, key=lambda model: left[model])
        done = completes_at(
            now,
            needed,
            ceiling=lambda at: table.ceiling(slowest, at, self._ceiling),
            next_change=lambda at: table.next_change(slowest, at, self._ceiling),
        )
        return batch.evolve(blocked_reason=reason, estimated_completion_at=done)


def _needed(
    pace: BatchThroughput | None,
    left: Mapping[str, float],
    speeds: Mapping[str, float | None],
    now: datetime,
) -> timedelta | None:
    """At the batch's own speed; at what its models can do, when it has not been worked on."""
    if sum(left.values()) <= 0:
        return None
    if pace is None:
        return time_needed(left, speeds)
    return time_left(pace, sum(left.values()), now)


def _views(
    table: RoutingTable, pools: Sequence[PoolState], models: Mapping[str, float]
) -> list[PoolUsage]:
    """The pools that serve ``models``."""
    states = {state.pool: state for state in pools}
    return [
        PoolUsage(
            model=model,
            full=state.granted >= int(state.limit.limit) and state.wanted > state.in_use,
            braked_at=state.limit.braked_at,
        )
        for model in models
        for replica in table.replicas(model)
        if (state := states.get(replica.pool)) is not None
    ]
