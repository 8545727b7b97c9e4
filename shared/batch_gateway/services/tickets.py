"""Tickets: what the queue knows of a shard that is ready."""

import logging

from batch_gateway.core.errors import CorruptRow
from batch_gateway.core.model import Batch, Lease, Shard, ShardState, Ticket
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.ports.scratch import ShardQueue

logger = logging.getLogger(__name__)

_PUSHED = 500  # to the queue at a time


def ticket(owner: Batch | Lease, shard: Shard) -> Ticket:
    """``owner``: the shard's batch, or a lease, which knows as much of it."""
    return Ticket(
        shard=shard.id,
        tenant=owner.tenant,
        model=shard.model,
        cost=shard.cost,
        priority=owner.priority,
        deadline=owner.deadline,
    )


async def enqueue(batch: Batch, metadata: MetadataStore, queue: ShardQueue) -> None:
    """Push the batch's ready shards; those that are queued already are left alone.

    At a row that cannot be decoded it ends: what is behind it, sweeps push.
    """
    tickets: list[Ticket] = []
    try:
        async for shard in metadata.shards.of_batch(batch.id):
            if shard.state is ShardState.READY:
                tickets.append(ticket(batch, shard))
            if len(tickets) == _PUSHED:
                await queue.push(tickets)
                tickets = []
    except CorruptRow as error:
        logger.error("%s", error, extra={"action": "corrupt_row", "batch_id": batch.id})
    if tickets:
        await queue.push(tickets)
