"""Builds queue entries of ready shards."""

import logging
from collections.abc import Sequence

from batch_gateway.core.errors import CorruptRow
from batch_gateway.core.model import Batch, Lease, QueueEntry, Shard, ShardState
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.ports.shard_queue import ShardQueue

logger = logging.getLogger(__name__)

_PUSHED = 500  # to the queue at a time


def queue_entry(owner: Batch | Lease, shard: Shard) -> QueueEntry:
    """``owner``: the shard's batch, or a lease, which has the same fields."""
    return QueueEntry(
        shard=shard.id,
        tenant=owner.tenant,
        model=shard.model,
        cost=shard.cost,
        priority=owner.priority,
        deadline=owner.deadline,
    )


async def push(batch: Batch, shards: Sequence[Shard], queue: ShardQueue) -> None:
    """Push those of a batch's shards that are ready; known ones are left alone."""
    ready = [queue_entry(batch, shard) for shard in shards if shard.state is ShardState.READY]
    for start in range(0, len(ready), _PUSHED):
        await queue.push(ready[start : start + _PUSHED])


async def enqueue_shards(batch: Batch, metadata: MetadataStore, queue: ShardQueue) -> None:
    """Push the batch's ready shards as the database has them.

    At a row that cannot be decoded it ends: what is behind it, sweeps push.
    """
    shards: list[Shard] = []
    try:
        async for shard in metadata.shards.of_batch(batch.id):
            shards.append(shard)
            if len(shards) == _PUSHED:
                await push(batch, shards, queue)
                shards = []
    except CorruptRow as error:
        logger.error("%s", error, extra={"action": "corrupt_row", "batch_id": batch.id})
    await push(batch, shards, queue)
