"""Reads every object that a row names, and lists objects that no row names.

Nothing is changed. It may run beside a service at work: what is found wrong is held against the
rows once more, which may have changed since they were read. Memory is bounded by one page of rows,
one batch's shard and the ids of uploads in parts that are not complete.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence

import msgspec

from batch_gateway.core.errors import NotFound, Unavailable
from batch_gateway.core.ids import BatchId, FileId, UploadId
from batch_gateway.core.layout import FILES, ORDERS, UPLOADS, WORK
from batch_gateway.core.lines import decode_shard_line
from batch_gateway.ports.corrupt_rows import collecting
from batch_gateway.ports.files import BlobStat, FileStore
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.services.results.pages import grouped, split_lines
from batch_gateway.services.verify.expected import ExpectedObject, ExpectedObjects
from batch_gateway.services.verify.findings import (
    StorageFinding,
    StorageProblem,
    VerificationSummary,
)

_AT_ONCE = 8  # objects that are read side by side
_NAMES = 500  # blobs whose rows are looked for together
#: Objects in a row that cannot be read: then it is the store that does not answer.
_GIVE_UP = 24


class StorageConsistencyVerifier:
    def __init__(self, metadata: MetadataStore, files: FileStore) -> None:
        self.summary = VerificationSummary()
        self._metadata = metadata
        self._files = files
        self._rows = ExpectedObjects(metadata)
        self._unreadable = 0  # one after the other

    async def findings(self) -> AsyncIterator[StorageFinding]:
        """All objects that are wrong, then those that no row names.

        Raises Unavailable when database or store do not answer.
        """
        with collecting() as corrupt:
            await self._rows.read_batches()
            async for some in grouped(self._rows.all(), _AT_ONCE):
                for finding in await asyncio.gather(*(self._check(each) for each in some)):
                    if finding is not None:
                        self.summary.damaged += 1
                        yield finding
        for error in {(error.kind, error.id): error for error in corrupt}.values():
            self.summary.damaged += 1
            yield StorageFinding(
                problem=StorageProblem.ROW, kind=error.kind, key=error.id, detail=error.reason
            )
        async for blob in self._orphans():
            self.summary.orphans += 1
            yield StorageFinding(
                problem=StorageProblem.ORPHAN,
                kind=blob.key.partition("/")[0],
                key=blob.key,
                detail=f"{blob.size} bytes",
                modified_at=blob.modified_at,
            )

    # -- what rows name ---------------------------------------------------------------------------

    async def _check(self, expected: ExpectedObject) -> StorageFinding | None:
        wrong = await self._read(expected)
        name = f"{expected.kind.replace(' ', '_')}s"
        setattr(self.summary, name, getattr(self.summary, name) + 1)
        if wrong is None or not await self._rows.names(expected):
            return None
        problem, detail = wrong
        return StorageFinding(
            problem=problem,
            kind=expected.kind,
            key=expected.key,
            owner=expected.owner,
            tenant=expected.tenant,
            detail=detail,
        )

    async def _read(self, expected: ExpectedObject) -> tuple[StorageProblem, str] | None:
        """What is wrong with an object, and how."""
        try:
            wrong = await self._compare(expected)
        except NotFound:
            wrong = StorageProblem.MISSING, ""
        except Unavailable as error:
            self._unreadable += 1
            if self._unreadable >= _GIVE_UP:
                raise
            return StorageProblem.UNREADABLE, str(error)
        self._unreadable = 0
        return wrong

    async def _compare(self, expected: ExpectedObject) -> tuple[StorageProblem, str] | None:
        size = lines = 0
        digest = hashlib.sha256()
        async for chunk in self._files.read(expected.key):
            size += len(chunk)
            lines += chunk.count(b"\n")
            digest.update(chunk)
        self.summary.bytes += size
        if expected.size not in (None, size):
            return StorageProblem.SIZE, f"{expected.size} bytes are recorded, {size} are there"
        if expected.sha256 is not None and not digest.hexdigest().startswith(expected.sha256):
            return (
                StorageProblem.CHECKSUM,
                f"sha256 {expected.sha256} is recorded, it is {digest.hexdigest()}",
            )
        if expected.lines not in (None, lines):
            return StorageProblem.CONTENT, f"{expected.lines} lines are recorded, {lines} are there"
        if expected.requests is not None:
            return await self._count_requests(expected.key, expected.requests)
        return None

    async def _count_requests(self, key: str, recorded: int) -> tuple[StorageProblem, str] | None:
        """Of a shard's object whose key names no checksum: earlier releases wrote such."""
        found = 0
        try:
            async for raw in split_lines(self._files.read(key)):
                found += 1 + len(decode_shard_line(raw).copies)
        except msgspec.DecodeError as error:
            return StorageProblem.CONTENT, f"behind {found} requests: {error}"
        if found != recorded:
            return StorageProblem.CONTENT, f"{recorded} requests are recorded, {found} are there"
        return None

    # -- what no row names ------------------------------------------------------------------------

    async def _orphans(self) -> AsyncIterator[BlobStat]:
        for prefix in (FILES, ORDERS):
            async for some in grouped(self._files.list(prefix), _NAMES):
                for blob in await self._without_file(prefix, some):
                    yield blob
        async for blob in self._files.list(UPLOADS):
            if UploadId(_segment(blob.key, UPLOADS)) not in self._rows.uploads:
                yield blob
        name, over = "", False
        async for blob in self._files.list(WORK):  # by key, so a batch's come together
            if _segment(blob.key, WORK) != name:
                name = _segment(blob.key, WORK)
                batch = await self._metadata.batches.load(BatchId(name))
                over = batch is None or batch.terminal
            if over:
                yield blob

    async def _without_file(self, prefix: str, blobs: Sequence[BlobStat]) -> list[BlobStat]:
        names = [FileId(blob.key.removeprefix(prefix)) for blob in blobs]
        known = await self._metadata.files.existing(names)
        return [blob for blob, name in zip(blobs, names, strict=True) if name not in known]


def _segment(key: str, prefix: str) -> str:
    return key.removeprefix(prefix).partition("/")[0]
