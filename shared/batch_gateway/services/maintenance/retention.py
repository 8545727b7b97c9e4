"""Retention: deletes batches that ended long ago.

A batch is deleted when its work objects are gone and its webhook deliveries are stored, so nothing
but its row is left to remove. What hangs on it goes before it: a sweep that is killed in between
finds the batch again and continues. Input, output and error files live as long as they say
themselves; the one file that has no life of its own is the input that the planner made for a
chained batch, unless its ``expires_at`` says otherwise.
"""

import logging
from datetime import datetime, timedelta

from batch_gateway.core.chaining import chained_file
from batch_gateway.core.errors import BatchGatewayError
from batch_gateway.core.layout import blobs_of
from batch_gateway.core.model import Batch
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.files import FileStore
from batch_gateway.ports.metadata import MetadataStore

logger = logging.getLogger(__name__)

_PAGE = 200
#: Batches that one sweep deletes at most: the other steps of a sweep must not wait for long.
AT_MOST = 1000


class BatchRetention:
    def __init__(
        self, metadata: MetadataStore, files: FileStore, clock: Clock, kept: timedelta | None
    ) -> None:
        """``kept``: how long a batch stays after its end; None: for ever."""
        self._metadata = metadata
        self._files = files
        self._clock = clock
        self._kept = kept

    async def due(self) -> bool:
        """Whether there is a batch to delete. Raises Unavailable."""
        before = self._before()
        if before is None:
            return False
        return bool(await self._metadata.batches.outlived(before=before, limit=1))

    async def enforce(self) -> int:
        """Delete up to ``AT_MOST`` batches whose time is over; how many.

        A batch that cannot be deleted does not keep the others; the next sweep tries it again.
        Raises Unavailable when the database does not answer.
        """
        before = self._before()
        if before is None:
            return 0
        deleted = tried = 0
        last: Batch | None = None
        while tried < AT_MOST and (
            found := await self._metadata.batches.outlived(before=before, limit=_PAGE, after=last)
        ):
            for batch in found:
                deleted += await self._delete(batch)
            tried += len(found)
            last = found[-1]
        if deleted:
            logger.info(
                "Deleted %d batches that ended before %s",
                deleted,
                before.isoformat(timespec="seconds"),
                extra={"action": "retention"},
            )
        return deleted

    def _before(self) -> datetime | None:
        return None if self._kept is None else self._clock.now() - self._kept

    async def _delete(self, batch: Batch) -> bool:
        try:
            await self._delete_made_input(batch)
        except BatchGatewayError:
            logger.exception(
                "A batch stays although its time is over",
                extra={"action": "retention", "batch_id": batch.id, "tenant_id": batch.tenant},
            )
            return False
        return await self._metadata.batches.delete(batch.tenant, batch.id) is not None

    async def _delete_made_input(self, batch: Batch) -> None:
        """Delete the input that was made for a chained batch, unless it expires by itself."""
        if batch.input_file_id != chained_file(batch.id):
            return
        file = await self._metadata.files.get(batch.tenant, batch.input_file_id)
        if file is None or file.expires_at is not None:
            return
        await self._files.delete(*blobs_of(file.id))  # the blob first: the row names it
        await self._metadata.files.delete(batch.tenant, file.id)
