"""Uploads in parts: create, add parts, complete, cancel.

A part is a blob of its own and counts once its row is written, so parts may come at once and in any
order. Completing reads them once for what must be known of a file (sizes, lines, digests), has the
store make one blob of them, and turns the upload into a file in one transaction; the loser of a
race leaves nothing but a blob to delete. Parts are deleted when their upload ends; sweeps delete
those that a crash has left, when the upload has long expired.
"""

import hashlib
import logging
import re
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from batch_gateway.core.errors import (
    BatchGatewayError,
    Corrupt,
    InvalidRequest,
    NotFound,
    Temporary,
)
from batch_gateway.core.excerpts import excerpt
from batch_gateway.core.filenames import safe_name
from batch_gateway.core.ids import (
    FileId,
    PartId,
    TenantId,
    UploadId,
    file_id,
    part_id,
    upload_id,
)
from batch_gateway.core.layout import file_key, upload_part_key, upload_prefix
from batch_gateway.core.model import File
from batch_gateway.core.uploads import Upload, UploadPart, UploadStatus
from batch_gateway.ports.clock import Clock
from batch_gateway.services.files.content import ContentCheck, FileRules, too_large
from batch_gateway.services.files.dependencies import FileDependencies
from batch_gateway.services.files.storage_check import check_storage
from batch_gateway.services.request_errors import missing

logger = logging.getLogger(__name__)

LIFETIME = timedelta(hours=1)
#: Bytes of one part: exactly what OpenAI's clients cut files into.
LARGEST_PART = 64 * 1024 * 1024
#: As many as S3 has in one object.
MOST_PARTS = 10_000

_MD5 = re.compile(r"[0-9a-fA-F]{32}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUpload:
    """What a user announces."""

    filename: str
    purpose: str
    size: int  # bytes
    file_lifetime_s: int | None = None  # None: the default of the purpose


class IncomingPart:
    """One part on its way in: ``store`` its bytes, then ``keep`` it."""

    def __init__(self, upload: Upload, dependencies: FileDependencies) -> None:
        self._rows = dependencies.metadata.uploads
        self._quotas = dependencies.quotas
        self._files = dependencies.files
        self._clock = dependencies.clock
        self._upload = upload
        self._id = part_id(secrets.token_bytes(16))
        self._key = upload_part_key(upload.id, self._id)
        self._size: int | None = None  # bytes; None: none have come

    @property
    def started(self) -> bool:
        return self._size is not None

    async def store(self, chunks: AsyncIterable[bytes]) -> None:
        """Take the part's bytes. Raises InvalidRequest when there are too many."""
        self._size = 0
        self._size = await self._files.put(self._key, _at_most(chunks, LARGEST_PART))

    async def keep(self) -> UploadPart:
        """Write the row, so that the part exists. Raises InvalidRequest, NotFound, OverQuota."""
        if self._size is None:
            raise missing("data")
        upload, now = self._upload, self._clock.now()
        part = UploadPart(id=self._id, upload=upload.id, size=self._size, created_at=now)
        if not await self._rows.add_part(
            upload.tenant,
            part,
            now=now,
            max_bytes=_room(upload),
            max_parts=MOST_PARTS,
            quotas=self._quotas,
        ):
            found = await self._rows.get(upload.tenant, upload.id)
            _demand_pending(found, upload.id, self._clock)
            raise InvalidRequest(
                f"Upload {upload.id} has more parts, or larger ones, than its file can need."
            )
        return part

    async def discard(self) -> None:
        if not self.started:
            return
        try:
            await self._files.delete(self._key)
        except BatchGatewayError as error:
            logger.warning("A part is not deleted: %s", error, extra={"action": "orphan"})


class UploadService:
    """A tenant's uploads. Raises NotFound when there is no such upload of that tenant."""

    def __init__(self, dependencies: FileDependencies) -> None:
        self._dependencies = dependencies
        self._metadata = dependencies.metadata
        self._quotas = dependencies.quotas
        self._rows = dependencies.metadata.uploads
        self._files = dependencies.files
        self._clock = dependencies.clock
        self._rules = FileRules(dependencies.api)

    async def create(self, tenant: TenantId, asked: NewUpload) -> Upload:
        """Raises InvalidRequest when no bytes could make a file of it; OverQuota, StorageFull.

        The file is named ``safe_name(asked.filename)``.
        """
        await self._dependencies.refuse_if_full()
        filename = safe_name(asked.filename)
        self._rules.judge_words(filename, asked.purpose)
        if asked.size > self._rules.limit_in_parts(asked.purpose):
            raise too_large()
        await check_storage(self._metadata.accounts, self._quotas, tenant, size=asked.size)
        now = self._clock.now()
        upload = Upload(
            id=upload_id(secrets.token_bytes(16)),
            tenant=tenant,
            status=UploadStatus.PENDING,
            purpose=asked.purpose,
            filename=filename,
            size=asked.size,
            created_at=now,
            expires_at=now + LIFETIME,
            file_lifetime_s=asked.file_lifetime_s,
        )
        await self._rows.create(upload)
        return upload

    @asynccontextmanager
    async def part(self, tenant: TenantId, upload: UploadId) -> AsyncIterator[IncomingPart]:
        """A part of a pending upload; when the block ends with an error nothing of it remains."""
        found = _demand_pending(await self._rows.get(tenant, upload), upload, self._clock)
        await self._dependencies.refuse_if_full()
        part = IncomingPart(found, self._dependencies)
        try:
            yield part
        except Temporary:
            # With the row's fate unknown the blob must stay; it goes with its upload.
            raise
        except BaseException:  # also when the request is cancelled
            await part.discard()
            raise

    async def complete(
        self, tenant: TenantId, upload: UploadId, part_ids: Sequence[str], md5: str | None
    ) -> tuple[Upload, File | None]:
        """The upload and the file that it has become (None: deleted since).

        Asking again in the same words gives the same answer, so an answer that got lost can be
        had. ``md5`` is of the whole file, in hexadecimal; None: not to be checked.
        """
        receipt = _receipt(part_ids, md5)
        found = await self._rows.get(tenant, upload)
        if found is not None and found.receipt == receipt:
            return await self._with_file(found)
        pending = _demand_pending(found, upload, self._clock)
        if md5 is not None and not _MD5.fullmatch(md5):
            raise InvalidRequest(
                "Invalid 'md5': expected 32 hexadecimal digits.", param="md5", code="invalid_value"
            )
        keys = await self._keys(pending, part_ids)
        return await self._become_file(pending, keys, md5, receipt)

    async def cancel(self, tenant: TenantId, upload: UploadId) -> Upload:
        """Cancel a pending upload; one that is cancelled already is returned as it is."""
        cancelled = await self._rows.cancel(tenant, upload, now=self._clock.now())
        if cancelled is None:
            found = await self._rows.get(tenant, upload)
            if found is not None and found.status is UploadStatus.CANCELLED:
                return found
            cancelled = _demand_pending(found, upload, self._clock)
        await self._delete_parts(cancelled)
        return cancelled

    async def _keys(self, upload: Upload, part_ids: Sequence[str]) -> list[str]:
        """Where the named parts are. Raises InvalidRequest unless they can be the whole file."""
        if len(set(part_ids)) != len(part_ids):
            raise _bad_parts("a part is named twice.")
        parts = {part.id: part for part in await self._rows.parts(upload.tenant, upload.id)}
        unknown = next((id_ for id_ in part_ids if id_ not in parts), None)
        if unknown is not None:
            raise _bad_parts(f"no such part of this upload: {excerpt(unknown)}")
        size = sum(parts[PartId(id_)].size for id_ in part_ids)
        if size != upload.size:
            raise _bad_parts(
                f"the parts have {size} bytes together, but the upload was created for "
                f"{upload.size} bytes."
            )
        return [upload_part_key(upload.id, PartId(id_)) for id_ in part_ids]

    async def _become_file(
        self, upload: Upload, keys: Sequence[str], md5: str | None, receipt: str
    ) -> tuple[Upload, File | None]:
        id_ = file_id(secrets.token_bytes(12))
        try:
            made = await self._make_file(upload, id_, keys, md5, receipt)
        except BaseException:  # also when the request is cancelled
            await self._discard(upload.tenant, id_)
            raise
        if made is None:
            await self._discard(upload.tenant, id_)
            return await self._outcome(upload, receipt)
        await self._delete_parts(upload)
        return made

    async def _make_file(
        self, upload: Upload, id_: FileId, keys: Sequence[str], md5: str | None, receipt: str
    ) -> tuple[Upload, File] | None:
        """The completed upload and its file; None when another request has ended it meanwhile."""
        try:
            content = await self._measure(upload, keys, md5)
            await self._files.concatenate(file_key(id_), keys)
        except NotFound:
            return None  # its parts are going
        lifetime = upload.file_lifetime_s
        file = self._rules.file(
            id_,
            upload.tenant,
            content,
            filename=upload.filename,
            purpose=upload.purpose,
            expires_after=None if lifetime is None else timedelta(seconds=lifetime),
            now=self._clock.now(),
        )
        completed = await self._rows.complete(
            upload.tenant, upload.id, file, receipt=receipt, quotas=self._quotas
        )
        return None if completed is None else (completed, file)

    async def _outcome(self, upload: Upload, receipt: str) -> tuple[Upload, File | None]:
        """The outcome of an upload that another request has ended: a success if it is the wanted
        one."""
        found = await self._rows.get(upload.tenant, upload.id)
        if found is not None and found.receipt == receipt:
            return await self._with_file(found)
        _demand_pending(found, upload.id, self._clock)
        raise Corrupt(f"a part of upload {upload.id} is gone")

    async def _measure(self, upload: Upload, keys: Sequence[str], md5: str | None) -> ContentCheck:
        """Read all parts once. Raises InvalidRequest when they do not make the announced file."""
        content = ContentCheck(md5=md5 is not None)
        async for _ in content.measured(self._chunks(keys), upload.size):
            pass
        found = None if content.md5 is None else content.md5.hexdigest()
        if md5 is not None and found != md5.lower():
            raise InvalidRequest(
                f"The MD5 of the parts is {found}, not {md5.lower()} as expected.",
                param="md5",
                code="invalid_value",
            )
        self._rules.judge_content(content, upload.purpose)
        return content

    async def _chunks(self, keys: Sequence[str]) -> AsyncIterator[bytes]:
        for key in keys:
            async for chunk in self._files.read(key):
                yield chunk

    async def _with_file(self, upload: Upload) -> tuple[Upload, File | None]:
        if upload.file_id is None:
            return upload, None
        return upload, await self._metadata.files.get(upload.tenant, upload.file_id)

    async def _discard(self, tenant: TenantId, file: FileId) -> None:
        """Remove what was made of the parts, unless it has become a file after all."""
        try:
            if await self._metadata.files.get(tenant, file) is None:
                await self._files.delete(file_key(file))
        except BatchGatewayError as error:
            logger.warning("A blob is not deleted: %s", error, extra={"action": "orphan"})

    async def _delete_parts(self, upload: Upload) -> None:
        try:
            await self._files.delete_prefix(upload_prefix(upload.id))
        except Temporary as error:  # sweeps do it later
            logger.warning("Parts are not deleted: %s", error, extra={"action": "orphan"})


async def _at_most(chunks: AsyncIterable[bytes], limit: int) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise InvalidRequest(f"Invalid 'data': a part has at most {limit} bytes.", param="data")
        yield chunk


def _room(upload: Upload) -> int:
    """Bytes that all parts of ``upload`` may have: each twice, for clients that send some again."""
    return 2 * upload.size + LARGEST_PART


def _demand_pending(found: Upload | None, asked: UploadId, clock: Clock) -> Upload:
    """``found``, if parts may be added to it. Raises NotFound, InvalidRequest."""
    if found is None:
        raise NotFound(f"No such Upload object: {asked}")
    status = found.status_at(clock.now())
    if status is not UploadStatus.PENDING:
        raise InvalidRequest(f"Upload {found.id} cannot be changed: it is {status}.")
    return found


def _bad_parts(why: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid 'part_ids': {why}", param="part_ids", code="invalid_value")


def _receipt(part_ids: Sequence[str], md5: str | None) -> str:
    """What an upload is completed with, in few characters."""
    return hashlib.sha256("\n".join([*part_ids, md5 or ""]).encode()).hexdigest()
