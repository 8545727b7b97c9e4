"""Closes shards whose database rows cannot be decoded, so that their batches end.

Each component that reads such a row closes it: an executor that leases the shard, the sweep that
takes it from a dead executor or finds its batch beyond the fence, the assembler. A shard in a state
that no release writes is read by none of them, so the sweep looks for such shards. Assembly looks
for results of the shard in the file store and makes error lines ``result_lost`` of the rest.
"""

import logging
from dataclasses import replace

from batch_gateway import meters
from batch_gateway.core.errors import CorruptRow, Temporary
from batch_gateway.core.events import EventType, internal_event
from batch_gateway.core.ids import BatchId
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.shard_queue import ShardQueue
from batch_gateway.ports.shards import ShardRows
from batch_gateway.services.event_publisher import EventPublisher

logger = logging.getLogger(__name__)

_NAMED = 20  # shards in a line of the log


class UnreadableShardCloser:
    def __init__(
        self, *, rows: ShardRows, queue: ShardQueue, publisher: EventPublisher, clock: Clock
    ) -> None:
        self._rows = rows
        self._queue = queue
        self._publisher = publisher
        self._clock = clock

    async def mend(self, batch: BatchId) -> bool:
        """Close the shards of ``batch`` whose rows cannot be decoded; whether anything changed.

        Raises Unavailable, and CorruptRow for the row of the batch itself.
        """
        event = internal_event(EventType.BATCH_EXECUTED, batch)
        mended = await self._rows.mend(batch, now=self._clock.now(), events=[event])
        if mended is None:
            return False
        logger.error(
            "%d shards cannot be read from the database and are closed: %s",
            len(mended.shards),
            ", ".join(mended.shards[:_NAMED]),
            extra={"action": "mended", "batch_id": batch, "tenant_id": mended.batch.tenant},
        )
        meters.SHARDS_UNREADABLE.inc(len(mended.shards))
        if mended.last:
            await self._publisher.publish(replace(event, traceparent=mended.batch.traceparent))
        try:
            await self._queue.complete(mended.shards)
        except Temporary as error:
            logger.debug(
                "Closed shards are not removed from the queue: %s",
                error,
                extra={"action": "mended"},
            )
        return True

    async def mend_for(self, error: CorruptRow, batch: BatchId) -> None:
        """Repair the shard row that ``error`` names. Raises it again if that is impossible."""
        if error.kind != "shard" or not await self.mend(batch):
            raise error
