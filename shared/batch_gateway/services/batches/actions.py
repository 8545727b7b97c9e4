"""Actions on batches: pause, resume, change priority or window, delete.

The change is one transaction. Executors read it with their heartbeats, or at once after a hint on
the control channel. A paused batch leaves the queue, its running calls continue to their end, and
its deadline stays. If the coordination store is unavailable, the next sweep updates the queue.
"""

import logging
from dataclasses import dataclass
from datetime import timedelta

from batch_gateway.core.errors import Conflict, InvalidRequest, Temporary
from batch_gateway.core.ids import BatchId, TenantId
from batch_gateway.core.layout import work_prefix
from batch_gateway.core.model import Batch, BatchStatus, EndReason
from batch_gateway.core.window import parse_window
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.coordination import BatchChangeNotifications
from batch_gateway.ports.files import FileStore
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.ports.shard_queue import ShardQueue
from batch_gateway.services.event_publisher import ActivationTrigger
from batch_gateway.services.queue_entries import enqueue_shards
from batch_gateway.services.termination import Termination

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchUpdate:
    """What shall be different; None: stays as it is."""

    priority: int | None = None
    completion_window: str | None = None  # counts from the batch's creation, as the first one did


class BatchActions:
    """Each method returns the changed row, and None when the tenant has no such batch.

    All but ``delete`` raise Conflict when the batch is ending or has ended; that one, when not.
    """

    def __init__(
        self,
        *,
        metadata: MetadataStore,
        files: FileStore,
        queue: ShardQueue,
        control: BatchChangeNotifications,
        termination: Termination,
        activation_trigger: ActivationTrigger,
        clock: Clock,
    ) -> None:
        self._metadata = metadata
        self._files = files
        self._queue = queue
        self._control = control
        self._termination = termination
        self._activation_trigger = activation_trigger
        self._clock = clock

    async def pause(self, tenant: TenantId, batch: BatchId) -> Batch | None:
        """Start no more of the batch's lines; a second request changes nothing."""
        paused = await self._metadata.batches.pause(tenant, batch, True)
        if paused is None:
            return await self._refused(tenant, batch, "pause")
        logger.info("Paused", extra={"action": "paused", "batch_id": batch})
        await self._termination.notify_executors(batch)
        return paused

    async def resume(self, tenant: TenantId, batch: BatchId) -> Batch | None:
        """Continue where the pause began; a second request changes nothing."""
        resumed = await self._metadata.batches.pause(tenant, batch, False)
        if resumed is None:
            return await self._refused(tenant, batch, "resume")
        logger.info("Resumed", extra={"action": "resumed", "batch_id": batch})
        await self._spread(resumed)
        return resumed

    async def update(self, tenant: TenantId, batch: BatchId, changes: BatchUpdate) -> Batch | None:
        """Raises InvalidRequest when the new window is none, or would be over already."""
        window = None
        if changes.completion_window is not None:
            window = parse_window(changes.completion_window)
        found = await self._metadata.batches.get(tenant, batch)
        if found is None:
            return None
        deadline = None if window is None else found.created_at + window
        if window is not None and not found.terminal:
            self._check_ahead(found, window)
        updated = await self._metadata.batches.update(
            tenant,
            batch,
            priority=changes.priority,
            completion_window=changes.completion_window,
            deadline=deadline,
        )
        if updated is None:
            return await self._refused(tenant, batch, "update")
        logger.info("Updated", extra={"action": "updated", "batch_id": batch})
        await self._spread(updated)
        return updated

    async def delete(self, tenant: TenantId, batch: BatchId) -> Batch | None:
        """Remove a batch that has ended. Its input and result files stay.

        What only its work needed goes first: without the row no sweep would look for it.
        """
        found = await self._metadata.batches.get(tenant, batch)
        if found is None:
            return None
        if not found.terminal:
            raise Conflict(f"Cannot delete a batch with status '{found.status}'.")
        await self._files.delete_prefix(work_prefix(batch))
        deleted = await self._metadata.batches.delete(tenant, batch)
        if deleted is not None:
            logger.info("Deleted", extra={"action": "deleted", "batch_id": batch})
        return deleted

    def _check_ahead(self, batch: Batch, window: timedelta) -> None:
        if batch.created_at + window <= self._clock.now():
            raise InvalidRequest(
                "Invalid 'completion_window': it counts from the creation of the batch, and would "
                "be over already.",
                param="completion_window",
                code="invalid_value",
            )

    async def _refused(self, tenant: TenantId, batch: BatchId, what: str) -> Batch | None:
        """None when there is no such batch. Raises Conflict when there is."""
        found = await self._metadata.batches.get(tenant, batch)
        if found is None:
            return None
        over = (
            "" if found.ending is not EndReason.EXPIRED or found.terminal else ", which is expiring"
        )
        raise Conflict(f"Cannot {what} a batch with status '{found.status}'{over}.")

    async def _spread(self, batch: Batch) -> None:
        """Send hints to the queue and the executors."""
        try:
            if batch.status is BatchStatus.IN_PROGRESS and not batch.paused:
                await enqueue_shards(batch, self._metadata, self._queue)
            await self._control.publish(batch.id)
        except Temporary as error:
            logger.warning("The next sweep queues %s: %s", batch.id, error)
        if batch.status is BatchStatus.IN_PROGRESS and not batch.paused:
            await self._activation_trigger.wake()
