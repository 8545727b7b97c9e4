"""The loop of an activation that leases one shard after the other."""

import asyncio
import logging
from collections.abc import Sequence
from enum import Enum

from batch_gateway.core.errors import Temporary
from batch_gateway.core.ids import ActivationId
from batch_gateway.ports.coordination import CoordinationStore
from batch_gateway.services.execute.collaborators import StopRequests
from batch_gateway.services.execute.lease_monitor import LeaseReclaimer
from batch_gateway.services.execute.leased_shard import LeasedShard
from batch_gateway.services.execute.pools import SlotPools
from batch_gateway.services.execute.shard_opener import log
from batch_gateway.services.execute.shard_selector import SMALL, ShardSelector
from batch_gateway.services.execute.shard_supervisor import ShardSupervisor, TimeBudget
from batch_gateway.services.execute.supervision import report_unforeseen
from batch_gateway.services.execute.throughput import ThroughputReporter
from batch_gateway.services.execute.waiting import signal_or

logger = logging.getLogger(__name__)

_LOOK_S = 0.2  # between two checks when nothing happens
_PLENTY_LOOK_S = 0.5  # the same, with lines for several rounds of calls
_EMPTY_S = 0.05  # after an empty queue, however much happens
_RETRY_S = 0.5  # after a server did not answer
_BLOCKED_S = 2.0  # after this, shards whose endpoints are unavailable are handed back
_SIDE_BY_SIDE = 8  # shards that are leased at once
_AHEAD = 2  # the same, of large ones for short calls: each is some MiB in memory


class LoopEnd(Enum):
    """Why an activation leases no more shards."""

    OUT_OF_TIME = "out of time"  # a successor continues
    NO_WORK = "no work"  # or no slots for a while, and another activation runs
    FORBIDDEN = "forbidden"  # calendars allow no call of the backlog


class LeaseLoop:
    """Leases shards until the time is over or nothing is left to do."""

    def __init__(
        self,
        me: ActivationId,
        *,
        coordination: CoordinationStore,
        selector: ShardSelector,
        shards: ShardSupervisor,
        pools: SlotPools,
        throughput: ThroughputReporter,
        reclaimer: LeaseReclaimer,
        budget: TimeBudget,
        stop_requests: StopRequests,
        work: asyncio.Event,
        idle_exit_s: float,
    ) -> None:
        """``work`` is set when there may be a shard to lease, or nothing left to do."""
        self._me = me
        self._coordination = coordination
        self._selector = selector
        self._shards = shards
        self._pools = pools
        self._throughput = throughput
        self._reclaimer = reclaimer
        self._budget = budget
        self._stop_requests = stop_requests
        self._work = work
        self._idle_exit_s = idle_exit_s
        self._idle_since: float | None = None
        self._small_in_a_row = 0  # shards of few lines that were leased, and no other since

    async def run(self) -> LoopEnd:
        while not (self._stop_requests.any or self._now() >= self._budget.soft_end):
            try:
                self._stop_overdue()
                if await self._lease_more():
                    continue
                if (end := await self._loop_end()) is not None:
                    return end
            except Temporary as error:
                logger.warning("Waiting for a server: %s", error, extra={"action": "lease"})
                await asyncio.sleep(_RETRY_S)
            except Exception:  # noqa: BLE001 - belongs to one part
                report_unforeseen("lease", "A shard could not be leased")
                await asyncio.sleep(_RETRY_S)
            await asyncio.sleep(_EMPTY_S)
            await signal_or(self._work, _PLENTY_LOOK_S if self._pools.have_plenty else _LOOK_S)
        return LoopEnd.OUT_OF_TIME

    async def _lease_more(self) -> bool:
        """Lease shards and work on them; False when no more need be tried now.

        That is when there were none, or when there are lines enough and the activation held a shard
        of the same tenant already. Behind small shards as many more are leased side by side, and
        some where calls are short: one after the other, their transactions would take longer than
        their calls.
        """
        held = self._shards.held
        if not held and await self._reclaimer.generation_age() is None:
            return False  # the queue is being rebuilt
        ahead = min(self._pools.rounds_ahead, _AHEAD) if held else 1  # idle: one request
        at_once = min(max(self._small_in_a_row, ahead), _SIDE_BY_SIDE)
        found = await asyncio.gather(
            *(self._lease_one(held) for _ in range(at_once)), return_exceptions=True
        )
        if any(leased is not None for leased in found if not isinstance(leased, BaseException)):
            await self._throughput.report(self._shards.held, at_once=True)  # they left the queue
        for error in found:
            if isinstance(error, BaseException):
                raise error
        return all(leased is True for leased in found)

    async def _lease_one(self, held: Sequence[LeasedShard]) -> bool | None:
        """Whether one more shard should be leased behind this one; None: there was none."""
        tenants = {shard.lease.tenant for shard in held}
        claimed = await self._selector.next(held)
        if claimed is None:
            self._small_in_a_row = 0
            return None
        small = claimed.lease.shard.lines <= SMALL
        self._small_in_a_row = self._small_in_a_row + 1 if small else 0
        self._idle_since = None
        self._shards.start(claimed)
        return self._pools.need_work or claimed.lease.tenant not in tenants

    def _stop_overdue(self) -> None:
        """Hand back what may not or cannot continue here."""
        now = self._now()
        for shard in self._shards:
            if now >= shard.stop_at:
                self._shards.stop(shard)
        for shard in self._pools.forbidden:
            self._shards.stop(shard)
        for shard in self._pools.blocked_too_long(now, _BLOCKED_S):
            logger.info("Shard released: its endpoint is unavailable", extra=log(shard))
            shard.drain()

    async def _loop_end(self) -> LoopEnd | None:
        """Why nothing is left for this activation; None: something is."""
        if len(self._shards) and not self._pools.have_no_slots:
            self._idle_since = None
            return None
        now = self._now()
        self._idle_since = self._idle_since or now
        depth = None
        if not len(self._shards):
            if await self._reclaimer.generation_age() is None:
                return None
            depth = await self._coordination.queue.depth()
            if not (depth.ready or depth.leased or depth.reserved):
                return LoopEnd.NO_WORK
        if now - self._idle_since < self._idle_exit_s:
            return None
        if self._selector.only_forbidden and depth and not (depth.leased or depth.reserved):
            return LoopEnd.FORBIDDEN  # the janitor wakes an executor when a calendar allows it
        left = await self._coordination.activations.leave_unless_last(self._me)
        return LoopEnd.NO_WORK if left else None

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
