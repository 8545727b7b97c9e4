"""Stores uploaded files, and lists, returns and deletes files.

An upload streams to the file store while it is measured, under the key of a fresh id; the row is
written last and makes it exist. Whatever goes wrong before that leaves nothing but a blob to
delete. The purpose may come after the content (a form's parts have no order), so a file is judged
when all is known, and refused earlier where that can spare its transfer.
"""

import logging
import secrets
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from batch_gateway.core.errors import BatchGatewayError, Temporary
from batch_gateway.core.filenames import safe_name
from batch_gateway.core.ids import FileId, TenantId, file_id
from batch_gateway.core.layout import blobs_of, file_key
from batch_gateway.core.model import File
from batch_gateway.ports.pages import Page
from batch_gateway.services.files.content import ContentCheck, FileRules, too_large
from batch_gateway.services.files.dependencies import FileDependencies
from batch_gateway.services.files.storage_check import check_storage
from batch_gateway.services.request_errors import missing

logger = logging.getLogger(__name__)

#: Contents of these were never meant to be read back.
NOT_DOWNLOADABLE = frozenset({"assistants", "user_data"})


class IncomingFile:
    """One file on its way in: ``store`` its bytes, then ``keep`` it. See ``FileService.upload``."""

    def __init__(self, tenant: TenantId, dependencies: FileDependencies) -> None:
        self._dependencies = dependencies
        self._rows = dependencies.metadata.files
        self._quotas = dependencies.quotas
        self._files = dependencies.files
        self._clock = dependencies.clock
        self._rules = FileRules(dependencies.api)
        self._tenant = tenant
        self._id = file_id(secrets.token_bytes(12))
        self._key = file_key(self._id)
        self._filename: str | None = None  # None: no bytes have come
        self._content = ContentCheck()

    @property
    def started(self) -> bool:
        return self._filename is not None

    async def store(
        self, filename: str, chunks: AsyncIterable[bytes], *, purpose: str | None
    ) -> None:
        """Store the file's bytes; ``purpose`` is None when it is not known yet.

        The file is named ``safe_name(filename)``.
        Raises InvalidRequest, OverQuota or StorageFull as soon as it is clear that the file will
        not be kept.
        """
        await self._dependencies.refuse_if_full()
        accounts = self._dependencies.metadata.accounts
        await check_storage(accounts, self._quotas, self._tenant, size=1)
        filename = safe_name(filename)
        if purpose is not None:
            self._rules.judge_words(filename, purpose)
        self._filename = filename
        limit = self._rules.limit(purpose)
        await self._files.put(self._key, self._content.measured(chunks, limit))

    async def keep(self, purpose: str | None, expires_after: timedelta | None) -> File:
        """Write the row, so that the file exists; ``expires_after`` None: the default.

        Raises InvalidRequest when the form was incomplete or the file is not what its purpose
        demands; OverQuota.
        """
        if self._filename is None:
            raise missing("file")
        if purpose is None:
            raise missing("purpose")
        self._rules.judge_words(self._filename, purpose)
        if self._content.size > self._rules.limit(purpose):
            raise too_large()
        self._rules.judge_content(self._content, purpose)
        file = self._rules.file(
            self._id,
            self._tenant,
            self._content,
            filename=self._filename,
            purpose=purpose,
            expires_after=expires_after,
            now=self._clock.now(),
        )
        await self._rows.add(file, quotas=self._quotas)
        return file

    async def discard(self) -> None:
        """Remove what was stored, and the row in case its writing had only seemed to fail."""
        if not self.started:
            return
        try:
            await self._rows.delete(self._tenant, self._id)
            await self._files.delete(self._key)
        except BatchGatewayError as error:
            # It is unknown whether the row exists, so the blob stays; sweeps remove orphans.
            logger.warning("A blob is not deleted: %s", error, extra={"action": "orphan"})


class FileService:
    """A tenant's files. ``None`` or ``False``: that tenant has no such file."""

    def __init__(self, dependencies: FileDependencies) -> None:
        self._dependencies = dependencies
        self._metadata = dependencies.metadata
        self._files = dependencies.files
        self._clock = dependencies.clock

    @asynccontextmanager
    async def upload(self, tenant: TenantId) -> AsyncIterator[IncomingFile]:
        """An upload; when the block ends with an error nothing of it remains."""
        upload = IncomingFile(tenant, self._dependencies)
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
        offset: int = 0,
        purpose: str | None,
        descending: bool,
    ) -> Page[File] | None:
        """None when ``after`` names no file of the tenant."""
        return await self._metadata.files.list(
            tenant,
            limit=limit,
            after=after,
            offset=offset,
            purpose=purpose,
            descending=descending,
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
            await self._files.delete(*blobs_of(deleted.id))
        except Temporary as error:  # the row is gone, and with it the file; sweeps find the blob
            logger.warning("A blob is not deleted: %s", error, extra={"action": "orphan"})
        return True
