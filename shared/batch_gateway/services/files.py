"""Files that users upload, and the files that batches made for them.

An upload streams to the file store while it is measured, under the key of an id that nobody knows
yet; the row is written last and makes it exist. Whatever goes wrong before that leaves nothing but
a blob to delete. The purpose may come after the content (a form's parts have no order), so a file
is judged when all is known, and refused earlier where that can spare its transfer.
"""

import hashlib
import logging
import secrets
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import msgspec

from batch_gateway.core.errors import BatchGatewayError, InvalidRequest, Temporary
from batch_gateway.core.ids import FileId, TenantId, file_id
from batch_gateway.core.layout import file_key
from batch_gateway.core.model import File
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.files import FileStore
from batch_gateway.ports.metadata import MetadataStore, Page
from batch_gateway.services.refusals import invalid_value, missing
from batch_gateway.settings import Api

logger = logging.getLogger(__name__)

BATCH = "batch"
#: What a user may upload a file for, in the order of OpenAI's messages.
PURPOSES = ("assistants", BATCH, "fine-tune", "vision", "user_data", "evals")
#: Contents of these were never meant to be read back.
NOT_DOWNLOADABLE = frozenset({"assistants", "user_data"})

_HEAD = 1024 * 1024  # bytes of the beginning that are kept for a look at the first line
_NAME = 512  # characters of a file name
_BOM = b"\xef\xbb\xbf"

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Upload:
    """One file on its way in: ``store`` its bytes, then ``keep`` it. See ``FileService.upload``."""

    def __init__(
        self, tenant: TenantId, *, metadata: MetadataStore, files: FileStore, clock: Clock, api: Api
    ) -> None:
        self._rows = metadata.files
        self._files = files
        self._clock = clock
        self._api = api
        self._tenant = tenant
        self._id = file_id(secrets.token_bytes(12))
        self._key = file_key(self._id)
        self._filename: str | None = None  # None: no bytes have come
        self._content = _Content()

    @property
    def started(self) -> bool:
        return self._filename is not None

    async def store(
        self, filename: str, chunks: AsyncIterable[bytes], *, purpose: str | None
    ) -> None:
        """Take the file's bytes; ``purpose`` is None when it is not known yet.

        Raises InvalidRequest as soon as it is clear that the file will not be kept.
        """
        if purpose is not None:
            self._judge_words(filename, purpose)
        self._filename = filename
        limit = self._limit(purpose)
        await self._files.put(self._key, self._content.measured(chunks, limit))

    async def keep(self, purpose: str | None, expires_after: timedelta | None) -> File:
        """Write the row, so that the file exists; ``expires_after`` None: the default.

        Raises InvalidRequest when the form was incomplete or the file is not what its purpose
        demands.
        """
        if self._filename is None:
            raise missing("file")
        if purpose is None:
            raise missing("purpose")
        self._judge_words(self._filename, purpose)
        if self._content.size > self._limit(purpose):
            raise too_large()
        if purpose == BATCH and not self._content.begins_with_object():
            raise not_jsonl()
        file = self._file(self._filename, purpose, expires_after)
        await self._rows.add(file)
        return file

    async def discard(self) -> None:
        """Remove what was stored, and the row in case its writing had only seemed to fail."""
        if not self.started:
            return
        try:
            await self._rows.delete(self._tenant, self._id)
            await self._files.delete(self._key)
        except BatchGatewayError as error:
            # With the row's fate unknown the blob must stay; sweeps remove it when it is nobody's.
            logger.warning("A blob is left behind: %s", error, extra={"action": "orphan"})

    def _judge_words(self, filename: str, purpose: str) -> None:
        if purpose not in PURPOSES:
            raise invalid_value(purpose, PURPOSES, param="purpose")
        if len(filename) > _NAME:
            raise InvalidRequest(
                f"Invalid 'file': the file name is longer than {_NAME} characters.", param="file"
            )
        if purpose == BATCH and not self._named_as_jsonl(filename):
            raise not_jsonl()

    def _named_as_jsonl(self, filename: str) -> bool:
        """OpenAI insists on the extension.

        The SDKs send the name ``upload`` for a stream that has none. Unless all of OpenAI's
        refusals are asked for, it is let through: its user had no say in it, and the content is
        looked at anyway.
        """
        if filename.lower().endswith(".jsonl"):
            return True
        return filename == "upload" and self._api.mode == "extended"

    def _limit(self, purpose: str | None) -> int:
        api = self._api
        if purpose is None:
            return max(api.max_file_bytes, api.max_other_file_bytes)
        return api.max_file_bytes if purpose == BATCH else api.max_other_file_bytes

    def _file(self, filename: str, purpose: str, expires_after: timedelta | None) -> File:
        now = self._clock.now()
        if expires_after is None and purpose == BATCH and self._api.file_expiry_s:
            expires_after = timedelta(seconds=self._api.file_expiry_s)
        return File(
            id=self._id,
            tenant=self._tenant,
            purpose=purpose,
            filename=filename,
            size=self._content.size,
            lines=self._content.lines if purpose == BATCH else None,
            sha256=self._content.sha256.hexdigest(),
            key=self._key,
            created_at=now,
            expires_at=None if expires_after is None else now + expires_after,
        )


class FileService:
    """A tenant's files. ``None`` or ``False`` says: there is no such file of that tenant."""

    def __init__(
        self, *, metadata: MetadataStore, files: FileStore, clock: Clock, api: Api
    ) -> None:
        self._metadata = metadata
        self._files = files
        self._clock = clock
        self._api = api

    @asynccontextmanager
    async def upload(self, tenant: TenantId) -> AsyncIterator[Upload]:
        """An upload; when the block ends with an error nothing of it remains."""
        upload = Upload(
            tenant, metadata=self._metadata, files=self._files, clock=self._clock, api=self._api
        )
        try:
            yield upload
        except BaseException:  # also when the request is cancelled
            await upload.discard()
            raise

    async def get(self, tenant: TenantId, file: FileId) -> File | None:
        """A file that has not expired."""
        found = await self._metadata.files.get(tenant, file)
        if found is None or (found.expires_at and found.expires_at <= self._clock.now()):
            return None
        return found

    async def list(
        self,
        tenant: TenantId,
        *,
        limit: int,
        after: FileId | None,
        purpose: str | None,
        descending: bool,
    ) -> Page[File] | None:
        """None when ``after`` names no file of the tenant."""
        return await self._metadata.files.list(
            tenant, limit=limit, after=after, purpose=purpose, descending=descending
        )

    def read(self, file: File, *, start: int, end: int) -> AsyncIterator[bytes]:
        """Bytes ``start`` to ``end`` (exclusive). Raises NotFound on the first chunk."""
        return self._files.read(file.key, start=start, end=end)

    async def delete(self, tenant: TenantId, file: FileId) -> bool:
        """Remove a file; batches that are planned already do not need it any more."""
        deleted = await self._metadata.files.delete(tenant, file)
        if deleted is None:
            return False
        try:
            await self._files.delete(deleted.key)
        except Temporary as error:  # the row is gone, and with it the file; sweeps find the blob
            logger.warning("A blob is left behind: %s", error, extra={"action": "orphan"})
        return True


class _Content:
    """What there is to know of a file's bytes, learnt while they pass."""

    def __init__(self) -> None:
        self.size = 0
        self.sha256 = hashlib.sha256()
        self._line_ends = 0
        self._head = b""
        self._last = b"\n"

    @property
    def lines(self) -> int:
        return self._line_ends + (self._last != b"\n")

    async def measured(self, chunks: AsyncIterable[bytes], limit: int) -> AsyncIterator[bytes]:
        """``chunks``, measured as they pass. Raises InvalidRequest over ``limit`` bytes."""
        async for chunk in chunks:
            self.size += len(chunk)
            if self.size > limit:
                raise too_large()
            self.sha256.update(chunk)
            self._line_ends += chunk.count(b"\n")
            self._last = chunk[-1:] or self._last
            if len(self._head) < _HEAD:
                self._head += chunk[: _HEAD - len(self._head)]
            yield chunk

    def begins_with_object(self) -> bool:
        """Whether the first line that is not blank is a JSON object, as far as can be seen."""
        first, more, _ = self._head.removeprefix(_BOM).lstrip().partition(b"\n")
        if not more and len(self._head) < self.size:
            return True  # the line goes on beyond what was kept: planning reads it whole
        try:
            _decode_object(first.decode())  # msgspec does not look into strings that it skips
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        return True


def too_large() -> InvalidRequest:
    return InvalidRequest("File is too large.")


def not_jsonl() -> InvalidRequest:
    return InvalidRequest("Invalid file format for Batch API. Must be .jsonl")
