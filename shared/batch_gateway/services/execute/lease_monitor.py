"""Checks leases against the database, and reclaims leases of dead executors.

``LeaseMonitor`` queries the database at every heartbeat; a message on the control channel makes it
query at once. ``LeaseReclaimer`` takes over leases of executors that are gone. Both are loops of
their own: renewing leases waits for neither (``lease_renewer``).
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from datetime import timedelta

from batch_gateway.core.errors import Temporary
from batch_gateway.core.ids import ActivationId, BatchId
from batch_gateway.core.model import LeaseRef
from batch_gateway.ports.coordination import CoordinationStore
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.ports.shards import LeaseStatus, ShardRows
from batch_gateway.services.execute.lease_state import LeaseState
from batch_gateway.services.execute.leased_shard import LeasedShard
from batch_gateway.services.execute.supervision import report_unforeseen
from batch_gateway.services.execute.takeover import Takeover
from batch_gateway.services.execute.waiting import signal_or
from batch_gateway.services.maintenance.rebuild import ensure_generation
from batch_gateway.services.termination import Termination

logger = logging.getLogger(__name__)

_RECLAIMS = 4  # dead leases that one round takes over at most
_RESUBSCRIBE_S = 1.0
_MOVED_S = 1.0  # a deadline that moved by less has not moved: clocks and round trips


class LeaseMonitor:
    def __init__(
        self,
        *,
        rows: ShardRows,
        coordination: CoordinationStore,
        every_s: float,
        held: Callable[[], Collection[LeasedShard]],
        stop: Callable[[LeasedShard], None],
        asked: Callable[[str], None],
    ) -> None:
        """``held`` returns the shards to check; ``stop`` cancels the calls of one; ``asked`` is
        called with each message of the control channel."""
        self._rows = rows
        self._coordination = coordination
        self._every_s = every_s
        self._held = held
        self._stop = stop
        self._asked = asked
        self._look_now = asyncio.Event()

    async def keep(self) -> None:
        """Check until cancelled."""
        while True:
            try:
                await self._look()
            except Temporary as error:
                logger.warning("Batches are not checked: %s", error, extra={"action": "look"})
            await signal_or(self._look_now, self._every_s)

    async def listen(self) -> None:
        """Look at once when a batch of ours has changed; until cancelled."""
        while True:
            try:
                async with self._coordination.batch_changes.listen() as changes:
                    async for said in changes:
                        self._asked(said)
                        self._changed(said)
            except Temporary as error:
                logger.debug(
                    "The notification channel is unavailable: %s",
                    error,
                    extra={"action": "control"},
                )
            await asyncio.sleep(_RESUBSCRIBE_S)

    def _changed(self, batch: BatchId | ActivationId) -> None:
        if any(shard.lease.shard.batch == batch for shard in self._held()):
            self._look_now.set()

    async def _look(self) -> None:
        held = [shard for shard in self._held() if shard.state is not LeaseState.CLOSING]
        if not held:
            return
        clock = asyncio.get_running_loop().time
        statuses = await self._rows.standings([shard.lease.ref for shard in held])
        now = clock()
        for shard, status in zip(held, statuses, strict=True):
            if shard.held and shard.state is not LeaseState.CLOSING:
                self._learn(shard, status, now)

    def _learn(self, shard: LeasedShard, status: LeaseStatus, now: float) -> None:
        if not status.held:
            logger.warning(
                "A lease was lost", extra={"action": "lost", "shard_id": shard.lease.shard.id}
            )
            shard.lose()
            self._stop(shard)
        elif status.ending:
            shard.drain()
            self._stop(shard)
        elif status.paused:
            shard.drain()
        else:
            shard.deadline = status.deadline
            stop_at = now + status.time_left.total_seconds()
            if abs(stop_at - shard.stop_at) > _MOVED_S:
                shard.stop_at = stop_at


class LeaseReclaimer:
    """Takes over leases without heartbeat, and repairs the queue after the server lost it."""

    def __init__(
        self,
        *,
        metadata: MetadataStore,
        coordination: CoordinationStore,
        termination: Termination,
        takeover: Takeover,
        every_s: float,
        ttl: timedelta,
    ) -> None:
        self.look_now = asyncio.Event()
        """Set it to look at once: the coordination store has lost its memory, for example."""
        self._metadata = metadata
        self._coordination = coordination
        self._termination = termination
        self._takeover = takeover
        self._dead: set[ActivationId] = set()
        self._every_s = every_s
        self._ttl = ttl

    def take_over(self, dead: Collection[ActivationId]) -> None:
        """Have the leases of dead activations taken over at once."""
        if dead:
            self._dead.update(dead)
            self.look_now.set()

    async def keep(self) -> None:
        """Check until cancelled."""
        while True:
            try:
                dead, self._dead = self._dead, set()
                await self._takeover.of_dead(sorted(dead))
                await self._reclaim()
            except Temporary as error:
                logger.warning(
                    "Expired leases are not reclaimed: %s", error, extra={"action": "reclaim"}
                )
            await signal_or(self.look_now, self._every_s)

    async def generation_age(self) -> timedelta | None:
        """Age of the queue's memory, rebuilt if it was lost; None while another rebuilds it."""
        return await ensure_generation(self._metadata, self._coordination)

    async def _reclaim(self) -> None:
        """Not within one lease time of a rebuild: then living holders are silent too."""
        age = await self.generation_age()
        if age is None or age <= self._ttl:
            return
        for lease in await self._coordination.queue.expired(_RECLAIMS):
            await self._reclaim_one(lease)

    async def _reclaim_one(self, lease: LeaseRef) -> None:
        try:
            await self._termination.reclaim([lease])
        except Temporary:
            raise
        except Exception:  # noqa: BLE001 - belongs to one part
            report_unforeseen("reclaim", "%s cannot be reclaimed", lease.shard)
            await self._coordination.queue.discard([lease])  # sweeps find it by the database
