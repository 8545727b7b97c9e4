"""Tickets: what the queue knows of a shard that is ready."""

import logging

from batch_gateway.core.errors import CorruptRow
from batch_gateway.core.model import Batch, Lease, QueueEntry, Shard, ShardState
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.ports.scratch import ShardQueue

logger = logging.getLogger(__name__)

_PUSHED = 500  # to the queue at a time


def queue_entry(owner: Batch | Lease, shard: Shard) -> QueueEntry:
    """``owner``: the shard's batch, or a lease, which knows as much of it."""
    return QueueEntry(
        shard=shard.id,
        tenant=owner.tenant,
        model=shard.model,
        cost=shard.cost,
        priority=owner.priority,
        deadline=owner.deadline,
    )


async def enqueue_shards(batch: Batch, metadata: MetadataStore, queue: ShardQueue) -> None:
    """Push the batch's ready shards; those that are queued already are left alone.

    At a row that cannot be decoded it ends: what is behind it, sweeps push.
    """
    entries: list[QueueEntry] = []
    try:
        async for shard in metadata.shards.of_batch(batch.id):
            if shard.state is ShardState.READY:
                entries.append(queue_entry(batch, shard))
            if len(entries) == _PUSHED:
                await queue.push(entries)
                entries = []
    except CorruptRow as error:
        logger.error("%s", error, extra={"action": "corrupt_row", "batch_id": batch.id})
    if entries:
        await queue.push(entries)
