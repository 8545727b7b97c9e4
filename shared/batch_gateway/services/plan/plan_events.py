"""Publishes the events of a planned batch, and queues its shards."""

from collections.abc import Sequence

from batch_gateway.core.events import Event, EventType, internal_event
from batch_gateway.core.lifecycle import lifecycle_event, terminal_event
from batch_gateway.core.model import Batch, BatchStatus, Shard
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.ports.shard_queue import ShardQueue
from batch_gateway.services.event_publisher import ActivationTrigger, EventPublisher
from batch_gateway.services.queue_entries import enqueue_shards, push
from batch_gateway.services.webhooks.outbox import WebhookOutbox


class PlanEvents:
    def __init__(
        self,
        metadata: MetadataStore,
        queue: ShardQueue,
        publisher: EventPublisher,
        webhook_outbox: WebhookOutbox,
        activation_trigger: ActivationTrigger,
    ) -> None:
        self._metadata = metadata
        self._queue = queue
        self._publisher = publisher
        self._webhook_outbox = webhook_outbox
        self._activation_trigger = activation_trigger

    async def announce(self, batch: Batch, shards: Sequence[Shard]) -> None:
        """Queue the shards of a batch that was planned here, and publish the result."""
        if batch.status is BatchStatus.IN_PROGRESS:
            await push(batch, shards, self._queue)
            await self._activation_trigger.wake(first=True, traceparent=batch.traceparent)
        elif batch.assemblable:
            await self._publisher.publish(executed(batch))
        await self._tell_in_progress(batch)

    async def _tell_in_progress(self, batch: Batch) -> None:
        """News, so it comes last: nothing waits for it."""
        if batch.in_progress_at is not None and not batch.terminal:
            await self._publisher.publish(lifecycle_event(EventType.BATCH_IN_PROGRESS, batch))

    async def announce_again(self, batch: Batch) -> None:
        """Publish the event of a planned batch again: its planner may have died before it was
        sent."""
        if batch.status is BatchStatus.IN_PROGRESS:
            await enqueue_shards(batch, self._metadata, self._queue)
            await self._activation_trigger.wake(first=True, traceparent=batch.traceparent)
        elif batch.assemblable:
            await self._publisher.publish(executed(batch))
        elif batch.status is BatchStatus.FAILED:
            await self._publisher.publish(terminal_event(batch))
            await self._webhook_outbox.enqueue(batch)
        await self._tell_in_progress(batch)


def executed(batch: Batch) -> Event:
    return internal_event(EventType.BATCH_EXECUTED, batch.id, traceparent=batch.traceparent)
