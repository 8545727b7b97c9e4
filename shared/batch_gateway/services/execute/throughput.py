"""Reports throughput, and marks urgent batches.

An activation reports differences, about once a second. At every heartbeat it estimates anew what
the batches of its leased shards still need; one activation at a time does so for the batches in the
queue with the earliest deadlines. So urgency follows the estimates, at the price of a few commands.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta

from batch_gateway.core.errors import Temporary
from batch_gateway.core.ids import ActivationId, BatchId
from batch_gateway.core.throughput import BlockedReason, speed_at_work, time_needed, urgent_after
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.coordination import CoordinationStore
from batch_gateway.ports.throughput import WorkReport
from batch_gateway.services.execute.leased_shard import LeasedShard
from batch_gateway.settings import ExecutionSettings, QueueSettings

logger = logging.getLogger(__name__)

_EVERY_S = 1.0
_LOOKED_AT = 500  # batches in the queue that are judged at a time
_BLOCKED = timedelta(minutes=2)  # holds while executors come and go
_MOVED = timedelta(seconds=1)  # smaller changes are not written to the queue

_Key = tuple[BatchId, str]  # batch and model


class ThroughputReporter:
    def __init__(
        self,
        holder: ActivationId,
        *,
        coordination: CoordinationStore,
        clock: Clock,
        execution: ExecutionSettings,
        rules: QueueSettings,
        blocked_reason_of: Callable[[LeasedShard], BlockedReason | None] = lambda _: None,
        models_blocked: Callable[[], Mapping[str, BlockedReason | None]] = dict,
    ) -> None:
        """``blocked_reason_of`` returns why a shard does not continue; None: it does.
        ``models_blocked`` returns the models that cannot be called, and why; None: a call was
        answered since the last request for it."""
        self._holder = holder
        self._coordination = coordination
        self._clock = clock
        self._blocked_reason_of = blocked_reason_of
        self._models_blocked = models_blocked
        self._rules = rules
        self._every = timedelta(seconds=execution.heartbeat_s)
        self._ttl = timedelta(seconds=execution.lease_ttl_s)
        self._done = Counter[_Key]()  # cost finished and not reported yet
        self._reported_at = 0.0  # loop.time()
        self._told: set[_Key] = set()  # of which something is said to be left

    def count(self, shard: LeasedShard) -> None:
        """Take up what ``shard`` has finished since the last time."""
        self._done[_key(shard)] += shard.newly_done()  # type: ignore[assignment]

    async def report(self, shards: Collection[LeasedShard], *, at_once: bool = False) -> None:
        """Report what was done since the last report and what is left. If the coordination store is
        unavailable, the next report includes it.

        About once a second, unless it must be ``at_once`` or there is work on a new batch.
        """
        time = asyncio.get_running_loop().time()
        new = {_key(shard) for shard in shards} - self._told
        if time - self._reported_at < _EVERY_S and not new and not at_once:
            return
        left = Counter[_Key]()
        for shard in shards:
            self.count(shard)
            left[_key(shard)] += shard.cost_left  # type: ignore[assignment]
        keys = {key for key, done in self._done.items() if done} | self._told | left.keys()
        reports = [
            WorkReport(
                batch=key[0],
                model=key[1],
                done=self._done[key],
                left=left[key],
                blocked=self._blocked([h for h in shards if _key(h) == key]),
            )
            for key in sorted(keys)
        ]
        try:
            await self._coordination.throughput.report(self._holder, reports, ttl=self._ttl)
            await self._coordination.throughput.block(self._models_blocked(), ttl=_BLOCKED)
        except Temporary as error:
            logger.debug("Throughput is not reported: %s", error, extra={"action": "pace"})
            return
        self._reported_at = time
        self._done.clear()
        self._told = {key for key, cost in left.items() if cost}

    def _blocked(self, shards: Sequence[LeasedShard]) -> BlockedReason | None:
        """Why none of ``shards`` continues; None: one does, or will at once."""
        found = [self._blocked_reason_of(shard) for shard in shards]
        return None if None in found else next(iter(found), None)

    async def judge(self, shards: Collection[LeasedShard]) -> None:
        """Find out anew which batches are urgent, ours and those in the queue."""
        own = {shard.lease.shard.batch: shard.deadline for shard in shards}
        most = _LOOKED_AT if await self._coordination.once("urgency", self._every) else 0
        if not own and not most:
            return
        waiting = await self._coordination.queue.waiting(most, list(own))
        deadlines = {**{batch: ready.deadline for batch, ready in waiting.items()}, **own}
        queued = {batch: ready.cost for batch, ready in waiting.items()}
        needed = await self._time_needed(deadlines, queued)
        at = {
            batch: urgent_after(
                deadline,
                needed[batch],
                margin=self._rules.urgent_margin,
                safety=self._rules.urgent_safety,
            )
            for batch, deadline in deadlines.items()
        }
        moved = {}
        for batch, ready in waiting.items():
            before = ready.urgent_after
            if before is None or abs(at[batch] - before) > _MOVED:
                moved[batch] = at[batch]
        if moved:
            await self._coordination.queue.urge(moved)
        now = self._clock.now()
        for shard in shards:
            shard.urgent = at[shard.lease.shard.batch] <= now

    async def _time_needed(
        self, batches: Iterable[BatchId], queued: Mapping[BatchId, Mapping[str, float]]
    ) -> dict[BatchId, timedelta | None]:
        """For queued and for leased shards."""
        paces = await self._coordination.throughput.of_batches(list(batches))
        left: dict[BatchId, Counter[str]] = {}
        for batch in batches:
            left[batch] = Counter(queued.get(batch, {}))
            if batch in paces:
                left[batch].update(paces[batch].cost_held())
        models = sorted({model for cost in left.values() for model in cost})
        done = await self._coordination.throughput.of_models(models)
        speeds = {model: speed_at_work(buckets) for model, buckets in done.items()}
        return {batch: time_needed(cost, speeds) for batch, cost in left.items()}


def _key(shard: LeasedShard) -> _Key:
    row = shard.lease.shard
    return row.batch, row.model
