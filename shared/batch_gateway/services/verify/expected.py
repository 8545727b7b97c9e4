"""The objects that rows of the database name, with their recorded sizes and checksums.

Work objects count as long as their batch has not ended: what they are for is in its result files
afterwards, and they are deleted.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

from batch_gateway.core.errors import CorruptRow
from batch_gateway.core.ids import BatchId, FileId, TenantId, UploadId
from batch_gateway.core.layout import digest_in, upload_part_key
from batch_gateway.core.model import OPEN, Batch, File, Shard
from batch_gateway.core.uploads import Upload, UploadPart, UploadStatus
from batch_gateway.ports.corrupt_rows import note
from batch_gateway.ports.metadata import MetadataStore

_PAGE = 200
_END_OF_TIME = datetime(9000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedObject:
    """An object that a row names. None: not recorded."""

    kind: str
    key: str
    owner: str
    tenant: TenantId
    size: int | None = None  # bytes
    sha256: str | None = None  # in hex; or its beginning
    lines: int | None = None
    requests: int | None = None  # of a shard's object that names no checksum
    row: File | Batch | Upload


class ExpectedObjects:
    """Goes through all rows that name objects, a page at a time."""

    def __init__(self, metadata: MetadataStore) -> None:
        self._metadata = metadata
        self.uploads: set[UploadId] = set()  # those that take parts

    async def all(self) -> AsyncIterator[ExpectedObject]:
        """Raises Unavailable when the database does not answer."""
        async for tenant in self._metadata.accounts.tenants():
            async for file in self._files(tenant):
                yield _of_file(file)
        async for upload in self._uploads():
            try:
                parts = await self._metadata.uploads.parts(upload.tenant, upload.id)
            except CorruptRow as error:
                note(error)
                continue
            for part in parts:
                yield _of_upload(upload, part)
        async for batch in self._batches():
            try:
                async for shard in self._metadata.shards.of_batch(batch.id):
                    for expected in _of_shard(batch, shard):
                        yield expected
            except CorruptRow as error:
                note(error)

    async def read_batches(self) -> None:
        """Read the rows of all batches, those of ended ones too: what is skipped is noted."""
        async for tenant in self._metadata.accounts.tenants():
            after: BatchId | None = None
            while True:
                page = await self._metadata.batches.list(tenant, limit=_PAGE, after=after)
                if page is None:  # the cursor was deleted: from the beginning
                    after = None
                    continue
                if not page.more:
                    break
                after = page.items[-1].id

    async def names(self, expected: ExpectedObject) -> bool:
        """Whether a row still names it: rows change while they are gone through."""
        row = expected.row
        if isinstance(row, File):
            return await self._metadata.files.get(row.tenant, row.id) is not None
        if isinstance(row, Upload):
            parts = await self._metadata.uploads.parts(row.tenant, row.id)
            return any(upload_part_key(row.id, part.id) == expected.key for part in parts)
        batch = await self._metadata.batches.load(row.id)
        if batch is None or batch.terminal:
            return False
        async for shard in self._metadata.shards.of_batch(row.id):
            if any(found.key == expected.key for found in _of_shard(batch, shard)):
                return True
        return False

    async def _files(self, tenant: TenantId) -> AsyncIterator[File]:
        """Newest first. A cursor that was deleted meanwhile is replaced by the one before it."""
        cursors: list[FileId | None] = [None]
        while cursors:
            page = await self._metadata.files.list(tenant, limit=_PAGE, after=cursors[-1])
            if page is None:
                cursors.pop()
                continue
            for file in page.items:
                yield file
            if not page.more:
                return
            cursors = [None, *(file.id for file in page.items)]

    async def _uploads(self) -> AsyncIterator[Upload]:
        after: Upload | None = None
        while found := await self._metadata.uploads.expired(_END_OF_TIME, _PAGE, after=after):
            for upload in found:
                if upload.status is UploadStatus.PENDING:
                    self.uploads.add(upload.id)
                    yield upload
            after = found[-1]

    async def _batches(self) -> AsyncIterator[Batch]:
        after: Batch | None = None
        while found := await self._metadata.batches.unfinished(
            OPEN, before=_END_OF_TIME, limit=_PAGE, after=after
        ):
            for batch in found:
                yield batch
            after = found[-1]


def _of_file(file: File) -> ExpectedObject:
    return ExpectedObject(
        kind="file",
        key=file.key,
        owner=file.id,
        tenant=file.tenant,
        size=file.size,
        sha256=file.sha256 or None,
        row=file,
    )


def _of_upload(upload: Upload, part: UploadPart) -> ExpectedObject:
    return ExpectedObject(
        kind="upload part",
        key=upload_part_key(upload.id, part.id),
        owner=part.id,
        tenant=upload.tenant,
        size=part.size,
        row=upload,
    )


def _of_shard(batch: Batch, shard: Shard) -> list[ExpectedObject]:
    found = []
    if shard.key:
        digest = digest_in(shard.key)
        found.append(
            ExpectedObject(
                kind="shard",
                key=shard.key,
                owner=shard.id,
                tenant=batch.tenant,
                sha256=digest,
                requests=shard.lines if digest is None else None,
                row=batch,
            )
        )
    for part in shard.parts:
        found.append(
            ExpectedObject(
                kind="part",
                key=part.key,
                owner=shard.id,
                tenant=batch.tenant,
                sha256=digest_in(part.key),
                lines=part.lines,
                row=batch,
            )
        )
    return found
