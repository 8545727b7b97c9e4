"""Deletes blobs that no row names: left by writers that were killed before they stored the row.

Rows are written last, so a blob may be there without its row for as long as a writer takes. What is
older than any of them and still has none is an orphan. Every blob is listed for this, so it is done
seldom.
"""

import logging
from collections.abc import AsyncIterator, Collection
from datetime import datetime

from batch_gateway import meters
from batch_gateway.core.errors import BatchGatewayError
from batch_gateway.core.ids import BatchId, FileId
from batch_gateway.core.layout import FILES, ORDERS, UPLOADS, WORK
from batch_gateway.ports.files import BlobStat, FileStore
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.services.results.pages import grouped

logger = logging.getLogger(__name__)

_AT_ONCE = 500  # blobs whose owners are looked for together


async def delete_orphans(metadata: MetadataStore, files: FileStore, before: datetime) -> int:
    """Delete blobs of before ``before`` that no row names; how many."""
    orphans = OrphanBlobCleanup(metadata, files, before)
    deleted = 0
    for prefix in (FILES, ORDERS):
        async for some in grouped(orphans.old(prefix), _AT_ONCE):
            deleted += await orphans.delete_files(prefix, some)
    async for some in grouped(orphans.old(UPLOADS), _AT_ONCE):
        deleted += await orphans.delete(some)  # no upload lasts so long
    async for some in grouped(orphans.old(WORK), _AT_ONCE):
        deleted += await orphans.delete_work(some)
    return deleted


class OrphanBlobCleanup:
    def __init__(self, metadata: MetadataStore, files: FileStore, before: datetime) -> None:
        self._metadata = metadata
        self._files = files
        self._before = before
        self._over: dict[BatchId, bool] = {}  # whether the last batch looked for has ended

    async def old(self, prefix: str) -> AsyncIterator[BlobStat]:
        async for blob in self._files.list(prefix):
            if blob.modified_at < self._before:
                yield blob

    async def delete(self, blobs: Collection[BlobStat]) -> int:
        """Delete these; how many. One that cannot be deleted does not keep the others."""
        keys = [blob.key for blob in blobs]
        try:
            await self._files.delete(*keys)
        except BatchGatewayError:
            return sum([await self._delete_one(key) for key in keys])
        return len(keys)

    async def _delete_one(self, key: str) -> bool:
        try:
            await self._files.delete(key)
        except BatchGatewayError as error:
            logger.error(
                "An orphan stays: %s", error, extra={"action": "delete_orphans", "key": key}
            )
            meters.SWEEP_ITEMS_FAILED.labels("delete_orphans").inc()
            return False
        return True

    async def delete_files(self, prefix: str, blobs: Collection[BlobStat]) -> int:
        """Delete those whose file has no row."""
        names = {blob.key: FileId(blob.key.removeprefix(prefix)) for blob in blobs}
        known = await self._metadata.files.existing(list(names.values()))
        return await self.delete([blob for blob in blobs if names[blob.key] not in known])

    async def delete_work(self, blobs: Collection[BlobStat]) -> int:
        """Delete what was written for a batch after its end, or after it was removed."""
        return await self.delete([blob for blob in blobs if await self._is_over(_batch_of(blob))])

    async def _is_over(self, name: BatchId) -> bool:
        if name not in self._over:
            batch = await self._metadata.batches.load(name)
            self._over = {name: batch is None or batch.terminal}
        return self._over[name]


def _batch_of(blob: BlobStat) -> BatchId:
    return BatchId(blob.key.removeprefix(WORK).partition("/")[0])
