"""Ends batches early, at their deadline or when they are cancelled.

The end reason is set in one transaction. Executors are notified and release their shards; closing
the last one publishes ``batch.executed``. A shard that is still leased at the fence time is
reclaimed.
"""

import logging
import secrets
from collections.abc import Sequence
from datetime import timedelta

from batch_gateway import meters
from batch_gateway.core.errors import Corrupt, CorruptRow, Temporary
from batch_gateway.core.events import EventType, internal_event
from batch_gateway.core.ids import ActivationId, BatchId, split_shard_id
from batch_gateway.core.layout import lease_ref
from batch_gateway.core.model import (
    Batch,
    BatchError,
    ClosedShard,
    LeaseRef,
    ResultPart,
    Shard,
    ShardState,
)
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.coordination import CoordinationStore
from batch_gateway.ports.files import FileStore
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.services.ended_leases import settle_ended_leases
from batch_gateway.services.event_publisher import EventPublisher
from batch_gateway.services.queue_entries import queue_entry
from batch_gateway.services.results.lost_objects import LostObjectDetector
from batch_gateway.services.results.parts import (
    ShardResults,
    earlier_parts,
    read_new,
    read_recorded,
    read_surviving,
    write_part,
)
from batch_gateway.services.unreadable_shards import UnreadableShardCloser

logger = logging.getLogger(__name__)


class Termination:
    def __init__(
        self,
        *,
        metadata: MetadataStore,
        files: FileStore,
        coordination: CoordinationStore,
        publisher: EventPublisher,
        clock: Clock,
        fence: timedelta,
    ) -> None:
        self._metadata = metadata
        self._files = files
        self._coordination = coordination
        self._publisher = publisher
        self._clock = clock
        self._fence = fence
        self._lost_objects = LostObjectDetector(coordination)
        self._mender = UnreadableShardCloser(
            rows=metadata.shards, queue=coordination.queue, publisher=publisher, clock=clock
        )

    async def expire(self, batch: BatchId, *, traceparent: str | None) -> bool:
        """End a batch whose deadline has passed; False when it has not, or has ended otherwise."""
        now = self._clock.now()
        event = internal_event(EventType.BATCH_EXPIRING, batch, traceparent=traceparent)
        expired = await self._metadata.batches.expire(
            batch, now=now, fence_at=now + self._fence, events=[event]
        )
        if expired is None:
            return False
        logger.info(
            "The deadline has passed",
            extra={"action": "expiring", "batch_id": batch, "tenant_id": expired.tenant},
        )
        await self._publisher.publish(event)
        await self.notify_executors(batch)
        return True

    async def stop(self, batch: Batch, reason: BatchError) -> bool:
        """Cancel a batch for a ``reason`` of ours; False when it is ending already."""
        now = self._clock.now()
        event = internal_event(EventType.BATCH_CANCELLING, batch.id, traceparent=batch.traceparent)
        stopped = await self._metadata.batches.cancel(
            batch.tenant,
            batch.id,
            now=now,
            fence_at=now + self._fence,
            events=[event],
            errors=[reason],
        )
        if stopped is None:
            return False
        logger.info(
            "Stopped: %s",
            reason.message,
            extra={"action": "stopped", "batch_id": batch.id, "tenant_id": batch.tenant},
        )
        await self._publisher.publish(event)
        await self.notify_executors(batch.id)
        return True

    async def notify_executors(self, batch: BatchId) -> None:
        """Tell executors to look, and take the batch's shards out of the queue: hints only."""
        try:
            await self._coordination.batch_changes.publish(batch)
            await self._coordination.queue.withdraw(batch)
        except Temporary as error:
            logger.debug("Executors are not notified before their next heartbeat: %s", error)

    async def held(self, batch: BatchId) -> Sequence[LeaseRef]:
        """The leases of a batch with an ending; shards that cannot be decoded are closed.

        A batch that has no lease, and yet open shards, has them counted anew.
        """
        try:
            leases = await self._leases(batch)
        except CorruptRow as error:
            await self._mender.mend_for(error, batch)
            return await self._leases(batch)
        if not leases:
            await self._mender.mend(batch)
        return leases

    async def close_unreadable(self, batch: BatchId) -> None:
        """Close the shards of a batch whose rows cannot be decoded, whatever their state."""
        await self._mender.mend(batch)

    async def _leases(self, batch: BatchId) -> Sequence[LeaseRef]:
        return [
            lease_ref(shard)
            async for shard in self._metadata.shards.of_batch(batch)
            if shard.state is ShardState.LEASED
        ]

    async def reclaim(self, observed: Sequence[LeaseRef]) -> int:
        """Take shards from holders that are gone; how many.

        A shard that cannot be taken, for whatever reason, does not keep the others: it is logged
        and counted. Raises Unavailable when a store does not answer.
        """
        taken = 0
        for ref in observed:
            try:
                taken += await self.reclaim_one(ref)
            except Temporary:
                raise
            except Exception:
                logger.exception(
                    "%s cannot be reclaimed now",
                    ref.shard,
                    extra={"action": "reclaim", "shard_id": ref.shard},
                )
                meters.SWEEP_ITEMS_FAILED.labels("reclaim").inc()
        return taken

    async def fence(self, batch: BatchId) -> int:
        """Take the leased shards of a batch with an ending whose time to give them up is over."""
        return await self.reclaim(await self.held(batch))

    async def reclaim_one(self, observed: LeaseRef) -> bool:
        """Take a shard from a holder that is gone; it is ready again, or closed.

        False when it has another lease by now. Takes over, finds out what the old holder finished,
        and hands back; dying in between leaves a lease without heartbeat, which is reclaimed in the
        same way. Raises Corrupt when recorded results are missing, until they count as lost
        (``results.losses``): then only what is left stays recorded, and the shard continues. One
        whose row cannot be decoded is closed (``mending``).
        """
        try:
            lease = await self._metadata.shards.take_over(
                observed,
                holder=ActivationId("reclaimer"),
                token=secrets.token_hex(6),
                now=self._clock.now(),
            )
        except CorruptRow as error:
            batch, _ = split_shard_id(observed.shard)
            await self._mender.mend_for(error, batch)
            return True
        if lease is None:  # finished, handed back or reclaimed by another
            await settle_ended_leases(self._metadata.shards, self._coordination.queue, [observed])
            return False
        shard = lease.shard
        known = {part.key for part in shard.parts}
        found = [part for part in await earlier_parts(self._files, shard) if part.key not in known]
        recorded: Sequence[ResultPart] = shard.parts
        try:
            results = await read_recorded(self._files, recorded, keep=False)
        except Corrupt:
            if not await self._lost_objects.is_final(shard.id):
                raise
            results, recorded = await self._survivors(shard)
        parts = [*recorded, *await read_new(self._files, found, results)]
        event = internal_event(EventType.BATCH_EXECUTED, shard.batch, traceparent=lease.traceparent)
        released = await self._metadata.shards.release(
            lease.ref,
            parts,
            results.tally,
            now=self._clock.now(),
            events=[event],
        )
        logger.warning(
            "Took %s from a holder that is gone; %d of %d lines are finished",
            shard.id,
            len(results.lines),
            shard.lines,
            extra={"action": "reclaimed", "batch_id": shard.batch, "shard_id": shard.id},
        )
        if released is True:
            await self._coordination.queue.release(queue_entry(lease, shard), lease=lease.ref)
        elif isinstance(released, ClosedShard):
            await self._coordination.queue.complete([shard.id])
            if released.last:
                await self._publisher.publish(event)
        return True

    async def _survivors(self, shard: Shard) -> tuple[ShardResults, Sequence[ResultPart]]:
        """What is left of the recorded results, stored as one part."""
        results, lost = await read_surviving(self._files, shard.parts)
        logger.error(
            "%d recorded parts of %s are lost; %d of its %d lines have results",
            lost,
            shard.id,
            len(results.lines),
            shard.lines,
            extra={"action": "lost", "batch_id": shard.batch, "shard_id": shard.id},
        )
        meters.PARTS_LOST.inc(lost)
        kept = list(results.lines.values())
        return results, [await write_part(self._files, shard, 0, kept)] if kept else []
